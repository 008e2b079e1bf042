"""Trust in probabilities: temperature scaling, calibration error, thresholds.

After Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599). Everything is
fitted on validation, and says nothing of the test split.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.errors import UserError, shown
from trainer.lazy import sklearn_metrics
from trainer.storage import fields, sealed
from trainer.tasks.metrics import softmax
from trainer.tasks.task import Fitted

BINS = 15  # of confidence, each of the same width, as Guo et al. have them
# ln T is looked for in between: a model is never so far off unless its scores mean nothing.
_LOG_RANGE = (-4.0, 4.0)
_LOG_TOLERANCE = 1e-3  # nearer to an end of the range than this, the search was stopped by it
TEMPERATURES = math.exp(_LOG_RANGE[0]), math.exp(_LOG_RANGE[1])
UNFITTED = 1.0  # of no minimum: it changes nothing, and no search ends there to the last bit


class Reliability(NamedTuple):
    """Predictions in bins of confidence: how sure the model was, and how often it was right.

    All are [BINS]; confidence and accuracy are 0 in an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, in [0, 1]."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((self.counts * gaps).sum() / max(self.counts.sum(), 1))


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """The reliability diagram of predictions.

    Args:
      labels: int [N].
      probabilities: float [N, C].
    """
    confidence = probabilities.max(-1)
    right = probabilities.argmax(-1) == labels
    # A bin holds its upper edge, as in the paper.
    at = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(at, minlength=BINS)
    many = np.maximum(counts, 1)
    return Reliability(
        counts,
        np.bincount(at, confidence, BINS) / many,
        np.bincount(at, right, BINS) / many,
    )


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """The T > 0 for which softmax(logits / T) has the least cross-entropy.

    It changes no prediction. UNFITTED where a minimum does not exist: every prediction is right,
    any smaller T would be better still.

    Args:
      labels: int [N]. logits: float [N, C], all finite.
    """
    import scipy.optimize  # which takes half a second

    logits = np.asarray(logits, np.float64)
    if (logits.argmax(-1) == labels).all():
        return UNFITTED
    rows = np.arange(len(labels))

    def cross_entropy(log_temperature: float) -> float:
        scaled = logits * np.exp(-log_temperature)
        scaled -= scaled.max(-1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(-1)) - scaled[rows, labels]).mean())

    found = scipy.optimize.minimize_scalar(cross_entropy, bounds=_LOG_RANGE, method="bounded")
    return float(np.exp(found.x))


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The probability of class 1 from which on a text is called class 1.

    Attributes:
      value: the threshold; the others are what it gives on validation.
    """

    value: float
    precision: float
    recall: float
    f1: float


def thresholds(
    labels: np.ndarray, probabilities: np.ndarray, precision_target: float
) -> dict[str, Threshold]:
    """Thresholds for two classes.

    Args:
      labels: int [N], 0 or 1.
      probabilities: float [N], of class 1.
      precision_target: what "precision" must reach, with the largest recall that allows it.

    Returns:
      "f1", the one with the largest F1; "precision", left out where no threshold reaches the
      target. Nothing where validation has one class only.
    """
    if len(np.unique(labels)) < 2:
        return {}
    precision, recall, values = sklearn_metrics.precision_recall_curve(labels, probabilities)
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)

    def made(i: int) -> Threshold:
        return Threshold(float(values[i]), float(precision[i]), float(recall[i]), float(f1[i]))

    found = {"f1": made(int(f1.argmax()))}
    good = np.flatnonzero(precision >= precision_target)
    if len(good):
        found["precision"] = made(int(good[recall[good].argmax()]))
    return found


@dataclasses.dataclass(frozen=True)
class Calibration(Fitted):
    """Values fitted on the validation split with the best weights.

    Attributes:
      step: of the weights.
      temperature: logits are divided by it before the softmax.
      before, after: the expected calibration error on validation, without it and with it.
      precision_target: of the threshold "precision".
      thresholds: for two classes, see `thresholds`; of calibrated probabilities.
    """

    step: int
    temperature: float
    before: float
    after: float
    precision_target: float
    thresholds: dict[str, Threshold]

    @property
    def note(self) -> str:
        """Says why no temperature was fitted; empty if one was."""
        return temperature_note(self.temperature)

    @classmethod
    def fit(
        cls, step: int, labels: np.ndarray, logits: np.ndarray, precision_target: float
    ) -> "Calibration | None":
        """Fits everything on labels int [N] and logits float [N, C]; None: some are not finite."""
        if not np.isfinite(logits).all():
            return None
        temperature = fit_temperature(labels, logits)
        after = softmax(logits / temperature)
        return cls(
            step=step,
            temperature=temperature,
            before=reliability(labels, softmax(logits)).error,
            after=reliability(labels, after).error,
            precision_target=precision_target,
            thresholds=thresholds(labels, after[:, 1], precision_target)
            if after.shape[1] == 2
            else {},
        )

    def save(self, path: Path) -> None:
        """Writes it as sealed JSON, whole or not at all."""
        sealed.write(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path, classes: int) -> "Calibration | None":
        """The inverse of `save` for a run of so many classes; None where there is no such file.

        Raises:
          UserError: it is not what was written, or holds values that `fit` cannot give.
        """
        try:
            return cls._of(sealed.read(path), classes)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read {path}: {error}; restore it from a backup, or delete result.json and"
                " it, and give the command of the run again"
            ) from error

    @classmethod
    def _of(cls, values: Mapping[str, Any], classes: int) -> "Calibration":
        held = {}
        for name, each in fields.mapping(values, "thresholds").items():
            if name not in ("f1", "precision") or classes != 2:
                raise fields.Invalid(f"thresholds holds {shown(name)} for {classes} classes")
            of = fields.mapping({name: each}, name)
            shares = (fields.number(of, key.name, 0, 1) for key in dataclasses.fields(Threshold))
            held[name] = Threshold(*shares)
        return cls(
            step=fields.integer(values, "step"),
            temperature=fields.number(values, "temperature", *TEMPERATURES),
            before=fields.number(values, "before", 0, 1),
            after=fields.number(values, "after", 0, 1),
            precision_target=fields.number(values, "precision_target", 0, 1),
            thresholds=held,
        )


def temperature_note(temperature: float | None) -> str:
    """Says why a temperature was not fitted to validation; empty if it was.

    Args:
      temperature: None where `Calibration.fit` gave nothing.
    """
    if temperature is None:
        return "not calibrated, as the model's outputs on validation are not all finite"
    if temperature == UNFITTED:
        return (
            "no temperature could be fitted, as all of validation is right: probabilities are the"
            " model's own"
        )
    if abs(math.log(temperature)) < _LOG_RANGE[1] - _LOG_TOLERANCE:
        return ""
    return (
        f"no temperature fits validation: the search ended at its bound, {temperature:.4g}, so the"
        " probabilities mean little: is the model trained?"
    )
