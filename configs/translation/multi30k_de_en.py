"""As configs/translation/multi30k_en_de.py, from German into English.

  python -m launch.train --config=configs/translation/multi30k_de_en.py \
      --workdir=runs/multi30k_de_en --config.data.data_dir=FOLDER
"""

from configs.translation import multi30k_en_de
from trainer.config import Experiment


def get_config() -> Experiment:
    """The experiment."""
    config = multi30k_en_de.get_config()
    config.task.source, config.task.target = "de", "en"
    return config
