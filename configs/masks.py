"""An encoder from scratch on the sample, or a decoder: one setting, the mask.

  python -m launch.train --config=configs/masks.py --workdir=runs/masks/encoder
  python -m launch.train --config=configs/masks.py --workdir=runs/masks/decoder \
      --config.model.causal=true --config.model.head=last

docs/results/masks.md has the results, and says what they mean.
"""

from configs import quickstart
from trainer.config import Experiment


def get_config() -> Experiment:
    """The experiment."""
    config = quickstart.get_config()
    config.data.max_length = 192
    config.phases[0].epochs = 2
    config.model.depth = 2
    config.model.attention_window = 0  # all tokens, or all before
    config.model.norm = "pre"  # as GPT-2; for both, so that the mask is the only difference
    config.model.head = "mean"
    return config
