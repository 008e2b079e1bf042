"""DistilBERT fine-tuned on all of IMDB, thawed from the top: half the cost of BERT-base.

  python -m launch.train --config=configs/distilbert_imdb.py --workdir=runs/distilbert_imdb

distilbert/distilbert-base-uncased is downloaded from the Hugging Face hub, the reviews by TFDS; for
folders instead see configs/bert_imdb.py. The phases are gradual unfreezing (Howard & Ruder, 2018,
arXiv:1801.06146): the head alone, then the upper half of the blocks too, then everything.

Not run here for want of the weights. Sanh et al. (2019, arXiv:1910.01108, table 2) report a test
accuracy of 0.9282 on IMDB, and 0.9346 for BERT-base with the same recipe.
"""

from configs import bert_imdb
from trainer.config import Experiment, Phase


def get_config() -> Experiment:
    """The experiment."""
    config = bert_imdb.get_config()
    config.model.pretrained = "distilbert/distilbert-base-uncased"
    head, whole = config.phases
    upper = Phase(
        name="upper",
        train=("head/.*", r"encoder/block_[345]/.*"),
        epochs=1,
        learning_rate=5e-5,
        warmup_share=0.1,
        schedule="linear",
        layer_decay=0.95,
    )
    whole.epochs, whole.learning_rate = 2, 3e-5
    config.phases = [head, upper, whole]
    return config
