"""RTE: does a text entail a sentence? Accuracy.

python -m launch.train --config=configs/glue/rte.py --workdir=runs/rte \
    --config.data.data_dir=/path/to/glue/RTE

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, this printed
accuracy 0.5199 on GLUE's validation set, where always saying one class has 0.5271: MiniLM does not
learn this from 2,490 pairs.
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
