"""A small translator of made-up sentences; a test names the files."""

import random
from pathlib import Path

from trainer.config import Data, Experiment, Model, Phase, Tokenizer
from trainer.tasks.text_to_text import TextToText

WORDS = {
    **{"the": "der", "cat": "Kater", "dog": "Hund", "saw": "sah", "a": "ein", "bird": "Vogel"},
    **{"and": "und", "ran": "lief", "away": "fort", "small": "kleiner", "big": "großer"},
}


def get_config(kind: str = "bpe") -> Experiment:
    """The experiment, with a tokenizer of that kind."""
    return Experiment(
        data=Data(source="files", format="parallel", validation_share=0.2, max_length=32),
        tokenizer=Tokenizer(kind=kind, vocab_size=300, lowercase=False),
        model=Model(
            width=32, depth=1, heads=2, ffn_width=64, norm="pre", embedding_norm=False, dropout=0.0
        ),
        task=TextToText(source="en", target="de", target_length=32),
        phases=[Phase(steps=300, learning_rate=1e-2, warmup_steps=5)],
        global_batch_size=16,
        save_every_steps=300,
    )


def write(name: Path, count: int, seed: int = 0) -> Path:
    """Sentences of a few words in two files, whose endings are .en and .de; returns `name`."""
    drawn = random.Random(seed)
    sources = [" ".join(drawn.choices(sorted(WORDS), k=drawn.randint(1, 5))) for _ in range(count)]
    targets = [" ".join(WORDS[word] for word in source.split()) for source in sources]
    for ending, texts in (("en", sources), ("de", targets)):
        Path(f"{name}.{ending}").write_text("".join(f"{text}\n" for text in texts))
    return name
