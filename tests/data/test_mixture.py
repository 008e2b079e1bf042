"""Mixtures: shares of corpora, in batches of like lengths, by seed and step alone."""

import collections

import numpy as np
import pytest

from tests.data.test_corpora import opened, write
from trainer.data import mixture
from trainer.data.plan import TrainPlan
from trainer.errors import UserError

SIZES, WEIGHTS = (7, 300, 4000), (1.0, 2.0, 0.5)
OF = np.repeat(np.arange(3), SIZES)[np.random.default_rng(0).permutation(sum(SIZES))]
LENGTHS = np.random.default_rng(1).integers(1, 33, sum(SIZES))


def made(size=48, seed=3, weights=WEIGHTS):
    names = "abcd"[: len(weights)]
    return mixture.MixedPlan(LENGTHS, OF, weights, size, (8, 16, 32), seed, names=names)


def places(plan, steps):
    return np.concatenate([plan.batch(step)[0] for step in steps])


def test_each_corpus_has_its_share_and_is_gone_through_before_it_repeats():
    plan, batches = made(), mixture.BLOCK // 48
    for blocks in range(1, 6):  # the third corpus begins its second pass within the third block
        rows = places(plan, range(blocks * batches))
        for i, weight in enumerate(WEIGHTS):
            own = rows[OF[rows] == i]
            assert abs(len(own) - len(rows) * weight / sum(WEIGHTS)) <= blocks
            times = [*collections.Counter(own.tolist()).values()]
            assert max(times) <= min(times) + 1
            assert len(times) == SIZES[i] or max(times) == 1
    first, second = (places(plan, range(at, at + batches)) for at in (0, batches))
    assert first.tolist() != second.tolist()
    assert len(set(OF[plan.batch(0)[0]])) > 1


def test_batches_are_of_like_lengths():
    plan = made()
    lengths = [plan.batch(step)[1] for step in range(mixture.BLOCK // 48)]
    assert lengths != sorted(lengths)
    assert set(lengths) == {8, 16, 32}
    alone = TrainPlan(LENGTHS[OF == 2], 48, (8, 16, 32), 3)
    assert plan.padding == pytest.approx(alone.padding, abs=0.02)


def test_a_batch_is_a_function_of_seed_and_step():
    one, other = made(), made()
    steps = [*range(20), 207, 208, 209, 5000]  # some of other blocks
    expected = [one.batch(step) for step in steps]
    for step, (rows, length) in reversed(list(zip(steps, expected, strict=True))):
        again, its_length = other.batch(step)
        assert again.tolist() == rows.tolist()
        assert length == its_length >= LENGTHS[rows].max()
        assert length - LENGTHS[rows].max() < 16
    assert made(seed=4).batch(0)[0].tolist() != expected[0][0].tolist()
    assert one.steps_per_epoch == -(-sum(SIZES) // 48)


def test_a_batch_may_be_larger_than_a_block():
    plan = made(25_000)
    rows = [plan.batch(step)[0] for step in range(2)]
    assert [len(each) for each in rows] == [25_000] * 2
    assert sorted(rows[0]) != sorted(rows[1])


def test_what_it_says():
    said = made().about()
    assert said[0] == "a: 7 rows, 28.58% of the batches, 176.35 times an epoch"


def test_what_cannot_be_mixed():
    with pytest.raises(
        UserError, match=r"corpus 'c' has a weight of 0\.0001, less than 1 in 9,984 of"
    ):
        made(weights=(1.0, 2.0, 1e-4))
    with pytest.raises(UserError, match=r"corpus 'd' has no example in train"):
        made(weights=(1.0, 2.0, 3.0, 4.0))


def test_the_rows_of_a_mixture(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.txt", [f"{name} {i}" for i in range(3)])
    fields = {"data_dir": str(tmp_path), "validation_share": 0.0}
    source = opened("a.txt", mixture=("b.txt", "[c].txt"), **fields)
    rows = list(source.rows("train"))
    assert [row["text"] for row in rows] == [f"{name} {i}" for name in "abc" for i in range(3)]
    assert mixture.corpora(np.array([row.id for row in rows])).tolist() == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
        2,
        2,
    ]
    assert rows[4].where == f"file {tmp_path / 'b.txt'}, row 2"
    other = opened("a.txt", mixture=("c.txt", "b.txt"), **fields)
    assert other.fingerprint("train") != source.fingerprint("train")
    with pytest.raises(UserError, match="this would report on examples that were trained on"):
        opened("a.txt", mixture=("b.txt",), test="*b.txt", **fields)
    with pytest.raises(
        UserError, match=r"mixture='d\.txt': there is no such file or folder at .*d\.txt"
    ):
        opened("a.txt", mixture=("d.txt",), **fields)
    write(tmp_path / "empty.txt", [])
    with pytest.raises(UserError, match=r"empty\.txt is empty: leave it out, or name another"):
        list(opened("a.txt", mixture=("empty.txt",), **fields).rows("train"))
    source = opened("a.txt", mixture=("b.txt",), exclude=("b.txt:text",), **fields)
    assert len(list(source.rows("train"))) == 3
