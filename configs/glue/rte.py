"""RTE: does a text entail a sentence? Accuracy.

python -m launch.train --config=configs/glue/rte.py --workdir=runs/rte \
    --config.data.data_dir=/path/to/glue/RTE
"""

from configs.glue import common
from trainer.config import Experiment
from trainer.tasks.classification import Classification


def get_config(source: str = "files") -> Experiment:
    """The experiment, from "files" or "tfds"."""
    return common.experiment(
        Classification(text="sentence1", text_pair="sentence2", label="label"),
        source,
        folder="glue/RTE",
        dataset="glue/rte",
        metric="accuracy",
        epochs=3,
    )
