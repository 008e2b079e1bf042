"""Unigram tokenisation inside a TensorFlow graph, as the `tokenizers` library does it outside.

Pieces are cut by SentencePiece (Kudo, 2018), in tensorflow-text, after the table for characters
that the tokenizers of this library and T5's bring. docs/use/export.md names what differs.
"""

import json

import tensorflow as tf

from trainer.data import spiece
from trainer.data.encode import TextEncoder, plain_backend
from trainer.data.subwords import Subwords
from trainer.export.wordpiece import InGraph


def why_not(tokenizer: Subwords) -> str:
    """Why the graph cannot do what a Unigram tokenizer does; empty if it can."""
    made = json.loads(plain_backend(tokenizer).to_str())
    if not spiece.table_of(made):
        return "its Unigram tokenizer prepares texts otherwise than this library's own, or T5's"
    if made["model"]["byte_fallback"]:
        return "its Unigram tokenizer makes bytes of what it does not know"
    if any("\0" in piece for piece, _ in made["model"]["vocab"]):  # SentencePiece crashes
        return "a piece of its tokenizer holds the character NUL"
    return ""


class UnigramTokenizer(InGraph):
    """Raw texts to what a model takes, cut and padded as in training.

    A special token that is written in a text is text, no token.

    Args:
      tokenizer: of this library's kind, see `why_not`.
      encoder: of the same tokenizer; it says how texts are cut, and what stands around them.

    Raises:
      UserError: tensorflow-text is not installed.
    """

    def __init__(self, tokenizer: Subwords, encoder: TextEncoder):
        super().__init__(encoder)
        made = json.loads(plain_backend(tokenizer).to_str())
        model = spiece.model_of(made, spiece.table_of(made))
        self._sentencepiece = self._text.SentencepieceTokenizer(model, out_type=tf.int32)

    def pieces(self, texts):
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        return self._sentencepiece.tokenize(texts)
