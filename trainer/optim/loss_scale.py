"""The loss scale of mixed_float16 (Micikevicius et al., 2018)."""

import tensorflow as tf

from trainer import config as config_lib

LARGEST = 2.0**24  # above it float16 gradients of any use overflow: stop doubling
SMALLEST = 1.0


class LossScale:
    """Halves on an overflow, doubles after a number of finite steps; 1 and fixed if not dynamic.

    Args:
      settings: `config.optimizer`.
      dynamic: whether the precision is mixed_float16.
    """

    def __init__(self, settings: config_lib.Optimizer, dynamic: bool):
        self.dynamic = dynamic
        self.growth_steps = settings.loss_scale_growth_steps
        initial = settings.initial_loss_scale if dynamic else 1.0
        self.scale = scalar(initial, tf.float64, "loss_scale")
        self.finite_steps = scalar(0, tf.int64, "finite_steps")

    def variables(self) -> dict[str, tf.Variable]:
        """The variables that a checkpoint must hold, by name."""
        return {"scale": self.scale, "finite_steps": self.finite_steps}

    def can_shrink(self) -> tf.Tensor:
        """True, as a boolean scalar, if a smaller scale may cure an overflow."""
        return self.scale > SMALLEST if self.dynamic else tf.constant(False)

    def update(self, finite: tf.Tensor) -> None:
        """Takes note of a step whose gradients were finite, or not. Cross-replica context."""
        if not self.dynamic:
            return
        steps = tf.where(finite, self.finite_steps + 1, 0)
        grow = steps >= self.growth_steps
        grown = tf.minimum(self.scale * 2, LARGEST)
        kept = tf.where(grow, grown, self.scale)
        self.scale.assign(tf.where(finite, kept, tf.maximum(self.scale / 2, SMALLEST)))
        self.finite_steps.assign(tf.where(grow, tf.zeros_like(steps), steps))


def scalar(value, dtype: tf.DType, name: str) -> tf.Variable:
    """A counter or switch of the run, the same on all replicas."""
    return tf.Variable(
        value,
        dtype=dtype,
        trainable=False,
        name=name,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
