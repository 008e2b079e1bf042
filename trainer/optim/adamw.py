"""AdamW with decoupled weight decay (Loshchilov & Hutter, 2019), and averaged weights.

Keras 3's optimizers clip before the all-reduce and count steps for all parameters at once. Here
gradients come in already reduced and checked, and each parameter counts its own updates, so that
one thawed late starts with a fresh bias correction.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from trainer import config as config_lib
from trainer.models.fusion import fuse_constant, share


class AdamW:
    """Moments, update counts and averages of every parameter, whether it trains now or not.

    All are created at once under the strategy's scope, so that a checkpoint fits every phase.

    Args:
      settings: `config.optimizer`.
      parameters: the model's variables by name, in a fixed order.
    """

    def __init__(self, settings: config_lib.Optimizer, parameters: dict[str, tf.Variable]):
        self.settings = settings
        self.parameters = parameters

        def slots(what):
            return {
                name: tf.Variable(tf.zeros_like(value), trainable=False, name=f"{what}/{name}")
                for name, value in parameters.items()
            }

        self.first_moments = slots("first_moment")
        self.second_moments = slots("second_moment")
        self.averages = (
            {
                name: tf.Variable(value, trainable=False, name=f"average/{name}")
                for name, value in parameters.items()
            }
            if settings.ema
            else {}
        )
        self.updates = {  # how many were applied to each parameter
            name: tf.Variable(0, trainable=False, dtype=tf.int64, name=f"updates/{name}")
            for name in parameters
        }

    def variables(self) -> dict[str, tf.Variable]:
        """Everything a checkpoint must hold besides the parameters, by name."""
        groups = {
            "first_moment": self.first_moments,
            "second_moment": self.second_moments,
            "average": self.averages,
            "updates": self.updates,
        }
        return {f"{k}/{name}": v for k, group in groups.items() for name, v in group.items()}

    def apply(
        self,
        strategy: tf.distribute.Strategy,
        names: Sequence[str],
        gradients: Sequence[tf.Tensor],
        factor: tf.Tensor,
        rates: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """Updates the named parameters. Call it in the cross-replica context.

        Args:
          strategy: the strategy that holds the variables.
          names: which parameters.
          gradients: one for each name, the same on every replica.
          factor: float64 scalar that each of them is multiplied by.
          rates: one for each name, float64 scalars.

        Returns:
          The sum of squares of all changes, float64 scalar.
        """
        squares = []
        for name, gradient, rate in zip(names, gradients, rates, strict=True):
            decays = self.parameters[name].shape.rank > 1  # biases and norms are vectors
            decay = self.settings.weight_decay if decays else 0.0
            slots = [self.first_moments[name], self.second_moments[name], self.updates[name]]
            slots += [self.averages[name]] if self.averages else []
            change = strategy.extended.update(
                self.parameters[name],
                self._update,
                args=(gradient, factor, rate, decay, *slots),
                group=False,
            )
            squares.append(change[0])  # one a device, all the same
        return tf.add_n(squares)

    def _update(
        self, parameter, gradient, factor, rate, decay, first, second, updates, average=None
    ):
        """One parameter on one device; returns the sum of squares of its change."""
        settings, dtype = self.settings, parameter.dtype
        betas: dict[str, Any] = {"beta1": settings.beta1, "beta2": settings.beta2}
        count = tf.identity(updates.assign_add(1))
        scalars = share(_scalars, count, factor, rate, decay=decay, dtype=dtype.name, **betas)
        tensors = (parameter.read_value(), gradient, first.read_value(), second.read_value())
        change, m, v = fuse_constant(_adamw, *tensors, *scalars, epsilon=settings.epsilon, **betas)
        first.assign(m)
        second.assign(v)
        value = parameter.assign_add(change)
        if average is not None:
            # Early on the average follows closely, as TensorFlow's ExponentialMovingAverage does.
            count = tf.cast(count, tf.float64)
            kept = tf.cast(tf.minimum((1 + count) / (10 + count), settings.ema), dtype)
            average.assign(kept * average + (1 - kept) * value)
        return share(_sum_of_squares, change)


def _scalars(count, factor, rate, *, beta1, beta2, decay, dtype):
    """The scalars that `_adamw` takes; the two corrections in float64, whatever the type."""
    count = tf.cast(count, tf.float64)
    size = rate / (1 - tf.pow(tf.constant(beta1, tf.float64), count))
    root = tf.sqrt(1 - tf.pow(tf.constant(beta2, tf.float64), count))
    return [tf.cast(scalar, dtype) for scalar in (factor, size, root, rate * decay)]


def _sum_of_squares(values):
    return 2 * tf.cast(tf.nn.l2_loss(values), tf.float64)


def _adamw(parameter, gradient, m, v, factor, size, root, decay, *, beta1, beta2, epsilon):
    """The change of the parameter, and new values of its moments."""
    beta1, beta2 = tf.constant(beta1, parameter.dtype), tf.constant(beta2, parameter.dtype)
    gradient = gradient * factor
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * tf.square(gradient)
    epsilon = tf.constant(epsilon, parameter.dtype)
    change = -size * m / (tf.sqrt(v) / root + epsilon) - decay * parameter
    return change, m, v
