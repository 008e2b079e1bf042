"""SST-2: is a phrase of a review positive? Accuracy.

python -m launch.train --config=configs/glue/sst2.py --workdir=runs/sst2 \
    --config.data.data_dir=/path/to/glue/SST-2

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, this printed
accuracy 0.8979 on GLUE's validation set after 946 s. Other settings gave less: head="mean" and 1.5
epochs 0.8899; 1.5 epochs with task.mask_share=0.1 and optimizer.ema=0.999 0.8945; 1.7 epochs with
data.validation_share=0.02 0.8956; one epoch of that with task.label_smoothing=0.1 0.8842.
"""

from configs.glue import common
from trainer.config import Experiment
from trainer.tasks.classification import Classification


def get_config(source: str = "files") -> Experiment:
    """The experiment, from "files" or "tfds"."""
    return common.experiment(
        Classification(text="sentence", label="label"),
        source,
        folder="glue/SST-2",
        dataset="glue/sst2",
        metric="accuracy",
        epochs=1,
        learning_rate=1e-4,
        batch=32,
    )
