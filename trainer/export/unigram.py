"""Unigram tokenisation inside a TensorFlow graph, as this library's own tokenizers do it outside.

The normalizers Nmt and NFKC and the Metaspace pre-tokenizer of the `tokenizers` library, by
TensorFlow's string ops; the pieces by SentencePiece (Kudo, 2018), in tensorflow-text.
docs/use/export.md names what differs.
"""

import importlib
import json
from typing import Any

import tensorflow as tf

from trainer.data.encode import TextEncoder, plain_backend
from trainer.data.subwords import Subwords
from trainer.errors import UserError
from trainer.export.wordpiece import InGraph

_SPACE = "\u2581"  # SentencePiece's sign for a blank
# What the normalizer Nmt leaves out, and what it makes a blank of.
_LEFT_OUT = r"[\x{1}-\x{8}\x{B}\x{E}-\x{1F}\x{7F}\x{8F}\x{9F}]"
_BLANKS = r"[\t\n\f\r\x{1680}\x{200B}-\x{200F}\x{2028}\x{2029}\x{2581}\x{FEFF}\x{FFFD}]"
_NORMALIZERS = (["Nmt", "NFKC", "Replace"], ["Nmt", "NFKC", "Lowercase", "Replace"])
_METASPACE = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": True}


def why_not(tokenizer: Subwords) -> str:
    """Why the graph cannot do what a Unigram tokenizer does; empty if it can."""
    made = json.loads(plain_backend(tokenizer).to_str())
    normalizer = made["normalizer"] or {}
    steps = [each["type"] for each in normalizer.get("normalizers", [normalizer | {"type": ""}])]
    if steps not in _NORMALIZERS or made["pre_tokenizer"] != _METASPACE:
        return "its Unigram tokenizer prepares texts otherwise than this library's own"
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
      UserError: tensorflow-text, or sentencepiece, is not installed.
    """

    def __init__(self, tokenizer: Subwords, encoder: TextEncoder):
        super().__init__(encoder)
        made = json.loads(plain_backend(tokenizer).to_str())
        steps = [each["type"] for each in made["normalizer"]["normalizers"]]
        self._lowercase = "Lowercase" in steps
        special = {token["id"] for token in made["added_tokens"]}
        self._sentencepiece = self._text.SentencepieceTokenizer(
            model=_sentencepiece_model(made["model"], special), out_type=tf.int32
        )

    def pieces(self, texts):
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        texts = tf.strings.regex_replace(texts, _LEFT_OUT, "")
        texts = tf.strings.regex_replace(texts, _BLANKS, " ")
        texts = self._text.normalize_utf8(texts, "NFKC")
        if self._lowercase:
            # Character by character: TensorFlow would make another sigma of a word's last one.
            texts = tf.strings.regex_replace(texts, "Σ", "σ")
            texts = tf.strings.lower(texts, "utf-8")
        texts = tf.strings.regex_replace(texts, " +", _SPACE)
        texts = tf.strings.regex_replace(texts, f"^([^{_SPACE}])", rf"{_SPACE}\1")
        return self._sentencepiece.tokenize(texts)


def _sentencepiece_model(model: dict[str, Any], special: set[int]) -> bytes:
    """A spiece.model of the pieces of a tokenizer.json, by their ids."""
    try:
        proto = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    except ImportError as error:
        raise UserError(
            "texts in a SavedModel need sentencepiece for this tokenizer: pip install sentencepiece"
        ) from error
    made, kinds = proto.ModelProto(), proto.ModelProto.SentencePiece
    for id_, (piece, score) in enumerate(model["vocab"]):
        kind = kinds.CONTROL if id_ in special else kinds.NORMAL
        if id_ == model["unk_id"]:
            kind = kinds.UNKNOWN
        made.pieces.add(piece=piece, score=score, type=kind)
    spec = made.trainer_spec
    spec.model_type, spec.vocab_size = spec.UNIGRAM, len(made.pieces)
    spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id = model["unk_id"], -1, -1, -1
    spec.unk_piece = model["vocab"][model["unk_id"]][0]
    how = made.normalizer_spec
    how.name, how.add_dummy_prefix, how.remove_extra_whitespaces = "identity", False, False
    return made.SerializeToString()
