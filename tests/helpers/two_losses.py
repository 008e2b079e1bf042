"""A task of one's own with two losses, each a mean over weights of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.lazy import tf
from trainer.tasks.regression import Regression


@dataclass
class TwoLosses(Regression):
    """A regression that also learns the sign, of which rows far from the middle count more."""

    middle: float = 2.5

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Of "loss" as in a regression; of "side" the distance from the middle."""
        (weight,) = super().weights(batch).values()
        return {"loss": weight, "side": weight * tf.abs(batch["score"] - self.middle)}

    def losses(self, batch: dict[str, Any], outputs: Any) -> dict[str, Any]:
        """The squared error, and the cross-entropy of the side of the middle."""
        (squared,) = super().losses(batch, outputs).values()
        above = tf.cast(batch["score"] > self.middle, squared.dtype)
        logits = tf.cast(outputs[:, 0], squared.dtype) - self.middle
        side = tf.nn.sigmoid_cross_entropy_with_logits(above, logits)
        return {"loss": squared, "side": side}
