"""A tokenizer of 40 words, and texts of them, for tests of language models."""

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from trainer.data.encode import TextEncoder
from trainer.data.subwords import Subwords
from trainer.data.tokenizer_training import SPECIAL

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Words and, behind ##, what may follow inside one: 5 special tokens, 26 letters, 9 continuations.
TOKENS = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS[:9])]
PAD, UNKNOWN, BEGIN, END, MASK = range(5)


def tokenizer(without: str = "") -> Subwords:
    """The tokenizer, without one of the special tokens' roles."""
    vocabulary = {token: i for i, token in enumerate(TOKENS)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)],
    )
    backend.add_special_tokens(SPECIAL)
    roles = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    return Subwords(backend, {r: t for r, t in roles.items() if r != without}, {})


TOKENIZER = tokenizer()


def encoder(max_length: int) -> TextEncoder:
    """Encodes texts into rows of at most so many tokens."""
    return TextEncoder(TOKENIZER, max_length, "head")


def ids_of(text: str) -> list[int]:
    """The tokens of a text, without special ones."""
    return list(TOKENIZER.backend_tokenizer.encode(text, add_special_tokens=False).ids)


def texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 12 words, some of several pieces."""
    drawn = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        letters = (str(drawn.choice([*LETTERS])) for _ in range(drawn.integers(1, 13)))
        inside = ("".join(drawn.choice([*LETTERS[:9]], drawn.integers(0, 3))) for _ in range(99))
        made.append(" ".join(a + b for a, b in zip(letters, inside, strict=False)))
    return made
