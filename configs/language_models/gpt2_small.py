"""GPT-2 small's shape (Radford et al., 2019), from random weights: for speed, and to begin from.

  python -m launch.train --config=configs/language_models/gpt2_small.py --workdir=runs/gpt2_small \
      --config.data.data_dir=FOLDER

124 million parameters, 1,024 positions. It reads the files of configs/language_models/wikitext2.py;
for a corpus of your own see docs/use/corpora.md.
"""

from configs.language_models import wikitext2
from trainer.config import Experiment, Model, Phase, Tokenizer


def get_config() -> Experiment:
    """The experiment."""
    config = wikitext2.get_config()
    config.data.max_length = 1024
    config.tokenizer = Tokenizer(kind="bpe", vocab_size=50257, lowercase=False)
    config.model = Model(
        width=768,
        depth=12,
        heads=12,
        ffn_width=3072,
        activation="gelu_tanh",
        norm="pre",
        positions="learned",
        embedding_norm=False,
        causal=True,
        vocab_size=50257,
        dropout=0.1,
        attention_dropout=0.1,
        embedding_dropout=0.1,
    )
    config.phases = [
        Phase(name="all", epochs=1, learning_rate=6e-4, warmup_steps=100, schedule="cosine")
    ]
    config.global_batch_size, config.runtime.max_rows_per_device = 32, 4
    return config
