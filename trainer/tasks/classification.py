"""Classification: one label a text or pair of texts."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainer.models.random import keep_mask
from trainer.objectives.losses import Loss
from trainer.tasks.task import Batch, Task


@dataclass(frozen=True)
class Masking:
    """Replaces a share of the input tokens while training (word dropout).

    Attributes:
      share: of the real tokens, special ones left out.
      mask_id: what they are replaced by.
      special_ids: tokens that are never replaced.
    """

    share: float
    mask_id: int
    special_ids: tuple[int, ...]

    def __call__(self, batch: Batch) -> Batch:
        """The batch with other input_ids [B, T]."""
        ids = batch["input_ids"]
        special = tf.reduce_any(ids[..., None] == tf.constant(self.special_ids, ids.dtype), -1)
        kept = keep_mask(tf.shape(ids), self.share) | special
        return {**batch, "input_ids": tf.where(kept, ids, self.mask_id)}


class Classification(Task):
    """Learns the label of each row.

    Args:
      loss: of an example, and its class weight.
      masking: what happens to the input tokens, or None.
    """

    def __init__(self, loss: Loss, masking: Masking | None = None):
        self._loss, self._masking = loss, masking

    def prepare(self, batch: Batch) -> Batch:
        return self._masking(batch) if self._masking else batch

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        return {"loss": self._loss.example_weights(batch["label"], batch["weight"])}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {"loss": self._loss.example_losses(batch["label"], outputs)}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {"logits": outputs}
