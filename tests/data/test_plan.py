"""Plans: every example once an epoch, a function of seed and step, as little padding as can be."""

import itertools

import numpy as np
import pytest

from trainer.data import plan

LENGTHS = np.random.default_rng(0).integers(1, 100, 530).astype(np.int32)
BUCKETS = plan.bucket_lengths(LENGTHS, 4)


def padding_of(buckets, lengths):
    return sum(min(b for b in buckets if b >= n) - n for n in lengths)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_buckets_are_the_best_of_all_choices(count):
    lengths = np.random.default_rng(count).integers(1, 64, 40)
    sizes = range(8, 72, 8)
    longest = -(-int(lengths.max()) // 8) * 8
    choices = [
        c
        for size in range(1, count + 1)
        for c in itertools.combinations(sizes, size)
        if c[-1] == longest
    ]
    best = min(padding_of(c, lengths) for c in choices)
    found = plan.bucket_lengths(lengths, count)
    assert padding_of(found, lengths) == best
    assert len(found) <= count
    assert found[-1] == longest
    assert list(found) == sorted(set(found))


def pairs(count: int = 530) -> np.ndarray:
    """Lengths of sources and of targets that go with them."""
    random = np.random.default_rng(1)
    sources = random.integers(3, 60, count)
    return np.stack([sources, sources + random.integers(-2, 8, count)], 1).astype(np.int32)


@pytest.mark.parametrize("size", [7, 64])
def test_examples_with_targets_are_padded_on_both_axes(size):
    sizes = pairs()
    buckets = plan.buckets_for(sizes, 6)
    assert [len(each) <= 6 for each in buckets] == [True, True]
    made = plan.TrainPlan(sizes, size, buckets, seed=3)
    batches = [made.batch(step) for step in range(made.steps_per_epoch)]
    rows = np.concatenate([rows for rows, _ in batches])
    assert sorted(rows[rows >= 0]) == list(range(530))
    for of_batch, (source, target) in batches:
        longest = sizes[of_batch[of_batch >= 0]].max(0)
        assert longest[0] <= source in buckets[0]
        assert longest[1] <= target in buckets[1]
    slots = sum(len(of_batch) * sum(length) for of_batch, length in batches)
    assert made.padding == pytest.approx(1 - sizes.sum() / slots)
    again = plan.TrainPlan(sizes, size, buckets, seed=3).batch(5)
    np.testing.assert_array_equal(again[0], batches[5][0])
    scored = plan.evaluation_batches(sizes, size, buckets)
    rows = np.concatenate([rows for rows, _ in scored])
    assert sorted(rows[rows >= 0]) == list(range(530))
    assert all((sizes[r[r >= 0]].max(0) <= length).all() for r, length in scored)


def test_padding_of_many_pairs_is_small():
    """Of as many sentences as Multi30k has; the issue of padding is that both lengths are short."""
    random = np.random.default_rng(0)
    sources = np.clip(random.normal(17, 5, 29_000), 6, 60)
    sizes = np.stack([sources, np.clip(sources + random.normal(0, 3, 29_000), 4, 70)], 1)
    sizes = sizes.astype(np.int32)
    assert plan.TrainPlan(sizes, 64, plan.buckets_for(sizes, 16), seed=0).padding < 0.05


def test_longer_examples_get_a_bucket_of_their_own():
    buckets = plan.buckets_for(pairs(), 2)
    longer = plan.with_longer(buckets, np.array([[61, 3], [5, 90]]), (96, 88))
    assert [each[-1] for each in longer] == [64, 88]
    assert plan.with_longer((8, 16), np.array([[20]]), (384, 0)) == (8, 16, 24)
    assert plan.with_longer((8, 16), np.array([[15]]), (12, 0)) == (8, 12)
    stored = [list(each) for each in buckets]
    assert plan.as_buckets(stored) == buckets
    assert plan.as_buckets([8, 16]) == (8, 16)


def test_buckets_of_few_lengths():
    assert plan.bucket_lengths(np.array([5, 5]), 8) == (8,)
    assert plan.bucket_lengths(np.array([0]), 1) == (8,)
    assert plan.bucket_lengths(np.array([3, 8, 9, 500]), 8) == (8, 16, 504)


@pytest.mark.parametrize("size", [1, 7, 64, 530, 600])
def test_each_example_stands_once_in_each_epoch(size):
    made = plan.TrainPlan(LENGTHS, size, BUCKETS, seed=3)
    assert made.steps_per_epoch == -(-530 // size)
    for epoch in range(2):
        steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
        batches = [made.batch(step) for step in steps]
        rows = np.concatenate([rows for rows, _ in batches])
        assert sorted(rows[rows >= 0]) == list(range(530))
        assert sum((rows < 0).any() for rows, _ in batches) == (530 % size > 0)
        for rows, length in batches:
            assert rows.shape == (size,)
            assert length in BUCKETS
            assert LENGTHS[rows[rows >= 0]].max() <= length
        slots = sum(len(rows) * length for rows, length in batches)
        assert made.padding == pytest.approx(1 - LENGTHS.sum() / slots)


def test_only_what_is_left_over_is_padded_to_a_longer_bucket():
    made = plan.TrainPlan(LENGTHS, 16, BUCKETS, seed=0)
    moved = 0
    for step in range(made.steps_per_epoch):
        rows, length = made.batch(step)
        shorter = max((b for b in BUCKETS if b < length), default=0)
        moved += int((LENGTHS[rows[rows >= 0]] <= shorter).sum())
    assert moved < 16 * (len(BUCKETS) - 1)


def test_a_batch_is_a_function_of_seed_and_step():
    one, other = (plan.TrainPlan(LENGTHS, 16, BUCKETS, seed=5) for _ in range(2))
    last = 5 * one.steps_per_epoch
    expected = {step: one.batch(step) for step in range(last)}
    for step in np.random.default_rng(1).permutation(last):
        rows, length = other.batch(int(step))
        np.testing.assert_array_equal(rows, expected[step][0])
        assert length == expected[step][1]
    assert not np.array_equal(one.batch(0)[0], one.batch(one.steps_per_epoch)[0])
    different = plan.TrainPlan(LENGTHS, 16, BUCKETS, seed=6)
    assert not np.array_equal(one.batch(0)[0], different.batch(0)[0])


def test_the_order_is_the_same_in_every_version():
    """A run that is resumed after an upgrade must go on with the same batches."""
    made = plan.TrainPlan(np.arange(1, 21), 4, (8, 24), seed=1)
    assert [(rows.tolist(), length) for rows, length in map(made.batch, range(2))] == [
        ([12, 18, 11, 19], 24),
        ([15, 8, 13, 17], 24),
    ]


def test_long_batches_come_in_any_order():
    made = plan.TrainPlan(LENGTHS, 16, BUCKETS, seed=0)
    lengths = [made.batch(step)[1] for step in range(made.steps_per_epoch)]
    assert lengths != sorted(lengths)
    assert lengths != sorted(lengths, reverse=True)


def test_an_example_longer_than_all_buckets_is_a_mistake():
    with pytest.raises(ValueError, match="fits in no bucket"):
        plan.TrainPlan(LENGTHS, 16, (8, 16), seed=0)


@pytest.mark.parametrize("size", [1, 64, 600])
def test_evaluation_scores_each_example_once(size):
    batches = plan.evaluation_batches(LENGTHS, size, BUCKETS)
    rows = np.concatenate([rows for rows, _ in batches])
    assert sorted(rows[rows >= 0]) == list(range(530))
    assert (np.concatenate([rows for rows, _ in batches[:-1]] or [np.zeros(1)]) >= 0).all()
    for rows, length in batches:
        longest = LENGTHS[rows[rows >= 0]].max()
        assert length == min(b for b in BUCKETS if b >= longest)


def test_a_million_examples_are_planned_quickly():
    lengths = np.random.default_rng(0).integers(1, 512, 1_000_000)
    buckets = plan.bucket_lengths(lengths, 8)
    made = plan.TrainPlan(lengths, 256, buckets, seed=0)
    assert made.steps_per_epoch == 3907
    assert made.padding < 0.12
