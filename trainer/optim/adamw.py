"""AdamW with decoupled weight decay (Loshchilov & Hutter, 2019), and averaged weights.

Keras 3's optimizers clip before the all-reduce and count steps for all parameters at once. Here
gradients come in already reduced and checked, and each parameter counts its own updates, so that
one thawed late starts with a fresh bias correction.
"""

from collections.abc import Sequence

import tensorflow as tf

from trainer import config as config_lib


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
        rates: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """Updates the named parameters. Call it in the cross-replica context.

        Args:
          strategy: the strategy that holds the variables.
          names: which parameters.
          gradients: one for each name, the same on every replica.
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
                args=(gradient, rate, decay, *slots),
                group=False,
            )
            squares.append(change[0])  # one a device, all the same
        return tf.add_n(squares)

    def _update(self, parameter, gradient, rate, decay, first, second, updates, average=None):
        """One parameter on one device; returns the sum of squares of its change."""
        settings, dtype = self.settings, parameter.dtype
        count = tf.cast(updates.assign_add(1), tf.float64)
        beta1, beta2 = tf.constant(settings.beta1, dtype), tf.constant(settings.beta2, dtype)
        m = first.assign(beta1 * first + (1 - beta1) * gradient)
        v = second.assign(beta2 * second + (1 - beta2) * tf.square(gradient))
        # The two corrections are scalars: in float64, whatever the parameter's type.
        size = tf.cast(rate / (1 - tf.pow(tf.constant(settings.beta1, tf.float64), count)), dtype)
        root = tf.cast(tf.sqrt(1 - tf.pow(tf.constant(settings.beta2, tf.float64), count)), dtype)
        change = -size * m / (tf.sqrt(v) / root + tf.constant(settings.epsilon, dtype))
        if decay:
            change -= tf.cast(rate * decay, dtype) * parameter
        value = parameter.assign_add(change)
        if average is not None:
            # Early on the average follows closely, as TensorFlow's ExponentialMovingAverage does.
            kept = tf.cast(tf.minimum((1 + count) / (10 + count), settings.ema), dtype)
            average.assign(kept * average + (1 - kept) * value)
        return tf.cast(tf.reduce_sum(tf.square(change)), tf.float64)
