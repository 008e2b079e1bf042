"""Metrics of parts of a set, worked out by hand."""

import numpy as np
import pytest

from trainer.tasks.parts import at_threshold, by_label, by_length


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
    neg, pos, never = by_label(labels, predictions, ["neg", "pos", "never"])
    assert (neg.examples, neg.precision, neg.recall) == (2, 0.5, 0.5)
    assert (pos.examples, pos.f1) == (3, pytest.approx(2 / 3))
    assert (never.examples, never.precision, never.recall, never.f1) == (0, 0, 0, 0)
    found = at_threshold("f1", 0.5, labels, np.array([0.1, 0.6, 0.5, 0.9, 0.2]))
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
