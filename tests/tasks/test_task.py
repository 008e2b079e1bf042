"""Sums of weighted losses: the means are right, and padding rows change nothing."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.tasks.task import weighted_sums

CLASSES = 4
NAMES = ("a", "b", "c", "d")
FOCAL = {"loss": "focal", "focal_gamma": 2.0}


def _batch():
    random = np.random.default_rng(0)
    return random.integers(0, CLASSES, 7), random.normal(size=(7, CLASSES)) * 3


def _sums(task, labels, logits, weights):
    """The sum of weighted losses and the sum of weights."""
    batch = {"label": tf.constant(labels), "weight": tf.constant(weights)}
    (sums,) = weighted_sums(task, batch, logits)
    return sums


def test_class_weights_make_the_mean_that_torch_makes():
    labels, logits = _batch()
    class_weights = (0.5, 1.0, 2.0, 4.0)
    task = tiny.classification(NAMES, class_weights=class_weights)
    total, weight = _sums(task, labels, tf.constant(logits), np.ones(len(labels)))
    of_row = np.array(class_weights)[labels]
    losses = -(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[range(7), labels]
    np.testing.assert_allclose(total / weight, (of_row * losses).sum() / of_row.sum(), rtol=1e-13)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, FOCAL])
@pytest.mark.parametrize("poison", [np.inf, -np.inf, np.nan])
def test_a_padding_row_adds_nothing_even_if_it_is_not_finite(settings, poison):
    labels, logits = _batch()
    weights = np.ones(len(labels))
    weights[3] = 0.0
    poisoned = logits.copy()
    poisoned[3, 1] = poison
    found = []
    for rows in (np.delete(logits, 3, axis=0), poisoned):
        keep = len(rows) == len(labels)
        y, w = (labels, weights) if keep else (np.delete(labels, 3), np.delete(weights, 3))
        x = tf.constant(rows)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total, weight = _sums(tiny.classification(NAMES, **settings), y, x, w)
        found.append((total.numpy(), weight.numpy(), tape.gradient(total, x).numpy()))
    np.testing.assert_allclose(found[1][:2], found[0][:2], rtol=1e-15)
    np.testing.assert_array_equal(found[1][2][3], np.zeros(CLASSES))
    np.testing.assert_array_equal(np.delete(found[1][2], 3, axis=0), found[0][2])


def test_a_counted_row_that_is_not_finite_shows():
    logits = tf.constant([[0.0, 1.0, 0.0, 0.0], [np.nan, 0.0, 0.0, 0.0]])
    total, weight = _sums(tiny.classification(NAMES), [0, 1], logits, np.ones(2))
    assert not np.isfinite(total)
    assert weight.numpy() == 2


def test_works_compiled():
    labels, logits = _batch()
    task = tiny.classification(NAMES, **FOCAL, class_weights=(1.0, 2.0, 3.0, 4.0))

    def sums(x):
        return _sums(task, labels, x, np.ones(len(labels)))

    compiled = tf.function(sums, jit_compile=True)(tf.constant(logits))
    for ours, theirs in zip(compiled, sums(tf.constant(logits)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
