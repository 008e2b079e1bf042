"""Random masks that depend on (seed, step, place in the global batch) and on nothing else.

Every mask is one draw of the counter-based generator Philox 4x32-10 (Salmon et al., SC 2011). The
key comes from the run's seed and the number of the draw within the forward pass; the 128-bit
counter holds the step and the row's place in the global batch. So the rows of a mask are the same
whether one device draws all of them or sixty-four draw a few each.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator

import tensorflow as tf

from trainer.models.fusion import keep

_PHILOX = 1  # tf.random.Algorithm.PHILOX
_VALUES_PER_COUNT = 16  # one count of Philox yields 4 x 32 bits: 16 values of 8 bits
_active = threading.local()  # each replica is traced in a thread of its own


@dataclasses.dataclass
class _Scope:
    seed: int
    step: tf.Tensor
    row_start: tf.Tensor
    draws: int = 0


@contextlib.contextmanager
def random_scope(seed: int, step: tf.Tensor, row_start: tf.Tensor) -> Iterator[None]:
    """Says where in the run the masks drawn inside belong.

    Args:
      seed: the run's seed.
      step: int64 scalar, the training step.
      row_start: int64 scalar, the place of the first row at hand in the global batch.
    """
    before = getattr(_active, "scope", None)
    _active.scope = _Scope(seed, step, row_start)
    try:
        yield
    finally:
        _active.scope = before


@contextlib.contextmanager
def repeating() -> Iterator[Callable[[tf.Tensor], contextlib.AbstractContextManager[None]]]:
    """Gives a scope in which the masks drawn inside this one are drawn once more.

    Its argument, an int64 scalar, is 0: what it is computed from must be there before they are.
    """
    scope: _Scope | None = getattr(_active, "scope", None)
    first = scope.draws if scope else 0

    @contextlib.contextmanager
    def again(zero: tf.Tensor) -> Iterator[None]:
        if not scope:
            yield
            return
        before = dataclasses.replace(scope)
        scope.draws, scope.step = first, scope.step + zero
        try:
            yield
        finally:
            scope.draws, scope.step = before.draws, before.step

    yield again


def random_bytes(shape: tf.Tensor) -> tf.Tensor:
    """Uniform uint8 of `shape` [rows, ...] for the rows that the active scope names.

    Raises:
      RuntimeError: outside `random_scope`.
    """
    scope: _Scope | None = getattr(_active, "scope", None)
    if scope is None:
        raise RuntimeError("random masks need trainer.models.random.random_scope(seed, step, row)")
    key = _mix(scope.seed, scope.draws)
    scope.draws += 1
    shape = tf.cast(shape, tf.int64)
    values = tf.reduce_prod(shape[1:])
    counts = (values + _VALUES_PER_COUNT - 1) // _VALUES_PER_COUNT  # per row
    counter = tf.stack([tf.cast(scope.row_start, tf.int64) * counts, tf.cast(scope.step, tf.int64)])
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.stack([shape[0], counts * 4]),
        key=tf.constant([key], tf.uint64),
        counter=tf.bitcast(counter, tf.uint64),
        alg=_PHILOX,
        dtype=tf.uint32,
    )
    rows = tf.reshape(tf.bitcast(words, tf.uint8), [shape[0], counts * _VALUES_PER_COUNT])
    return tf.reshape(rows[:, :values], shape)


def keep_mask(shape: tf.Tensor, rate: float) -> tf.Tensor:
    """Booleans of `shape`, False for a share of `drop_share(rate)` of them."""
    return keep(random_bytes(shape), drop_share(rate))


def drop_share(rate: float) -> float:
    """`rate` as 8 random bits can express it: rounded to the nearest of 1/256 to 255/256."""
    return min(max(round(rate * 256), 1), 255) / 256


def _mix(seed: int, draw: int) -> int:
    """A 64-bit key; the constants are those of SplitMix64 (Steele et al., OOPSLA 2014)."""
    x = (seed * 0x9E3779B97F4A7C15 + draw * 0xD1342543DE82EF95 + 1) & (2**64 - 1)
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return x ^ (x >> 31)
