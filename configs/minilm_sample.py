"""MiniLM fine-tuned on a part of the sample, in minutes on 2 cores: `make bert`."""

from configs import minilm_imdb
from trainer.config import Experiment


def get_config() -> Experiment:
    """The experiment."""
    config = minilm_imdb.get_config()
    config.data.name, config.data.data_dir = "imdb_sample", "data"
    config.data.train = "train[:12000]"
    config.data.max_length = 256
    head, whole = config.phases
    head.epochs, whole.epochs = 0.25, 1
    return config
