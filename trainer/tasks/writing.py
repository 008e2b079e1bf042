"""Uses of a causal language model: it continues texts, or scores them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from trainer.batch import IDS, MASK
from trainer.data.columns import Row
from trainer.lazy import tf
from trainer.tasks.causal import Causal
from trainer.tasks.language import alternatives, following, rounded, token_losses, total
from trainer.tasks.task import Piece, check_finite

if TYPE_CHECKING:
    from trainer.data.encode import TextEncoder
    from trainer.tasks.task import Batch


class _Use(Causal):
    @classmethod
    def of(cls, task: Causal) -> Self:
        """This use of a task of a run: of texts each by itself, not of a stream."""
        fields = {spec.name: getattr(task, spec.name) for spec in dataclasses.fields(Causal)}
        made = cls(**{**fields, "blocks": False}).bound(task.facts, task.tokenizer)
        assert isinstance(made, cls)
        if task.blocks:  # in a stream a text begins behind the end of another
            made._begin = made._end
        return made


@dataclass
class Continuing(_Use):
    """Continues texts; the answer to a row is a `trainer.prediction.writer.Continuation`'s."""

    line_fields: ClassVar[tuple[str, ...]] = ("continuation", "log_probability", "tokens", "ended")

    def prompts(self, texts: Sequence[str], encoder: TextEncoder) -> list[list[int]]:
        """The ids that continuations of texts begin behind."""
        return [[self.begin_id, *content.tolist()] for content in encoder.contents([*texts])]

    @property
    def begin_id(self) -> int:
        """The token that a text begins with."""
        return self._begin

    @property
    def end_id(self) -> int:
        """The token at the end of a text."""
        return self._end

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, Any], rule: Any
    ) -> dict[str, Any]:
        """The new text, its log-probability, how many tokens it has, and what ended it."""
        return {
            "continuation": answers["text"],
            "log_probability": total(answers["log_probs"]),
            "tokens": len(answers["tokens"]),
            "ended": answers["ended"],
            **alternatives("continuation", answers["n_best"]),
        }


@dataclass
class Scoring(_Use):
    """Scores texts: how probable each is to the model, its end included."""

    line_fields: ClassVar[tuple[str, ...]] = ("nll", "perplexity", "tokens")

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """The sum of losses of each row, float64 [B], and the number of tokens."""
        losses = tf.cast(token_losses(outputs, following(batch[IDS])), tf.float64)
        counted = following(batch[MASK]) > 0
        return {
            "nll": tf.reduce_sum(tf.where(counted, losses, tf.zeros_like(losses)), 1),
            "tokens": tf.reduce_sum(tf.cast(counted, tf.int32), 1),
        }

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, np.ndarray], rule: Any
    ) -> dict[str, Any]:
        """The negative log-likelihood in nats, the perplexity of a token, and their number."""
        check_finite(answers["nll"], row)
        nll, tokens = float(answers["nll"].sum()), int(answers["tokens"].sum())
        perplexity = math.exp(min(nll / tokens, 700.0))
        return {"nll": rounded(nll), "perplexity": rounded(perplexity), "tokens": tokens}
