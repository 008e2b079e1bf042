"""Word dropout: a share of the input tokens is replaced by the mask token while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.batch import IDS
from trainer.errors import UserError
from trainer.lazy import tf

if TYPE_CHECKING:
    from trainer.data.subwords import Subwords
    from trainer.tasks.task import Batch


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

    @classmethod
    def of(cls, share: float, tokenizer: Subwords | None) -> Masking | None:
        """The masking of a share of the tokens; None for a share of 0, or without a tokenizer.

        Raises:
          UserError: the tokenizer has no mask token.
        """
        if not share or tokenizer is None:
            return None
        if tokenizer.mask_token_id is None:
            raise UserError(
                "config.task.mask_share needs a tokenizer with a mask token: set it to 0, or"
                " choose another tokenizer"
            )
        return cls(share, tokenizer.mask_token_id, tuple(sorted(tokenizer.all_special_ids)))

    def __call__(self, batch: Batch) -> Batch:
        """The batch with other input_ids [B, T]."""
        from trainer.models.random import keep_mask

        ids = batch[IDS]
        special = tf.reduce_any(ids[..., None] == tf.constant(self.special_ids, ids.dtype), -1)
        kept = keep_mask(tf.shape(ids), self.share) | special
        return {**batch, IDS: tf.where(kept, ids, self.mask_id)}
