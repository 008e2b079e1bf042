"""MRPC: do two sentences say the same? F1 and accuracy.

python -m launch.train --config=configs/glue/mrpc.py --workdir=runs/mrpc \
    --config.data.data_dir=/path/to/glue/MRPC

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, this printed F1
0.8729 and accuracy 0.8186 on GLUE's validation set. Without label smoothing, 4 epochs gave 0.8586
and 0.7941; with head="native" 0.8548 and 0.7868, and a rate of 3e-4 did not learn.
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
        Classification(**columns, label_smoothing=0.1),
        source,
        folder="glue/MRPC",
        dataset="glue/mrpc",
        metric="accuracy",  # F1 is high where all pairs are called the same
        epochs=5,
        head="mean",
    )
