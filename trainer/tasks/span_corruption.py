"""Span corruption: a decoder writes the spans that are left out of a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.batch import DECODER_IDS, IDS, INPUTS, MASK, TARGET, TARGET_MASK, TYPES, WEIGHT
from trainer.data.encode import Encoded, TextEncoder
from trainer.data.tokenizer_training import sentinel
from trainer.errors import UserError
from trainer.lazy import tf
from trainer.tasks.language import WORDS, LanguageTask, token_losses
from trainer.tasks.text_to_text import shifted, start_and_end

if TYPE_CHECKING:
    import keras

    from trainer.data.columns import Row
    from trainer.models.architecture import Architecture
    from trainer.tasks.task import Batch, Gold, Piece, Scores


@dataclass
class SpanCorruption(LanguageTask):
    """Learns to write the spans that are left out of a text (Raffel et al., 2020, section 3.1.4).

    A sentinel stands in the place of each span; the target has each sentinel and its span, and an
    end. Numbers and lengths are those of `random_spans_noise_mask` of
    text-to-text-transfer-transformer (t5/data/preprocessors.py): a row begins with a span that
    stays and ends with one that is left out. Spans are drawn anew in each epoch.

    How many tokens are left out, and in how many spans, follows from a row's length, so that both
    lengths of a batch are known before. A row of which a single span would be left out, always its
    end, is none: set `blocks` where texts are short.

    "accuracy" is the share of target tokens that are the most probable ones.
    """

    metric: ClassVar[str] = "loss"
    lower: ClassVar[tuple[str, ...]] = ("loss", "perplexity")
    kind: ClassVar[str] = "sequence"
    causal: ClassVar[bool] = False
    inputs: ClassVar[tuple[str, ...]] = (*INPUTS, DECODER_IDS)
    serves: ClassVar[bool] = False

    # Tokens of the longest target that a row of config.data.max_length may have.
    target_length: int = settings.number(128, 2, 65_536, encodes=True)
    noise_density: float = settings.number(0.15, 0.01, 0.5, encodes=True)  # share that is left out
    span_length: float = settings.number(3.0, 1.0, 1000.0, encodes=True)  # tokens, on average

    def start(self) -> None:
        if self.tokenizer is None:
            return
        self._start, self._end = start_and_end(self)
        vocabulary, ids = self.tokenizer.get_vocab(), list[int]()
        while sentinel(len(ids)) in vocabulary:
            ids.append(vocabulary[sentinel(len(ids))])
        if not ids:
            raise UserError(
                f"the tokenizer has no token {sentinel(0)} for spans that are left out: set"
                " config.tokenizer.sentinels, or choose T5's as config.tokenizer.pretrained"
            )
        self._sentinels = np.array(ids, np.int32)
        before, after = TextEncoder(self.tokenizer, 1024, "head").template
        self._edges = len(before), len(after)

    # The rows

    @property
    def longest_target(self) -> int:
        return self.target_length

    def counts(self, length: int) -> tuple[int, int]:
        """The number of tokens that are left out of so many, and that of their spans."""
        length = max(length, 2)
        noise = min(max(round(length * self.noise_density), 1), length - 1)
        return noise, min(max(round(noise / self.span_length), 1), length - noise)

    def sequence(self, content: np.ndarray) -> np.ndarray:
        return np.append(content, self._end) if self.blocks else content

    def stride(self, encoder: TextEncoder) -> int:
        noise, spans = self.counts(encoder.room)
        if noise + spans + 1 > self.target_length:
            raise UserError(
                f"config.data.max_length={encoder.max_length} makes targets of"
                f" {noise + spans + 1} tokens: set config.task.target_length to it"
            )
        if spans > len(self._sentinels):
            raise UserError(
                f"config.data.max_length={encoder.max_length} makes {spans} spans of a row, and the"
                f" tokenizer has {len(self._sentinels)} sentinels: set config.tokenizer.sentinels,"
                " or a smaller max_length"
            )
        return encoder.room

    def row(self, before: np.ndarray, ids: np.ndarray, encoder: TextEncoder) -> np.ndarray:
        return encoder.join(ids).ids

    def pieces(self, rows: Sequence[Row], encoder: TextEncoder) -> list[Piece]:
        made = super().pieces(rows, encoder)
        return made if self.blocks else [*self._with_targets(iter(made))]

    def joined(self, pieces: Iterator[Piece], encoder: TextEncoder) -> Iterator[Piece]:
        made = super().joined(pieces, encoder)
        return self._with_targets(made) if self.blocks else made

    def _with_targets(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The pieces of two spans or more, with room for the target behind the tokens."""
        for piece in pieces:
            ids = piece.tokens.ids
            noise, spans = self.counts(len(ids) - sum(self._edges))
            if spans > 1:
                ids_and_room = np.append(ids, np.full(noise + spans + 1, self._end))
                yield piece._replace(tokens=Encoded(ids_and_room, len(ids), cut=False))

    # The model

    def head(self, architecture: Architecture) -> keras.layers.Layer:
        from trainer.models.heads import WordHead

        return WordHead(architecture, transforms=False, tied=self.tied)

    # In the graph

    def prepare(self, batch: Batch, training: bool) -> Batch:
        ids_BT, real_BT = batch[IDS], batch[MASK] > 0
        before, after = self._edges
        length_B = tf.reduce_sum(batch[MASK], 1) - before - after
        noise_B, spans_B = self._counts(length_B)
        left_BT = self._left_out(tf.shape(ids_BT), length_B)
        place_T = tf.range(tf.shape(ids_BT)[1]) - before
        stays_BT = (place_T >= 0) & (place_T < length_B[:, None]) & ~left_BT
        source_BT, size_B = self._written(ids_BT, left_BT, real_BT & ~left_BT)
        target_BT, _ = self._written(ids_BT, stays_BT, left_BT)

        # Both lengths follow from those of the batch, which all replicas have alike.
        longest = tf.shape(ids_BT)[1] - before - after
        noise, spans = self._counts(longest[None])
        length = tf.shape(ids_BT)[1] - noise[0] + spans[0]
        place_L, place_M = tf.range(length), tf.range(tf.shape(batch[TARGET])[1])
        mask_BL = tf.cast(place_L < size_B[:, None], tf.int32)
        more = tf.shape(batch[TARGET])[1]
        target_BM = tf.pad(target_BT, [[0, 0], [0, more]])[:, :more]
        ends_BM = place_M == (noise_B + spans_B)[:, None]
        target_BM = tf.where(ends_BM, self._end, target_BM) * batch[TARGET_MASK]
        return {
            **batch,
            IDS: source_BT[:, :length] * mask_BL,
            MASK: mask_BL,
            TYPES: tf.zeros_like(mask_BL),
            TARGET: target_BM,
            DECODER_IDS: shifted(target_BM, self._start),
        }

    def _counts(self, length_B: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`counts` of lengths, int32 [B] each; both round halves to even."""
        length_B = tf.maximum(length_B, 2)
        share_B = tf.round(tf.cast(length_B, tf.float64) * self.noise_density)
        noise_B = tf.clip_by_value(tf.cast(share_B, tf.int32), 1, length_B - 1)
        spans_B = tf.round(tf.cast(noise_B, tf.float64) / self.span_length)
        return noise_B, tf.clip_by_value(tf.cast(spans_B, tf.int32), 1, length_B - noise_B)

    def _left_out(self, shape: tf.Tensor, length_B: tf.Tensor) -> tf.Tensor:
        """True at the tokens that are left out, bool [B, T]."""
        from trainer.models.random import random_uniform

        noise_B, spans_B = self._counts(length_B)
        stay_B, place_T = tf.maximum(length_B, 2) - noise_B, tf.range(shape[1])
        drawn_BT2 = random_uniform(tf.concat([shape, [2]], 0))
        stays_BT = _starts(drawn_BT2[..., 0], stay_B, spans_B)
        noise_BT = _starts(drawn_BT2[..., 1], noise_B, spans_B)
        next_BT = tf.pad(stays_BT[:, 1:], [[0, 0], [0, 1]])
        next_BT = tf.where(place_T == spans_B[:, None] - 1, stay_B[:, None], next_BT)
        none = 2 * shape[1]
        there_BT = place_T < spans_B[:, None]
        # Where each span that stays begins in the row, and each that is left out.
        first_BT = tf.where(there_BT, stays_BT + noise_BT, none)
        second_BT = tf.where(there_BT, next_BT + noise_BT, none)
        at_BT = tf.broadcast_to(place_T - self._edges[0], shape)
        begun = [tf.searchsorted(each, at_BT, "right") for each in (first_BT, second_BT)]
        return (begun[0] == begun[1]) & (at_BT >= 0) & (at_BT < length_B[:, None])

    def _written(
        self, ids_BT: tf.Tensor, spans_BT: tf.Tensor, kept_BT: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The kept tokens of rows, with a sentinel in the place of each span: [B, T], sizes [B]."""
        place_T = tf.range(tf.shape(ids_BT)[1])
        begins_BT = spans_BT & ~tf.pad(spans_BT[:, :-1], [[0, 0], [1, 0]])
        number_BT = tf.cumsum(tf.cast(begins_BT, tf.int32), 1) - 1
        number_BT = tf.clip_by_value(number_BT, 0, len(self._sentinels) - 1)
        ids_BT = tf.where(begins_BT, tf.gather(self._sentinels, number_BT), ids_BT)
        kept_BT |= begins_BT
        order_BT = tf.argsort(tf.where(kept_BT, place_T, place_T + tf.size(place_T)), axis=1)
        size_B = tf.reduce_sum(tf.cast(kept_BT, tf.int32), 1)
        return tf.gather(ids_BT, order_BT, batch_dims=1), size_B

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        row_B1 = tf.cast(batch[WEIGHT], tf.float32)[:, None]
        return {WORDS: tf.cast(batch[TARGET_MASK], tf.float32) * row_B1}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {WORDS: token_losses(outputs, batch[TARGET])}

    def measures(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        right_BM = (tf.argmax(outputs, -1, tf.int32) == batch[TARGET]) & (batch[TARGET_MASK] > 0)
        return {"right": tf.cast(right_BM, tf.float32)}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        return ["loss", "perplexity", "accuracy"]

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        found = super().judge(gold, scores)
        right = float(np.sum(scores.measures["right"], dtype=np.float64))
        found["accuracy"] = right / found["tokens"] if found["tokens"] else math.nan
        return found

    # Predictions

    def rule(self, fitted: Any, threshold: str) -> Any:
        raise UserError(
            "the run has learned to write spans that were left out, and says nothing of a text:"
            " name it as config.model.initial_run of a run of another task"
        )


def _starts(drawn_BT: tf.Tensor, count_B: tf.Tensor, spans_B: tf.Tensor) -> tf.Tensor:
    """The beginnings of the spans that so many tokens are cut into at random, none empty.

    Int32 [B, T], ascending; behind the last span numbers that mean nothing.
    """
    place_T = tf.range(tf.shape(drawn_BT)[1])
    inner_BT = (place_T > 0) & (place_T < count_B[:, None])
    order_BT = tf.where(inner_BT, drawn_BT, 2.0)
    rank_BT = tf.argsort(tf.argsort(order_BT, axis=1, stable=True), axis=1)
    begins_BT = (inner_BT & (rank_BT < spans_B[:, None] - 1)) | (place_T == 0)
    return tf.sort(tf.where(begins_BT, place_T, 2 * tf.size(place_T)), axis=1)
