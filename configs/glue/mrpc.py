"""MRPC: do two sentences say the same? F1 and accuracy.

python -m launch.train --config=configs/glue/mrpc.py --workdir=runs/mrpc \
    --config.data.data_dir=/path/to/glue/MRPC
"""

from configs.glue import common
from trainer.config import Experiment
from trainer.tasks.classification import Classification


def get_config(source: str = "files") -> Experiment:
    """The experiment, from "files" or "tfds"."""
    columns = {"text": "sentence1", "text_pair": "sentence2"}
    if source == "files":
        columns = {"text": "#1 String", "text_pair": "#2 String", "label": "Quality"}
    return common.experiment(
        Classification(**columns),
        source,
        folder="glue/MRPC",
        dataset="glue/mrpc",
        metric="f1",
        epochs=6,
    )
