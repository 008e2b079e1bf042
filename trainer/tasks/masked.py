"""Masked language modelling: words that were taken out are found again from both sides."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.batch import IDS, INPUTS, MASK, POSITIONS, SELECTED, WEIGHT
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.lazy import tf
from trainer.tasks import whole_words
from trainer.tasks.language import (
    NO_COUNTS,
    WORDS,
    LanguageTask,
    counts_of,
    needed,
    tells_lines,
    token_losses,
)
from trainer.tasks.next_sentence import LEAST_ROOM, Text, pairs, sentence_starts
from trainer.tasks.shown import Shown, Table
from trainer.tasks.task import Array, Gold, Piece, Scores, check_finite

if TYPE_CHECKING:
    import keras

    from trainer.data.encode import TextEncoder
    from trainer.models.architecture import Architecture
    from trainer.tasks.task import Batch

# Of the selected tokens (Devlin et al., 2019, section 3.1); the rest stay as they are.
MASKED, RANDOM = 0.8, 0.1
FILLS = 5  # tokens that a prediction has for each mask


@dataclass
class MaskedWords(LanguageTask):
    """Learns tokens that are masked in the input (Devlin et al., 2019, arXiv:1810.04805).

    Of each row `mask_share` of the tokens are selected, anew in every epoch, and always the same
    ones in evaluation: at least one, so that no batch selects nothing, unless a row has special
    tokens only. 80 % of them become the mask token, 10 % a random one, 10 % stay. With
    `whole_words` all pieces of a word are selected, or none, and share its fate; of a word that
    alone exceeds the share of its row, the first pieces may be.

    With `next_sentence` a row is a pair of parts of texts, of which the second follows the first in
    half of the cases, see `next_sentence.pairs`: to tell which is a second loss. Gold then has
    "random" int32 [N].

    "accuracy" is the share of selected tokens that are found, "next_accuracy" that of pairs.
    """

    lower: ClassVar[tuple[str, ...]] = ("loss", "perplexity")
    causal: ClassVar[bool] = False
    inputs: ClassVar[tuple[str, ...]] = (*INPUTS, POSITIONS)

    mask_share: float = settings.number(0.15, 0.001, 0.9)  # of a row's tokens; at least one of them
    whole_words: bool = False  # select all pieces of a word
    next_sentence: bool = settings.encoded(False)  # tell if two sentences follow one another

    def validate(self) -> None:
        if self.next_sentence and self.blocks:
            raise UserError(
                "config.task.next_sentence makes pairs of the sentences of each text: set"
                " config.task.blocks=False"
            )

    @property
    def pairs(self) -> bool:
        return self.next_sentence

    def start(self) -> None:
        if self.tokenizer is None:
            return
        self._mask = needed(self, "mask token", ("mask_token",), "which stands for a masked one")
        special = {*self.tokenizer.all_special_ids}
        vocabulary = self.tokenizer.get_vocab()
        self._size = max(vocabulary.values()) + 1
        ordinary = sorted(id_ for id_ in vocabulary.values() if id_ not in special)
        self._ordinary = np.array(ordinary, np.int32)
        self._is_special = np.isin(np.arange(self._size), self._ordinary, invert=True)
        if self.whole_words:
            self._begins, self._ends = whole_words.word_marks(self.tokenizer)

    # The rows

    def arrays(self) -> dict[str, Array]:
        return {**super().arrays(), **({"random": Array("int32")} if self.next_sentence else {})}

    def pieces(self, rows: Sequence[Row], encoder: TextEncoder) -> list[Piece]:
        if not self.next_sentence:
            return super().pieces(rows, encoder)
        room = encoder.room_of_pairs
        if room < LEAST_ROOM:
            raise UserError(
                f"config.data.max_length={encoder.max_length} has no room for pairs: make it"
                f" {encoder.max_length - room + LEAST_ROOM} or more"
            )
        given = [row["text"] for row in rows]
        found = encoder.contents_from(given, [sentence_starts(text) for text in given])
        made: list[Piece] = []
        lines = tells_lines(encoder)
        for pair in pairs([Text(*each) for each in found], room, rows[0].id):
            begins = not made or made[-1].row != pair.text
            counts = counts_of(given[pair.text], lines) if begins else NO_COUNTS
            tokens = encoder.join_pair(pair.first, pair.second)
            made.append(Piece(pair.text, tokens, {**counts, "random": int(pair.random)}))
        return made

    def sequence(self, content: np.ndarray) -> np.ndarray:
        if not self.blocks:
            return content
        separator = self.tokenizer.id_of("sep_token")
        return content if separator is None else np.append(content, separator)

    def stride(self, encoder: TextEncoder) -> int:
        return encoder.room

    def row(self, before: np.ndarray, ids: np.ndarray, encoder: TextEncoder) -> np.ndarray:
        return encoder.join(ids).ids

    # The model

    def head(self, architecture: Architecture) -> keras.layers.Layer:
        from trainer.models.heads import PairedWordHead, WordHead

        if self.next_sentence:
            return PairedWordHead(architecture, tied=self.tied, mask=self._mask)
        return WordHead(architecture, transforms=True, tied=self.tied, mask=self._mask)

    @property
    def native_kind(self) -> str:
        if type(self).head is not MaskedWords.head:
            return ""
        return "pretraining" if self.next_sentence else "masked"

    def native_config(self) -> dict[str, Any]:
        return {}

    # In the graph

    def prepare(self, batch: Batch, training: bool) -> Batch:
        from trainer.models.random import random_uniform

        ids_BT = batch[IDS]
        shape = tf.shape(ids_BT)
        rows, length = shape[0], shape[1]
        place_BT = tf.broadcast_to(tf.range(length), shape)
        learned_BT = (batch[MASK] > 0) & ~tf.gather(self._is_special, ids_BT)
        # By the row's own tokens, so that padding changes nothing.
        count_B = self._share(tf.reduce_sum(tf.cast(learned_BT, tf.int32), 1))
        drawn_BT3 = random_uniform(tf.stack([rows, length, 3]))
        if self.whole_words:
            begins_BT = tf.gather(self._begins, ids_BT) | ~learned_BT
            begins_BT |= tf.roll(~learned_BT | tf.gather(self._ends, ids_BT), 1, axis=1)
            first_BT, size_BT = whole_words.extents(begins_BT)
            drawn_BT3 = tf.gather(drawn_BT3, first_BT, batch_dims=1)  # a word draws once
        order_BT, fate_BT, other_BT = tf.unstack(drawn_BT3, axis=-1)
        order_BT = tf.where(learned_BT, order_BT, 2.0)
        if self.whole_words:
            chosen_BT = whole_words.chosen(order_BT, first_BT, size_BT, count_B)
            other_BT = random_uniform(shape)  # each piece has a random token of its own
        else:
            rank_BT = tf.argsort(tf.argsort(order_BT, axis=1, stable=True), axis=1)
            chosen_BT = learned_BT & (rank_BT < count_B[:, None])
        at_BT = tf.cast(other_BT * len(self._ordinary), tf.int32)
        random_BT = tf.gather(self._ordinary, at_BT)
        new_BT = tf.where(
            fate_BT < MASKED, self._mask, tf.where(fate_BT < MASKED + RANDOM, random_BT, ids_BT)
        )
        where_BT = tf.argsort(tf.where(chosen_BT, place_BT, length + place_BT), axis=1)
        positions_BK = where_BT[:, : self._share(length)]
        return {
            **batch,
            IDS: tf.where(chosen_BT, new_BT, ids_BT),
            POSITIONS: positions_BK,
            "targets": tf.gather(ids_BT, positions_BK, batch_dims=1),
            SELECTED: tf.gather(tf.cast(chosen_BT, tf.float32), positions_BK, batch_dims=1),
        }

    def _share(self, count: tf.Tensor) -> tf.Tensor:
        """The number of tokens that are selected of so many, int32."""
        share = tf.round(tf.cast(count, tf.float32) * self.mask_share)
        return tf.maximum(tf.cast(share, tf.int32), 1)

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        weight_B = tf.cast(batch[WEIGHT], tf.float32)
        words = {WORDS: batch[SELECTED] * weight_B[:, None]}
        return {**words, "next": weight_B} if self.next_sentence else words

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        words = {WORDS: token_losses(_words(outputs), batch["targets"])}
        if not self.next_sentence:
            return words
        return {**words, "next": token_losses(outputs["next"], batch["random"])}

    def measures(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        right_BK = tf.argmax(_words(outputs), -1, tf.int32) == batch["targets"]
        found = {"right": tf.cast(right_BK, tf.float32) * batch[SELECTED]}
        if self.next_sentence:
            right_B = tf.argmax(outputs["next"], -1, tf.int32) == batch["random"]
            found["right_next"] = tf.cast(right_B, tf.float32)
        return found

    def sampled(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        made = self.prepare(batch, training=False)
        logits = _words(model({name: made[name] for name in self.inputs}, training=False))
        sure, found = tf.math.top_k(tf.nn.softmax(tf.cast(logits, tf.float32)), 1)
        kept = {name: made[name] for name in (SELECTED, IDS, "targets")}
        return {**kept, "found": found[..., 0], "sure": sure[..., 0]}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """The most probable tokens at each mask token of a text to predict: [B, T, FILLS] each.

        Elsewhere probabilities are 0; of a set, whose masks are drawn, there are none.
        """
        if POSITIONS in batch:
            return {}
        masked_BT = batch[IDS] == self._mask
        at_BT = tf.maximum(tf.cumsum(tf.cast(masked_BT, tf.int32), axis=1) - 1, 0)
        probabilities = tf.nn.softmax(tf.cast(_words(outputs), tf.float32))
        best_BKF = tf.math.top_k(probabilities, min(FILLS, self._size))
        token_BTF, sure_BTF = (tf.gather(each, at_BT, batch_dims=1) for each in best_BKF[::-1])
        return {
            "token": token_BTF,
            "probability": tf.where(masked_BT[..., None], sure_BTF, tf.zeros_like(sure_BTF)),
        }

    def serve(self, answers: Mapping[str, tf.Tensor], fitted: Any) -> dict[str, tf.Tensor]:
        """Tokens and probabilities [N, M, FILLS] of the masks of each text, in order.

        "" and 0 where a text has fewer than M.
        """
        from trainer.models.heads import places_of

        sure, ids = answers["probability"], answers["token"]
        at = places_of(sure[..., 0] != 0)
        sure, ids = (tf.gather(each, at, batch_dims=1) for each in (sure, ids))
        names = tf.constant([*(self._token(id_) for id_ in range(self._size)), ""])
        tokens = tf.gather(names, tf.where(sure != 0, tf.minimum(ids, self._size), self._size))
        return {"tokens": tokens, "probabilities": sure}

    def _token(self, id_: int) -> str:
        return self.tokenizer.decode([id_])

    # The judgement of a set

    def samples(self, batch: Batch, sampled: Mapping[str, tf.Tensor]) -> list[Shown]:
        """Texts with their masks, what stood there, and the likeliest token for each."""
        names = (SELECTED, IDS, "targets", "found", "sure")
        of_rows = (batch[MASK].numpy(), *(sampled[name].numpy() for name in names))
        piece_of, rows = self.tokenizer.convert_ids_to_tokens, []
        for mask, counts, ids, *told in zip(*of_rows, strict=True):
            true, found, sure = (each[counts > 0] for each in told)
            words = zip(piece_of(true), piece_of(found), sure, strict=True)
            filled = [f"{one}: {other} ({share:.0%})" for one, other, share in words]
            rows.append((" ".join(piece_of(ids[mask > 0])), ", ".join(filled)))
        return [Table("masked words", ("text", "masked: found"), rows)]

    def metric_names(self) -> list[str]:
        pairs = ["next_accuracy"] if self.next_sentence else []
        return ["loss", "perplexity", "accuracy", *pairs]

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        found = super().judge(gold, scores)
        right = float(np.sum(scores.measures["right"], dtype=np.float64))
        found["accuracy"] = right / found["tokens"] if found["tokens"] else math.nan
        if self.next_sentence:
            found["next_accuracy"] = float(scores.measures["right_next"].mean())
        return found

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        lines, notes = super().about(sets, cut, fresh)
        for name, gold in sets.items() if self.next_sentence else ():
            count, random = len(gold["random"]), int(gold["random"].sum(dtype=np.int64))
            lines.append(f"{name}: {count:,} pairs, of which {random:,} do not follow one another")
            if 0 < random < count:
                continue
            how = "none of the pairs follows its text" if random else "all pairs follow one another"
            said = f"{how}, as there are too few texts, or too short ones"
            if fresh and name == "train":
                raise UserError(
                    f"{name}: {said}: give more, or set config.task.next_sentence=False"
                )
            notes.append(f"{name}: {said}: next_accuracy says nothing")
        return lines, notes

    # Predictions

    line_fields: ClassVar[tuple[str, ...]] = ("text", "fills")

    @property
    def example(self) -> str:
        return f"a text with a {self._token(self._mask)} in it"

    def alone(self) -> MaskedWords:
        made = copy.copy(self)
        made.blocks = made.next_sentence = False
        return made

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, np.ndarray], rule: Any
    ) -> dict[str, Any]:
        """The most probable tokens for each mask token, and the row's text with the first of them.

        Where the tokenizer sees other mask tokens than the text has, the text is that of the ids.
        """
        filled: list[int] = []
        fills: list[list[dict[str, Any]]] = []
        for i, piece in enumerate(pieces):
            ids = piece.tokens.ids.copy()
            at = np.flatnonzero(ids == self._mask)
            found, sure = answers["token"][i, at], answers["probability"][i, at]
            check_finite(sure, row)
            for tokens, shares in zip(found.tolist(), sure.tolist(), strict=True):
                pairs = zip(tokens, shares, strict=True)
                fills.append(
                    [{"token": self._token(t), "probability": float(f"{p:.6g}")} for t, p in pairs]
                )
            ids[at] = found[:, 0]
            filled += ids.tolist()
        parts = row["text"].split(self.tokenizer.special_tokens_map["mask_token"])
        if len(parts) != len(fills) + 1:
            return {"text": self.tokenizer.text_of(filled), "fills": fills}
        text = parts[0]
        for fill, part in zip(fills, parts[1:], strict=True):
            text = self._with(text, fill[0]["token"]) + part
        return {"text": text, "fills": fills}

    def _with(self, text: str, token: str) -> str:
        """The text with a token behind it, which may go on with its last word."""
        model = self.tokenizer.backend_tokenizer.model
        prefix = getattr(model, "continuing_subword_prefix", None)
        if prefix and token.startswith(prefix):
            return text.rstrip() + token.removeprefix(prefix)
        return text + (token.lstrip() if not text or text[-1].isspace() else token)


def _words(outputs: Any) -> tf.Tensor:
    return outputs["words"] if isinstance(outputs, dict) else outputs
