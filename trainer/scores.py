"""What a finished run said of each example, kept for reports: DIR/scores/test.npz and so on."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from trainer.disk import replace_bytes
from trainer.errors import UserError
from trainer.monitor.tables import WrongPrediction
from trainer.objectives.metrics import softmax


@dataclasses.dataclass(frozen=True)
class Kept:
    """A split scored with the best weights, a row an example, in the order of the data.

    Attributes:
      ids: int64 [N], the examples' rows in their source. labels: int32 [N].
      logits: float [N, C]. losses: float [N]. lengths: int32 [N], tokens that the model was given.
      metrics: by name.
      wrong: the mistakes that the model was surest of, with their texts.
    """

    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    losses: np.ndarray
    lengths: np.ndarray
    metrics: dict[str, Any]
    wrong: list[WrongPrediction]

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """float64 [N, C]."""
        return softmax(self.logits / temperature)

    @property
    def predictions(self) -> np.ndarray:
        """int [N], the class with the largest logit."""
        return self.logits.argmax(-1)

    def save(self, path: Path) -> None:
        """Writes one .npz file, whole or not at all."""
        path.parent.mkdir(exist_ok=True)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        notes = {"metrics": self.metrics, "wrong": [row._asdict() for row in self.wrong]}
        written = io.BytesIO()
        np.savez_compressed(written, notes=json.dumps(notes), **arrays)
        replace_bytes(path, written.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Kept":
        """The inverse of `save`.

        Raises:
          UserError: there is no such file, or it cannot be read.
        """
        try:
            with path.open("rb") as file, np.load(file) as held:
                notes = json.loads(str(held["notes"]))
                wrong = [WrongPrediction(**row) for row in notes["wrong"]]
                arrays = {name: held[name] for name in _ARRAYS}
                return cls(**arrays, metrics=notes["metrics"], wrong=wrong)
        except FileNotFoundError as error:
            raise UserError(
                f"{path} is missing: the run has not ended; let it end first"
            ) from error
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"cannot read {path}: {error}") from error


_ARRAYS = ("ids", "labels", "logits", "losses", "lengths")
