"""WNUT-17: rare names in posts and comments (Derczynski et al., 2017). Entity F1.

python -m launch.train --config=configs/tagging/wnut17.py --workdir=runs/wnut17 \
    --config.data.data_dir=/path/to/wnut17

The files are those of its repository: wnut17train.conll, emerging.dev.conll and
emerging.test.annotated, or .gz of them.

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, this printed
test F1 0.4270 (precision 0.5357, recall 0.3550). Resumed once, and beside other work, it took 20
minutes of processor time.
"""

from configs.tagging import common
from trainer.config import Data, Experiment
from trainer.tasks.tagging import Tagging


def get_config() -> Experiment:
    """The experiment."""
    data = Data(
        source="files",
        name="wnut17",
        format="columns",
        train="wnut17train.conll",
        validation="emerging.dev.conll",
        test="emerging.test.annotated",
        max_length=128,
        buckets=16,
    )
    return common.experiment(data, Tagging(words="0", tags="-1"), epochs=5)
