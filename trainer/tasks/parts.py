"""Metrics of parts of a set: by length, by class, at a threshold."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation import statistics
from trainer.lazy import sklearn_metrics
from trainer.tasks.calibration import reliability

_PARTS = 5  # of a split, by length


class Slice(NamedTuple):
    """The metrics of a part of a split."""

    name: str
    examples: int
    accuracy: float
    interval: statistics.Interval
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
                statistics.proportion(int(right.sum()), count),
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
    columns = sklearn_metrics.precision_recall_fscore_support(
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
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        labels, probabilities >= value, average="binary", zero_division=0
    )
    return AtThreshold(name, value, float(precision), float(recall), float(f1))
