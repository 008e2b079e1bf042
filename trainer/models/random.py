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
_COUNTS_PER_ROW = 2**24  # more than a row of known place may take
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
      row_start: int64 scalar, the place of the first row at hand in the global batch; or [rows],
        the place of each, where they do not follow one another: their masks are then the same in
        any company, and their first values the same in any length.
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
    key = tf.constant([_mix(scope.seed, scope.draws)], tf.uint64)
    scope.draws += 1
    shape = tf.cast(shape, tf.int64)
    values = tf.reduce_prod(shape[1:])
    counts = (values + _VALUES_PER_COUNT - 1) // _VALUES_PER_COUNT  # per row
    places, step = tf.cast(scope.row_start, tf.int64), tf.cast(scope.step, tf.int64)

    def words(place: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=count[None] * 4,
            key=key,
            counter=tf.bitcast(tf.stack([place, step]), tf.uint64),
            alg=_PHILOX,
            dtype=tf.uint32,
        )

    if places.shape.rank:
        drawn = tf.map_fn(
            lambda place: words(place * _COUNTS_PER_ROW, counts),
            places,
            fn_output_signature=tf.uint32,
        )
    else:
        drawn = words(places * counts, shape[0] * counts)
    drawn = tf.reshape(drawn, [shape[0], counts * 4])
    rows = tf.reshape(tf.bitcast(drawn, tf.uint8), [shape[0], counts * _VALUES_PER_COUNT])
    return tf.reshape(rows[:, :values], shape)


def random_uniform(shape: tf.Tensor) -> tf.Tensor:
    """Uniform float32 of `shape` [rows, ...] from 0 on and below 1, for the rows of the scope."""
    drawn = random_bytes(tf.concat([shape, [4]], 0))
    # 24 bits, as many as float32 holds exactly below 1.
    return tf.cast(tf.bitcast(drawn, tf.uint32) // 2**8, tf.float32) * 2**-24


def keep_mask(shape: tf.Tensor, rate: float) -> tf.Tensor:
    """Booleans of `shape`, False for a share of `drop_share(rate)` of them."""
    return keep(random_bytes(shape), drop_share(rate))


def drop_share(rate: float) -> float:
    """`rate` as 8 random bits can express it: rounded to the nearest of 1/256 to 255/256."""
    return min(max(round(rate * 256), 1), 255) / 256


# Of SplitMix64 (Steele et al., OOPSLA 2014).
_GOLDEN, _ODD = 0x9E3779B97F4A7C15, 0xD1342543DE82EF95
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mix(seed: int, draw: int) -> int:
    """A 64-bit key."""
    x = (seed * _GOLDEN + draw * _ODD + 1) & (2**64 - 1)
    x = ((x ^ (x >> 30)) * _FIRST) & (2**64 - 1)
    x = ((x ^ (x >> 27)) * _SECOND) & (2**64 - 1)
    return x ^ (x >> 31)


def draw_key(seed: int | tf.Tensor) -> tf.Tensor:
    """A key of Philox, uint64 [1], for `gumbel`: of no mask of a run with this seed.

    Args:
      seed: a whole number, or int64 scalar.
    """
    if not tf.is_tensor(seed):
        return tf.constant([_mix(seed, -1)], tf.uint64)
    x = tf.bitcast(seed, tf.uint64)[None] * _GOLDEN + ((1 - _ODD) % 2**64)
    for shift, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
        shifted = tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64))
        x = tf.bitwise.bitwise_xor(x, shifted) * factor
    return x


def gumbel(key: tf.Tensor, rows: tf.Tensor, positions: tf.Tensor, values: int) -> tf.Tensor:
    """Standard Gumbel noise, float32 [B, values].

    Each row of it depends on its own key, row and position only. The index of the largest logit
    plus noise is a draw from the softmax of the logits (Maddison et al., 2014).

    Args:
      key: of `draw_key`.
      rows: int64 [B], the number of each text among all texts.
      positions: int [B], below 2^31, of the token to draw in its text.
      values: numbers in a row.
    """
    counts = -(-values // 4)  # one count of Philox yields 4 words

    def words(place: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=[values],
            key=key,
            counter=tf.bitcast(place, tf.uint64),
            alg=_PHILOX,
            dtype=tf.uint32,
        )

    places = tf.stack([tf.cast(positions, tf.int64) * counts, rows], -1)
    # Row by row: a hash of all places at once takes as long on a CPU, as its operations are many.
    drawn = tf.map_fn(words, places, fn_output_signature=tf.TensorSpec([values], tf.uint32))
    # Exact where the noise is large; below 1, so that none is infinite.
    uniform = tf.minimum((tf.cast(drawn, tf.float32) + 0.5) * 2**-32, 1 - 2**-24)
    return -tf.math.log(-tf.math.log1p(-uniform))
