"""Losses against float64 NumPy, Keras and their limits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.tasks.classification import Classification
from trainer.tasks.losses import make_loss

CLASSES = 4
FOCAL = {"loss": "focal"}


def _batch(rows: int = 16, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, rows).astype(np.int32)
    return labels, random.normal(0, scale, (rows, CLASSES))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def own_loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(labels, logits.dtype) + logits[:, 0]


def mean_loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(own_loss(labels, logits))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_its_formula(smoothing):
    labels, logits = _batch()
    targets = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    expected = -(targets * _log_softmax(logits)).sum(axis=-1)
    loss = make_loss(Classification(label_smoothing=smoothing), CLASSES)
    np.testing.assert_allclose(loss.example_losses(labels, tf.constant(logits)), expected, 1e-13)
    narrow = loss.example_losses(labels, tf.constant(logits, tf.float32))
    assert narrow.dtype == tf.float32
    np.testing.assert_allclose(narrow, expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_keras(smoothing):
    labels, logits = _batch()
    logits = logits.astype(np.float32)
    theirs = keras.losses.categorical_crossentropy(
        np.eye(CLASSES, dtype=np.float32)[labels], logits, from_logits=True,
        label_smoothing=smoothing,
    )  # fmt: skip
    ours = make_loss(Classification(label_smoothing=smoothing), CLASSES).example_losses(
        labels, logits
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_is_its_formula(gamma):
    labels, logits = _batch()
    log_p = _log_softmax(logits)[np.arange(len(labels)), labels]
    expected = -((1 - np.exp(log_p)) ** gamma) * log_p
    loss = make_loss(Classification(**FOCAL, focal_gamma=gamma), CLASSES)
    ours = loss.example_losses(labels, tf.constant(logits))
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-15)


def test_focal_is_that_of_keras():
    labels, logits = _batch(scale=1.0)
    theirs = keras.losses.categorical_focal_crossentropy(
        np.eye(CLASSES)[labels], logits, alpha=1.0, gamma=2.0, from_logits=True
    )
    ours = make_loss(Classification(**FOCAL), CLASSES).example_losses(labels, tf.constant(logits))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, FOCAL,
                                      {**FOCAL, "focal_gamma": 0.5}])  # fmt: skip
def test_large_logits_give_finite_losses_and_gradients(settings):
    logits = tf.constant([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = make_loss(Classification(**settings), 2).example_losses(
            tf.zeros(4, tf.int32), logits
        )
    assert np.isfinite(losses).all()
    assert np.isfinite(tape.gradient(losses, logits)).all()
    assert losses[1] >= 1.8e4  # wrong by far costs as much


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_narrow_logits_are_widened_first(dtype):
    labels, logits = _batch()
    narrow = tf.cast(logits, dtype)
    loss = make_loss(Classification(), CLASSES)
    expected = loss.example_losses(labels, tf.cast(narrow, tf.float32))
    np.testing.assert_array_equal(loss.example_losses(labels, narrow), expected)


def test_own_loss_by_import_path():
    loss = make_loss(Classification(loss=f"{__name__}:own_loss"), 2, (1.0, 3.0))
    logits = tf.constant([[0.5, 0.0], [2.0, 0.0]], tf.float16)
    losses = loss.example_losses(tf.constant([0, 1]), logits)
    assert losses.dtype == tf.float32
    np.testing.assert_array_equal(losses, [0.5, 3.0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "hinge"}, "'hinge' is not one of: cross_entropy, focal"),
        ({**FOCAL, "label_smoothing": 0.1}, "label_smoothing=0.1 has no effect"),
        ({"focal_gamma": 1.0}, "focal_gamma=1.0 has no effect"),
        ({"class_weights": (1.0,)}, "has 1 values, the data 2 classes"),
        ({"class_weights": (1.0, -1.0)}, "not negative"),
        ({"class_weights": (0.0, 0.0)}, "not all 0"),
        ({"loss": "no_such_module:loss"}, "no module 'no_such_module'"),
    ],
)
def test_refuses_what_has_no_meaning(settings, said):
    with pytest.raises(UserError, match=said) as caught:
        make_loss(Classification(**settings), 2, settings.get("class_weights", ()))
    assert "\n" not in str(caught.value)


def test_refuses_an_own_loss_that_is_a_mean():
    with pytest.raises(UserError, match="one loss per example"):
        make_loss(Classification(loss=f"{__name__}:mean_loss"), 2)
