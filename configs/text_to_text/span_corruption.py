"""Pretraining by span corruption on the captions of Multi30k, English and German ones alike.

  python -m launch.train --config=configs/text_to_text/span_corruption.py \
      --workdir=runs/span_corruption --config.data.data_dir=FOLDER

FOLDER is that of configs/translation/multi30k_en_de.py, which thaws both stacks:

  python -m launch.train --config=configs/translation/multi30k_en_de.py --workdir=runs/thawed \
      --config.model.initial_run=runs/span_corruption \
      --config.model.initial_patterns="('encoder/.*','decoder/.*')" --config.data.data_dir=FOLDER

Captions are shorter than what two spans are left out of, so they are joined into one stream.
"""

from configs.translation import multi30k_en_de
from trainer.config import Data, Evaluation, Experiment, Phase
from trainer.tasks.span_corruption import SpanCorruption


def get_config() -> Experiment:
    """The experiment."""
    config = multi30k_en_de.get_config()
    config.data = Data(
        source="files",
        format="text",
        train="train.[de][en]*",
        validation="val.[de][en]*",
        test="test_2016_flickr.[de][en]*",
        max_length=96,
        buckets=1,
    )
    config.tokenizer.sentinels = 20
    config.model.dropout = config.model.embedding_dropout = 0.1
    config.task = SpanCorruption(blocks=True, target_length=96)
    config.phases = [
        Phase(name="all", epochs=20, learning_rate=3e-3, warmup_steps=500, schedule="linear")
    ]
    config.evaluation = Evaluation(every_epochs=2)
    return config
