"""Unigram tokenisation inside a TensorFlow graph, as the `tokenizers` library does it outside.

Pieces are cut by SentencePiece (Kudo, 2018), in tensorflow-text. T5's tokenizers bring the table by
which it prepares a text; for those of this library the normalizers Nmt and NFKC and the
pre-tokenizer Metaspace are made of TensorFlow's string ops. docs/use/export.md names what differs.
"""

import json

import tensorflow as tf

from trainer.data import spiece
from trainer.data.encode import TextEncoder, plain_backend
from trainer.data.subwords import Subwords
from trainer.export.wordpiece import InGraph

# What the normalizer Nmt leaves out, and what it makes a blank of.
_LEFT_OUT = r"[\x{1}-\x{8}\x{B}\x{E}-\x{1F}\x{7F}\x{8F}\x{9F}]"
_BLANKS = r"[\t\n\f\r\x{1680}\x{200B}-\x{200F}\x{2028}\x{2029}\x{2581}\x{FEFF}\x{FFFD}]"


def why_not(tokenizer: Subwords) -> str:
    """Why the graph cannot do what a Unigram tokenizer does; empty if it can."""
    made = json.loads(plain_backend(tokenizer).to_str())
    if not spiece.rule_of(made):
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
        steps = spiece.steps_of(made)
        self._own, self._lowercase = bool(steps), "Lowercase" in steps
        rule = () if self._own else spiece.rule_of(made) or ()
        model = spiece.model_of(made, *rule)
        self._sentencepiece = self._text.SentencepieceTokenizer(model, out_type=tf.int32)

    def pieces(self, texts):
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        if not self._own:  # by the table in the model
            return self._sentencepiece.tokenize(texts)
        texts = tf.strings.regex_replace(texts, _LEFT_OUT, "")
        texts = tf.strings.regex_replace(texts, _BLANKS, " ")
        texts = self._text.normalize_utf8(texts, "NFKC")
        if self._lowercase:
            # Character by character: TensorFlow would make another sigma of a word's last one.
            texts = tf.strings.regex_replace(texts, "Σ", "σ")
            texts = tf.strings.lower(texts, "utf-8")
        texts = tf.strings.regex_replace(texts, "^ +| +$", "")
        texts = tf.strings.regex_replace(texts, " +", spiece.SPACE)
        texts = tf.strings.regex_replace(texts, f"^([^{spiece.SPACE}])", rf"{spiece.SPACE}\1")
        return self._sentencepiece.tokenize(texts)
