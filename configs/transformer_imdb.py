"""The quickstart's Transformer on all of IMDB: 25,000 training and 25,000 test reviews.

  python -m launch.train --config=configs/transformer_imdb.py --workdir=runs/transformer_imdb \
      --config.data.data_dir=/path/to/tensorflow_datasets

TFDS downloads the reviews (Maas et al., ACL 2011) if they are not in that folder yet.
"""

from configs import quickstart
from trainer.config import Experiment


def get_config() -> Experiment:
    """The experiment."""
    config = quickstart.get_config()
    config.data.name, config.data.data_dir = "imdb_reviews", ""
    return config
