"""The loss of each example, and how much each example counts.

A step's loss is sum(weight × loss) / sum(weight) over the global batch, so nothing here takes a
mean: `Loss` gives the two factors, and whoever holds the whole batch divides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from trainer.errors import UserError
from trainer.imports import blamed_on, load
from trainer.lazy import tf

if TYPE_CHECKING:
    ExampleLosses = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
FOCAL_GAMMA = 2.0


class Settings(Protocol):
    """The settings of a loss of classes: see `trainer.tasks.classification.Classification`."""

    loss: str
    label_smoothing: float
    focal_gamma: float


class Loss:
    """The loss of each example of a batch, and its weight.

    Shapes: labels int32 [B]; logits [B, C] of any float type; weights float [B], 0 for a padding
    row; losses float32 [B], float64 where the logits are.
    """

    def __init__(self, function: ExampleLosses, class_weights: tuple[float, ...] = ()):
        self._function = function
        self._class_weights = class_weights

    def example_losses(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """The loss of each example [B], unweighted, in at least float32."""
        losses = self._function(labels, _wide(logits))
        if losses.shape.rank != 1:
            raise UserError(
                f"config.task.loss must return one loss per example, shape [B]:"
                f" it returned shape {losses.shape}"
            )
        return losses

    def example_weights(self, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """`weights` [B] times the class weight of each example's label, in the type of `weights`.

        A class weight multiplies the example's weight, not its loss alone: the mean is weighted,
        as torch.nn.CrossEntropyLoss does it.
        """
        if not self._class_weights:
            return weights
        return weights * tf.gather(tf.constant(self._class_weights, weights.dtype), labels)


def make_loss(settings: Settings, classes: int, class_weights: tuple[float, ...] = ()) -> Loss:
    """The loss that the settings name.

    Args:
      settings: of the task.
      classes: how many there are.
      class_weights: one a class; empty: all 1.

    Raises:
      UserError: an unknown loss, class weights that do not fit, or a setting without effect.
    """
    _check_class_weights(class_weights, classes)
    smoothing, gamma = settings.label_smoothing, settings.focal_gamma
    if settings.loss != "cross_entropy" and smoothing:
        raise UserError(
            f"config.task.label_smoothing={smoothing} has no effect on"
            f" config.task.loss={settings.loss!r}: leave it at 0"
        )
    if settings.loss != "focal" and gamma != FOCAL_GAMMA:
        raise UserError(
            f"config.task.focal_gamma={gamma} has no effect on"
            f" config.task.loss={settings.loss!r}: leave it out"
        )
    if settings.loss == "cross_entropy":
        return Loss(_cross_entropy(smoothing), class_weights)
    if settings.loss == "focal":
        return Loss(_focal(gamma), class_weights)
    if ":" not in settings.loss:
        raise UserError(
            f"config.task.loss={settings.loss!r} is not one of: cross_entropy, focal,"
            ' or an import path "package.module:function"'
        )
    loss = Loss(load(settings.loss, "config.task.loss"), class_weights)
    with blamed_on(settings.loss, "config.task.loss"):  # before hours are spent on it
        shapes = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, classes], tf.float32))
        probe = tf.function(loss.example_losses, shapes, autograph=False)  # as the step calls it
        probe(tf.zeros([2], tf.int32), tf.zeros([2, classes]))
    return loss


def _cross_entropy(smoothing: float) -> ExampleLosses:
    """Cross-entropy against (1 - smoothing) on the label plus smoothing / C on every class.

    Szegedy et al. 2016, section 7 (https://arxiv.org/abs/1512.00567).
    """

    def losses(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        log_probabilities = tf.nn.log_softmax(logits)
        own = _of_label(labels, log_probabilities)
        if not smoothing:
            return -own
        return -(1 - smoothing) * own - smoothing * tf.reduce_mean(log_probabilities, axis=-1)

    return losses


def _focal(gamma: float) -> ExampleLosses:
    """-(1 - p)^gamma log p, p being the probability of the label.

    Lin et al. 2017 (https://arxiv.org/abs/1708.02002); their alpha is our class weights.
    """

    def losses(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        log_probabilities = tf.nn.log_softmax(logits)
        # log(1 - p) from the other classes: 1 - p itself would round to 0 for a sure example, and
        # the derivative of its power would be infinite there for gamma < 1.
        is_label = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False)
        minus_infinity = tf.constant(-math.inf, logits.dtype)
        others = tf.where(is_label, minus_infinity, log_probabilities)
        log_rest = tf.reduce_logsumexp(others, axis=-1)
        return -tf.exp(gamma * log_rest) * _of_label(labels, log_probabilities)

    return losses


def _of_label(labels: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """values[i, labels[i]]: [B]. By mask and sum, whose gradient is deterministic everywhere."""
    is_label = tf.one_hot(labels, values.shape[-1], on_value=True, off_value=False)
    return tf.reduce_sum(tf.where(is_label, values, tf.zeros_like(values)), axis=-1)


def _wide(logits: tf.Tensor) -> tf.Tensor:
    """The logits in float32, or in float64 if that is what they are."""
    return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def _check_class_weights(weights: tuple[float, ...], classes: int) -> None:
    if not weights:
        return
    if len(weights) != classes:
        raise UserError(
            f"config.task.class_weights has {len(weights)} values, the data {classes} classes:"
            " give one a class"
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise UserError(
            f"config.task.class_weights={weights} must be finite, not negative, and not all 0"
        )
