"""Masks by place in the global batch: the rows of one draw, however they are shared out."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.models.layers import Dropout
from trainer.models.random import drop_share, keep_mask, random_bytes, random_scope


def _draw(rows, shape=(24,), row_start=0, seed=3, step=5, draws=1):
    with random_scope(seed, tf.constant(step, tf.int64), tf.constant(row_start, tf.int64)):
        drawn = [random_bytes(tf.constant([rows, *shape])) for _ in range(draws)]
    return drawn[-1].numpy()


@pytest.mark.parametrize("shape", [(16,), (24,), (7,), (1,), (), (3, 5), (2, 4, 4)])
@pytest.mark.parametrize("sizes", [(6, 6), (1, 11), (5, 4, 3), (1,) * 12])
def test_parts_draw_the_rows_of_the_whole(shape, sizes):
    whole = _draw(12, shape)
    starts = np.cumsum((0, *sizes[:-1]))
    parts = [_draw(size, shape, start) for size, start in zip(sizes, starts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(np.unique(whole.reshape(12, -1), axis=0)) > 10  # the rows differ


@pytest.mark.parametrize("change", [{"seed": 4}, {"step": 6}, {"draws": 2}, {"row_start": 12}])
def test_seed_step_draw_and_place_each_change_the_numbers(change):
    same = _draw(12) == _draw(12, **change)
    assert same.mean() < 0.05  # 1/256 by chance
    np.testing.assert_array_equal(_draw(12, **change), _draw(12, **change))


def test_a_seed_of_one_run_is_not_a_draw_of_another():
    drawn = {_draw(4, seed=seed, draws=draws).tobytes() for seed in range(8) for draws in (1, 2, 3)}
    assert len(drawn) == 24


def test_all_bytes_are_as_likely():
    counts = np.bincount(_draw(1000, (256,)).ravel(), minlength=256)
    # Chi-squared with 255 degrees of freedom: below 330 but for one seed in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 330


def test_compiled_by_xla_the_numbers_are_the_same():
    @tf.function(jit_compile=True)
    def compiled(row_start):
        with random_scope(3, tf.constant(5, tf.int64), row_start):
            return random_bytes(tf.constant([5, 7])), random_bytes(tf.constant([5, 16]))

    first, second = compiled(tf.constant(4, tf.int64))
    np.testing.assert_array_equal(first, _draw(5, (7,), 4))
    np.testing.assert_array_equal(second, _draw(5, (16,), 4, draws=2))


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_the_share_dropped_is_near_the_rate(rate):
    with random_scope(0, tf.constant(0), tf.constant(0)):
        kept = keep_mask(tf.constant([500, 1000]), rate).numpy()
    assert abs(drop_share(rate) - rate) <= 1 / 256
    spread = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs((~kept).mean() - drop_share(rate)) < 5 * max(spread, 1e-5)


def test_scopes_nest_and_end():
    zero = tf.constant(0, tf.int64)
    with random_scope(1, zero, zero):
        first = random_bytes(tf.constant([2, 16])).numpy()
        with random_scope(1, zero, zero):
            np.testing.assert_array_equal(random_bytes(tf.constant([2, 16])), first)
        second = random_bytes(tf.constant([2, 16])).numpy()
    assert not np.array_equal(first, second)
    with pytest.raises(RuntimeError, match="random_scope"):
        random_bytes(tf.constant([2, 16]))


def test_an_error_inside_ends_the_scope():
    def fail():
        with random_scope(1, tf.constant(0), tf.constant(0)):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    with pytest.raises(RuntimeError, match="random_scope"):
        random_bytes(tf.constant([2, 16]))


# Dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.9])
def test_dropout_keeps_the_expectation(rate):
    ones = tf.ones([400, 1000], tf.float64)
    with random_scope(0, tf.constant(0), tf.constant(0)):
        dropped = Dropout(rate, dtype="float64")(ones, training=True).numpy()
    share = drop_share(rate)
    values = np.unique(dropped)
    np.testing.assert_allclose(values, [0, 1 / (1 - share)], rtol=1e-12)
    # Exact: a number is 0 with probability `share`, and scaled by 1 / (1 - share) otherwise.
    assert abs(dropped.mean() - 1) < 5 * np.sqrt(share / (1 - share) / dropped.size)


def test_dropout_at_rate_0_or_outside_training_needs_no_scope():
    x = tf.random.stateless_normal([4, 8], [1, 2])
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)
    np.testing.assert_array_equal(Dropout(0.5)(x), x)
    with pytest.raises(RuntimeError, match="random_scope"):
        Dropout(0.5)(x, training=True)


def test_dropout_passes_the_gradient_where_it_passed_the_value():
    x = tf.ones([8, 16])
    with tf.GradientTape() as tape, random_scope(0, tf.constant(0), tf.constant(0)):
        tape.watch(x)
        dropped = Dropout(0.5)(x, training=True)
    np.testing.assert_array_equal(tape.gradient(dropped, x), dropped)
