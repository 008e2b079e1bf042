"""MiniLM pretrained further on IMDB's reviews, with masked words.

  make weights
  python -m launch.train --config=configs/pretraining/minilm_imdb_further.py \
      --workdir=runs/minilm_further --config.data.data_dir=/path/to/tensorflow_datasets

Then configs/minilm_imdb.py goes on from it instead of data/minilm:

  python -m launch.train --config=configs/minilm_imdb.py --workdir=runs/minilm_further_imdb \
      --config.model.pretrained= --config.model.initial_run=runs/minilm_further \
      --config.data.data_dir=/path/to/tensorflow_datasets

Which texts it reads is as in configs/pretraining/imdb_masked.py.
"""

from configs.pretraining import imdb_masked
from trainer.config import Experiment, Model, Phase, Tokenizer


def get_config() -> Experiment:
    """The experiment."""
    config = imdb_masked.get_config()
    config.data.max_length = 128
    config.tokenizer, config.model = Tokenizer(), Model(pretrained="data/minilm")
    config.phases = [
        Phase(name="head", train=("head/.*",), steps=50, learning_rate=1e-3, warmup_steps=10),
        Phase(name="all", epochs=0.5, learning_rate=2e-4, warmup_steps=50, schedule="linear"),
    ]
    config.evaluation.every_epochs = 0.1
    config.global_batch_size = 32
    return config
