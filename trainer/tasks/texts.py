"""The common part of tasks that give one answer to a text or pair of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer import settings
from trainer.data.columns import TEXT
from trainer.errors import UserError
from trainer.tasks.masking import Masking
from trainer.tasks.task import Task

if TYPE_CHECKING:
    from trainer.tasks.task import Batch


@dataclass
class TextTask(Task):
    """A task of single texts or pairs, of whose words some may be masked in training."""

    text: str = settings.column(TEXT, "text")  # column of the text; empty: found in a file
    text_pair: str = settings.column(TEXT)  # a second text, for sentence pairs
    mask_share: float = settings.number(0.0, 0.0, 0.95)  # of tokens masked in training, in 1/256

    def validate(self) -> None:
        if 0 < self.mask_share < 1 / 512:
            raise UserError(
                f"config.task.mask_share={self.mask_share} is too small to act: shares are in 1/256"
            )

    def start(self) -> None:
        self._masking = Masking.of(self.mask_share, self.tokenizer)

    def native_config(self) -> dict[str, Any] | None:
        return self.named_outputs()

    def prepare(self, batch: Batch, training: bool) -> Batch:
        return self._masking(batch) if self._masking and training else batch
