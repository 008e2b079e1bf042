"""Metrics of parts of a set: by length, by class, at a threshold."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.evaluation import statistics
from trainer.lazy import sklearn_metrics
from trainer.tasks.calibration import reliability
from trainer.tasks.shown import LARGE, Note

_PARTS = 5  # of a split, by length


def with_curves(counts: np.ndarray, first: int = 0) -> tuple[list[int], list[Note]]:
    """The ids of the classes whose curves are shown, the most rows first; notes on the others.

    Args:
      counts: int [C], the rows of each.
      first: the id of the first class that may have a curve.
    """
    held = np.flatnonzero(counts[first:]) + first
    shown = held[np.argsort(-counts[held], kind="stable")][:LARGE].tolist()
    said, none = [], len(counts) - first - len(held)
    if none:
        why = "it has" if none == 1 else "they have"
        said = [f"No curve for {none:,} of {len(counts):,} labels: {why} no row in this set."]
    if len(held) > len(shown):
        said += [
            f"Of the others the {len(shown)} with the most rows have one."
            if none
            else f"Of {len(held):,} labels the {len(shown)} with the most rows have curves."
        ]
    return shown, [Note("labels with curves", " ".join(said))] if said else []


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


METRICS = ("precision", "recall", "f1")  # of a class, or of a type of entity


def by_label(
    labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """METRICS of each class by its name, and "support"; what divides by zero counts as 0.

    Args:
      labels, predictions: int [N]; or [N, C], 1 or True where a row has the label.
      names: of the C classes.

    Returns:
      Floats; "support" is an int, how many rows have the class.
    """
    columns = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, labels=list(range(len(names))), zero_division=0
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    found = (dict(zip((*METRICS, "support"), row, strict=True)) for row in rows)
    return dict(zip(names, found, strict=True))


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
