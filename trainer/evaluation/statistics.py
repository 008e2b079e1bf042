"""How sure a difference is: intervals, tests, and metrics of parts of a split."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
import sklearn.metrics

from trainer.evaluation.calibration import reliability

CONFIDENCE = 0.95
RESAMPLES = 20_000
_SEED = 0
_PARTS = 5  # of a split, by length


class Interval(NamedTuple):
    """A confidence interval of CONFIDENCE."""

    low: float
    high: float


def proportion(successes: int, count: int) -> Interval:
    """Of a share, after Wilson 1927."""
    found = scipy.stats.binomtest(successes, count).proportion_ci(CONFIDENCE, "wilson")
    return Interval(float(found.low), float(found.high))


class Comparison(NamedTuple):
    """Two runs scored on the same examples.

    Attributes:
      only_first, only_second: examples that one of them alone got right.
      difference: of accuracy, the second's less the first's. interval: of it, by bootstrap.
      p: McNemar's exact test of no difference; of several pairs, adjusted by `holm`.
    """

    only_first: int
    only_second: int
    difference: float
    interval: Interval
    p: float

    @property
    def sure(self) -> bool:
        """True if the difference is told from noise."""
        return self.p < 1 - CONFIDENCE


def compare(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compares accuracies on the same examples.

    The interval is that of the paired bootstrap (Efron & Tibshirani 1993): examples are drawn with
    replacement, both runs' answers together. As only three kinds of examples count (one alone
    right, the other alone right, the rest), the counts of a resample are drawn at once, from their
    multinomial distribution. The test is McNemar's of 1947, exact.

    Args:
      first, second: bool [N], whether each example was predicted right.
    """
    count = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    shares = np.array([only_first, only_second, count - discordant]) / count
    drawn = np.random.default_rng(_SEED).multinomial(count, shares, RESAMPLES)
    differences = (drawn[:, 1] - drawn[:, 0]) / count
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    p = scipy.stats.binomtest(only_first, discordant, 0.5).pvalue if discordant else 1.0
    interval = Interval(float(low), float(high))
    return Comparison(
        only_first, only_second, (only_second - only_first) / count, interval, float(p)
    )


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for how many there are (Holm 1979)."""
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(np.argsort(values, kind="stable")):
        largest = max(largest, min(1.0, values[i] * (len(values) - rank)))
        adjusted[i] = largest
    return adjusted


class Slice(NamedTuple):
    """The metrics of a part of a split."""

    name: str
    examples: int
    accuracy: float
    interval: Interval
    calibration_error: float


def by_length(lengths: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> list[Slice]:
    """About equal parts of a split, from the shortest texts to the longest.

    Args:
      lengths, labels: int [N]. probabilities: float [N, C].
    """
    edges = np.unique(np.quantile(lengths, np.arange(1, _PARTS) / _PARTS).astype(int))
    part_of = np.searchsorted(edges, lengths, "left")
    found = []
    for part in np.unique(part_of):
        held = part_of == part
        right = probabilities[held].argmax(-1) == labels[held]
        count = int(held.sum())
        low, high = int(lengths[held].min()), int(lengths[held].max())
        found.append(
            Slice(
                f"{low:,}" if low == high else f"{low:,} to {high:,}",
                count,
                float(right.mean()),
                proportion(int(right.sum()), count),
                reliability(labels[held], probabilities[held]).error,
            )
        )
    return found


class OfLabel(NamedTuple):
    """The metrics of one class."""

    name: str
    examples: int
    precision: float
    recall: float
    f1: float


def by_label(labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]) -> list[OfLabel]:
    """Precision, recall and F1 of each class. labels, predictions: int [N]."""
    classes = range(len(names))
    columns = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=list(classes), zero_division=0
    )
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return [OfLabel(name, int(count), p, r, f1) for name, p, r, f1, count in rows]


class AtThreshold(NamedTuple):
    """The test metrics that a threshold, fitted on validation, gives."""

    name: str
    value: float
    precision: float
    recall: float
    f1: float


def at_threshold(
    name: str, value: float, labels: np.ndarray, probabilities: np.ndarray
) -> AtThreshold:
    """labels: int [N], 0 or 1. probabilities: float [N], of class 1."""
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        labels, probabilities >= value, average="binary", zero_division=0
    )
    return AtThreshold(name, value, float(precision), float(recall), float(f1))
