"""A task that reads one column of text, as language models do: it learns how long a text is."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from trainer import settings
from trainer.batch import WEIGHT
from trainer.config import Data, Experiment, Model, Phase, Tokenizer
from trainer.data.columns import TEXT
from trainer.lazy import tf
from trainer.tasks.task import Array, Task


@dataclass
class OneText(Task):
    """Learns the number of characters of a text, in hundreds, by squared error."""

    text: str = settings.column(TEXT, "text")

    def arrays(self) -> dict[str, Array]:
        """One number a row."""
        return {"size": Array("float32")}

    def gold(self, row: Any, piece: Any) -> dict[str, Any]:
        """The number of characters."""
        return {"size": len(row["text"]) / 100}

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Each row counts once."""
        return {"loss": batch[WEIGHT]}

    def losses(self, batch: dict[str, Any], outputs: Any) -> dict[str, Any]:
        """The squared error."""
        return {"loss": tf.square(outputs[:, 0] - tf.cast(batch["size"], outputs.dtype))}

    def answers(self, batch: dict[str, Any], outputs: Any) -> dict[str, Any]:
        """The number itself."""
        return {"size": outputs[:, 0]}


def get_config() -> Experiment:
    """A run that has neither validation nor test; its corpus is still to be named."""
    return Experiment(
        data=Data(
            source="files",
            train="",
            test="",
            validation_share=0.0,
            max_length=12,
            buckets=2,
        ),
        tokenizer=Tokenizer(vocab_size=150),
        model=Model(width=16, heads=2, ffn_width=32),
        # Loaded as a config this module has another name, which no other program can import.
        task=importlib.import_module("tests.helpers.one_text").OneText(),
        phases=[Phase("one", steps=6, learning_rate=1e-2), Phase("two", steps=6)],
        global_batch_size=16,
        save_every_steps=4,
    )
