"""CoLA: is a sentence grammatical? Matthews correlation.

python -m launch.train --config=configs/glue/cola.py --workdir=runs/cola \
    --config.data.data_dir=/path/to/glue/CoLA

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, this printed
Matthews 0.3046 (accuracy 0.7325) on GLUE's validation set after 844 s beside other work. With
head="native" it was 0.2959; 16 rows a step at 2e-4 for 4 epochs gave 0.2482, and 32 at 2e-4 for 6
with class weights and averaged parameters 0.2796.
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
        epochs=6,
        learning_rate=1e-4,
        batch=32,
        head="mean",
    )
    config.data.header = source != "files"  # its files have none
    return config
