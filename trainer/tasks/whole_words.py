"""Words made of several tokens: where they begin, and a random share of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import decoders, models

from trainer.lazy import tf

if TYPE_CHECKING:
    from trainer.data.subwords import Subwords

_BLANK = "▁"  # SentencePiece's, in the place of a blank
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # of a tokenizer that falls back on bytes


def word_marks(tokenizer: Subwords) -> tuple[np.ndarray, np.ndarray]:
    """True for each token that begins a word, and for each behind which one begins, [V] both.

    By the marks that the kind of tokenizer has: WordPiece's "##", the white space that a token of
    byte-level BPE or of SentencePiece begins with, or the mark of a word's end. Where a kind has
    none, as one of whole words or of characters, each token begins a word.
    """
    vocabulary, special = tokenizer.get_vocab(), {*tokenizer.all_special_tokens}
    begins = np.ones(max(vocabulary.values()) + 1, bool)
    ends = np.zeros_like(begins)
    model = tokenizer.backend_tokenizer.model
    prefix = getattr(model, "continuing_subword_prefix", None)
    suffix = getattr(model, "end_of_word_suffix", None)
    blanks = _blanks(tokenizer)
    bytes_ = decoders.ByteLevel()
    for token, id_ in vocabulary.items():
        if token in special:
            continue
        if prefix:
            begins[id_] = not token.startswith(prefix)
        elif suffix:
            begins[id_], ends[id_] = False, token.endswith(suffix)
        elif blanks:
            text = bytes_.decode([token]) if blanks == "bytes" else _text(token)
            begins[id_] = text[:1].isspace()
            # A lone mark of SentencePiece is the beginning of the word behind it.
            ends[id_] = text[-1:].isspace() and token != _BLANK
    return begins, ends


def _blanks(tokenizer: Subwords) -> str:
    """The way tokens hold the white space between words: as "bytes", as "▁" or, "", not at all."""
    backend = tokenizer.backend_tokenizer
    if not isinstance(backend.model, (models.BPE, models.Unigram)):
        return ""
    made = json.loads(backend.to_str())
    steps = [made[name] for name in ("normalizer", "pre_tokenizer", "decoder")]
    if any("ByteLevel" in _kinds(step) for step in steps):
        return "bytes"
    return _BLANK if _BLANK in json.dumps(steps, ensure_ascii=False) else ""


def _kinds(step: Any) -> set[str]:
    """The types of a step of a tokenizer.json, and of those that it consists of."""
    if isinstance(step, list):
        return set().union(*map(_kinds, step))
    if not isinstance(step, dict):
        return set()
    return {str(step.get("type"))}.union(*map(_kinds, step.values()))


def _text(token: str) -> str:
    """The characters that a token of SentencePiece stands for."""
    byte = _BYTE.fullmatch(token)
    return chr(int(byte[1], 16)) if byte else token.replace(_BLANK, " ")


def extents(begins_BT: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The place of the first token of each token's word, and the word's size, int32 [B, T] both.

    Args:
      begins_BT: bool; a row begins a word whatever it says.
    """
    rows, length = tf.unstack(tf.shape(begins_BT))
    place_BT = tf.broadcast_to(tf.range(length), [rows, length])
    begins_BT |= place_BT == 0
    word_BT = tf.cumsum(tf.cast(begins_BT, tf.int32), axis=1) - 1
    edges_BT = tf.sort(tf.where(begins_BT, place_BT, length), axis=1)
    edges_BT = tf.concat([edges_BT, tf.fill([rows, 1], length)], axis=1)
    first_BT = tf.gather(edges_BT, word_BT, batch_dims=1)
    return first_BT, tf.gather(edges_BT, word_BT + 1, batch_dims=1) - first_BT


def chosen(
    order_BT: tf.Tensor, word_BT: tf.Tensor, size_BT: tf.Tensor, count_B: tf.Tensor
) -> tf.Tensor:
    """True for the tokens of words that are chosen, bool [B, T], as a graph that XLA compiles.

    Of each row words are taken in order as long as the row has tokens left to choose, and those
    that are too long are passed over. The first is always taken: of one longer than `count_B` its
    first tokens. Padding changes nothing.

    Args:
      order_BT: float, one number below 2 a word, 2 where no token may be chosen.
      word_BT: int32, the place of the word's first token.
      size_BT: int32, tokens of the word.
      count_B: int32, tokens to choose at most, at least one.
    """
    length = tf.shape(order_BT)[1]
    # From here on tokens stand in the order of their words.
    by_BT = tf.argsort(order_BT, axis=1, stable=True)
    place_BT = tf.broadcast_to(tf.range(length), tf.shape(order_BT))
    may_BT = tf.gather(order_BT, by_BT, batch_dims=1) < 2
    inside_BT = by_BT - tf.gather(word_BT, by_BT, batch_dims=1)  # place in the word
    start_BT = place_BT - inside_BT
    size_BT = tf.gather(size_BT, by_BT, batch_dims=1)

    def count(of_BT: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(of_BT, tf.int32), axis=1)

    def some(from_B: tf.Tensor, left_B: tf.Tensor, taken_BT: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(from_B < length)

    def further(from_B: tf.Tensor, left_B: tf.Tensor, taken_BT: tf.Tensor) -> tuple:
        """Takes words up to the first that is too long, and goes on behind it."""
        open_BT = may_BT & (start_BT >= from_B[:, None]) & (size_BT <= left_B[:, None])
        through_BT = tf.cumsum(tf.cast(open_BT, tf.int32), axis=1) - inside_BT - 1 + size_BT
        fits_BT = open_BT & (through_BT <= left_B[:, None])
        stops_BT = tf.where(open_BT & ~fits_BT, place_BT + 1, length)
        return tf.reduce_min(stops_BT, axis=1), left_B - count(fits_BT), taken_BT | fits_BT

    first_BT = may_BT & (start_BT == 0) & (inside_BT < count_B[:, None])
    begun = tf.ones_like(count_B), count_B - count(first_BT), first_BT
    *_, taken_BT = tf.while_loop(some, further, begun)
    return tf.gather(taken_BT, tf.argsort(by_BT, axis=1), batch_dims=1)
