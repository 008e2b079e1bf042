"""The learning rate as a function of the step within a phase."""

import math

import tensorflow as tf


def learning_rate(
    step: tf.Tensor, schedule: str, peak: float, warmup_steps: int, total_steps: int
) -> tf.Tensor:
    """The rate at `step`, 0 being a phase's first.

    Warm-up rises linearly and reaches `peak` at step `warmup_steps` - 1 (Goyal et al., 2017). Then
    "constant" stays; "linear" and "cosine" (Loshchilov & Hutter, 2017) fall towards 0, which the
    step after the last would have; "inverse_sqrt" falls as 1/sqrt(step) (Vaswani et al., 2017).

    Args:
      step: int64 scalar.
      schedule: one of `trainer.config.SCHEDULES`.
      peak: the highest rate.
      warmup_steps: length of the warm-up, below `total_steps`.
      total_steps: length of the phase.

    Returns:
      float64 scalar.
    """
    at = tf.cast(step, tf.float64)
    warmup = tf.constant(float(max(warmup_steps, 1)), tf.float64)
    done = (at - warmup_steps) / max(total_steps - warmup_steps, 1)
    factor = {
        "constant": lambda: tf.ones([], tf.float64),
        "linear": lambda: 1 - done,
        "cosine": lambda: 0.5 * (1 + tf.cos(math.pi * done)),
        "inverse_sqrt": lambda: tf.sqrt(warmup / tf.maximum(at + 1, warmup)),
    }[schedule]()
    rising = (at + 1) / warmup
    return peak * tf.where(at < warmup_steps, rising, tf.clip_by_value(factor, 0, 1))
