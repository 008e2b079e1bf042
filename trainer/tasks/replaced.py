"""Replaced token detection: each token is judged as the text's own, or a generator's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.batch import IDS, INPUTS, MASK, POSITIONS, SAMPLE, SELECTED, WEIGHT
from trainer.errors import UserError
from trainer.lazy import tf
from trainer.tasks.masked import MaskedWords
from trainer.tasks.task import Gold, Scores

if TYPE_CHECKING:
    import keras

    from trainer.models.architecture import Architecture
    from trainer.tasks.task import Batch

REPLACED = "replaced"


@dataclass
class ReplacedTokens(MaskedWords):
    """Learns which tokens a small generator has replaced (Clark et al., 2020, arXiv:2003.10555).

    The generator learns masked words, as in `MaskedWords`, and writes tokens in their place. The
    encoder, the discriminator, learns from all tokens of a row which are not the original ones.
    Both losses are summed, the second times `weight`; the generator is not trained by it.

    A sample is where a random number falls among sums of probabilities: on other devices, which
    round otherwise, it may once in a long run be another token.

    "replaced_precision" and "replaced_recall" are of tokens taken for replaced ones; "accuracy" and
    "perplexity" are the generator's.
    """

    metric: ClassVar[str] = "loss"
    serves: ClassVar[bool] = False
    inputs: ClassVar[tuple[str, ...]] = (*INPUTS, POSITIONS, SELECTED, SAMPLE)

    generator_share: float = settings.number(0.25, 0.01, 1.0)  # of the encoder's width
    weight: float = settings.number(50.0, 0.0, 1e6)  # of the second loss

    def validate(self) -> None:
        super().validate()
        if self.next_sentence or not self.tied:
            raise UserError(
                "config.task of replaced tokens has no next_sentence, and tied token vectors: leave"
                " both out"
            )

    # The model

    def head(self, architecture: Architecture) -> keras.layers.Layer:
        from trainer.models.replaced import ReplacedTokenHead

        return ReplacedTokenHead(architecture, self.generator_share)

    @property
    def native_kind(self) -> str:
        return REPLACED if type(self).head is ReplacedTokens.head else ""

    # In the graph

    def prepare(self, batch: Batch, training: bool) -> Batch:
        from trainer.models.random import random_uniform

        made = super().prepare(batch, training)
        drawn_BK = random_uniform(tf.shape(made[POSITIONS]))
        return {**made, "original": batch[IDS], SAMPLE: drawn_BK}

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        weight_B1 = tf.cast(batch[WEIGHT], tf.float32)[:, None]
        return {**super().weights(batch), REPLACED: weight_B1 * tf.cast(batch[MASK], tf.float32)}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        logits_BT = outputs[REPLACED]
        wide = logits_BT if logits_BT.dtype == tf.float64 else tf.cast(logits_BT, tf.float32)
        target_BT = tf.cast(_replaced(batch, outputs), wide.dtype)
        of_tokens_BT = tf.nn.sigmoid_cross_entropy_with_logits(target_BT, wide)
        return {**super().losses(batch, outputs), REPLACED: self.weight * of_tokens_BT}

    def measures(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        there_BT = _replaced(batch, outputs) & (batch[MASK] > 0)
        found_BT = (outputs[REPLACED] > 0) & (batch[MASK] > 0)
        counts = {"replaced": there_BT, "taken": found_BT, "found": there_BT & found_BT}
        counted = {name: tf.cast(value, tf.float32) for name, value in counts.items()}
        return {**super().measures(batch, outputs), **counted}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        return [*super().metric_names(), "replaced_precision", "replaced_recall"]

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        sums = {n: float(np.sum(v, dtype=np.float64)) for n, v in scores.measures.items()}
        found = super().judge(gold, scores)
        for name, of in (("replaced_precision", "taken"), ("replaced_recall", "replaced")):
            found[name] = sums["found"] / sums[of] if sums[of] else math.nan
        return found

    # Predictions

    def rule(self, fitted: Any, threshold: str) -> Any:
        raise UserError(
            "the run has learned which tokens were replaced, and says nothing of a text: name it as"
            " config.model.initial_run of a run of another task"
        )


def _replaced(batch: Batch, outputs: Any) -> tf.Tensor:
    return outputs[IDS] != batch["original"]
