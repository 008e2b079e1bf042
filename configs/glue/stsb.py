"""STS-B: how alike are two sentences, from 0 to 5? Pearson and Spearman correlation.

python -m launch.train --config=configs/glue/stsb.py --workdir=runs/stsb \
    --config.data.data_dir=/path/to/glue/STS-B

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, this printed
Pearson 0.8663 and Spearman 0.8630 on GLUE's validation set after 677 s.
"""

from configs.glue import common
from trainer.config import Experiment
from trainer.tasks.regression import Regression


def get_config(source: str = "files") -> Experiment:
    """The experiment, from "files" or "tfds"."""
    score = "score" if source == "files" else "label"
    return common.experiment(
        Regression(text="sentence1", text_pair="sentence2", score=score, bounds=(0.0, 5.0)),
        source,
        folder="glue/STS-B",
        dataset="glue/stsb",
        metric="pearson",
        epochs=4,
    )
