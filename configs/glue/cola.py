"""CoLA: is a sentence grammatical? Matthews correlation.

python -m launch.train --config=configs/glue/cola.py --workdir=runs/cola \
    --config.data.data_dir=/path/to/glue/CoLA

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, six epochs of
32 rows a step at 1e-4 printed Matthews 0.2959 (accuracy 0.7277) on GLUE's validation set.
"""

from configs.glue import common
from trainer.config import Experiment
from trainer.tasks.classification import Classification


def get_config(source: str = "files") -> Experiment:
    """The experiment, from "files" or "tfds"."""
    columns = {"text": "3", "label": "1"} if source == "files" else {"text": "sentence"}
    config = common.experiment(
        Classification(**columns),
        source,
        folder="glue/CoLA",
        dataset="glue/cola",
        metric="matthews",
        epochs=4,
    )
    config.data.header = source != "files"  # its files have none
    return config
