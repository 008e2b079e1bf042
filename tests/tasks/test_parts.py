"""Metrics of parts of a set, worked out by hand."""

import numpy as np
import pytest

from trainer.tasks.parts import at_threshold, by_label, by_length, with_curves


def test_parts_by_length_hold_every_example_once():
    random = np.random.default_rng(0)
    lengths = np.minimum(random.integers(1, 60, 500), 50)
    labels, probabilities = random.integers(0, 2, 500), random.dirichlet([1, 1], 500)
    parts = by_length(lengths, labels, probabilities)
    assert sum(part.examples for part in parts) == 500
    right = sum(part.accuracy * part.examples for part in parts)
    assert right == pytest.approx((probabilities.argmax(1) == labels).sum())
    assert len(parts) >= 4
    assert all(part.interval.low < part.accuracy < part.interval.high for part in parts)
    (one,) = by_length(np.full(500, 7), labels, probabilities)
    assert (one.name, one.examples) == ("7", 500)


def test_by_label_and_by_threshold():
    labels, predictions = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    found = by_label(labels, predictions, ["neg", "pos", "never"])
    third = pytest.approx(2 / 3)
    assert found == {
        "neg": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        "pos": {"precision": third, "recall": third, "f1": third, "support": 3},
        "never": {"precision": 0, "recall": 0, "f1": 0, "support": 0},
    }
    lists = [np.eye(3, dtype=int)[each] for each in (labels, predictions)]
    assert by_label(*lists, ["neg", "pos", "never"]) == found
    found = at_threshold("f1", 0.5, labels, np.array([0.1, 0.6, 0.5, 0.9, 0.2]))
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_classes_with_rows_have_curves_those_with_the_most_first():
    assert with_curves(np.array([1, 3, 2])) == ([1, 2, 0], [])
    drawn, (note,) = with_curves(np.array([1, 0, 2]))
    assert drawn == [2, 0]
    assert note.text == "No curve for 1 of 3 labels: it has no row in this set."
    drawn, (note,) = with_curves(np.arange(1, 41))
    assert drawn == [*range(39, 9, -1)]
    assert note.text == "Of 40 labels the 30 with the most rows have curves."
    assert with_curves(np.array([3, 2]), first=1) == ([1], [])
    drawn, (note,) = with_curves(np.array([3, 0]), first=1)
    assert (drawn, note.text) == ([], "No curve for 1 of 2 labels: it has no row in this set.")
