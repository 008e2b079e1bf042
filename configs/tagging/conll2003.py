"""CoNLL-2003: persons, places, organisations and other names in news. Entity F1.

python -m launch.train --config=configs/tagging/conll2003.py --workdir=runs/conll2003 \
    --config.data.data_dir=/path/to/conll2003

The files are those of the shared task (eng.train, eng.testa, eng.testb, or .gz of them). With
":tfds" behind the config's path the same is read from TFDS.

On 2 cores of an AMD EPYC without bfloat16, with --config.runtime.precision=float32, this printed a
test F1 of 0.8664 (validation 0.9101) after 1,145 s, other work beside it.
"""

from configs.tagging import common
from trainer.config import Data, Experiment
from trainer.tasks.tagging import Tagging


def get_config(source: str = "files") -> Experiment:
    """The experiment, from "files" or "tfds"."""
    if source == "files":
        data = Data(
            source="files",
            name="conll2003",
            format="columns",
            train="eng.train",
            validation="eng.testa",
            test="eng.testb",
        )
        task = Tagging(words="0", tags="-1")
    else:
        data = Data(name="conll2003/conll2003", train="train", validation="dev", test="test")
        task = Tagging(words="tokens", tags="ner")
    data.max_length, data.buckets = 128, 16
    return common.experiment(data, task, epochs=3)
