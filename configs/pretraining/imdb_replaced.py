"""As configs/pretraining/imdb_masked.py, by finding tokens that a small generator has replaced.

  python -m launch.train --config=configs/pretraining/imdb_replaced.py \
      --workdir=runs/imdb_replaced --config.data.data_dir=/path/to/tensorflow_datasets

The method is ELECTRA's (Clark et al., 2020, arXiv:2003.10555). configs/imdb_pretrained.py thaws the
encoder, with --config.model.initial_run=runs/imdb_replaced.
"""

from configs.pretraining import imdb_masked
from trainer.config import Experiment
from trainer.tasks.replaced import ReplacedTokens


def get_config() -> Experiment:
    """The experiment."""
    config = imdb_masked.get_config()
    config.task = ReplacedTokens(mask_share=0.15, generator_share=0.25)
    return config
