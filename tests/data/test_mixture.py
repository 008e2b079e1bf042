"""Mixtures: shares of corpora, each gone through once before again, by seed and step alone."""

import collections

import numpy as np
import pytest

from tests.data.test_corpora import opened, write
from trainer.data import mixture
from trainer.errors import UserError

SIZES, WEIGHTS = (7, 300, 4000), (1.0, 2.0, 0.5)
OF = np.repeat(np.arange(3), SIZES)[np.random.default_rng(0).permutation(sum(SIZES))]
LENGTHS = np.random.default_rng(1).integers(1, 33, sum(SIZES))


def made(size=48, seed=3, weights=WEIGHTS):
    return mixture.MixedPlan(LENGTHS, OF, weights, size, (8, 16, 32), seed)


def places(plan, count, size):
    return np.concatenate([plan.batch(step)[0] for step in range(-(-count // size))])[:count]


def test_each_corpus_has_its_share_and_is_gone_through_before_it_repeats():
    count = 2 * mixture.BLOCK
    rows = places(made(), count, 48)
    for i, (size, weight) in enumerate(zip(SIZES, WEIGHTS, strict=True)):
        own = rows[OF[rows] == i]
        assert abs(len(own) - count * weight / sum(WEIGHTS)) <= 2
        passes = [own[at : at + size] for at in range(0, len(own), size)]
        for each in passes:
            assert len(set(each)) == len(each)
        if len(passes) > 2:
            assert passes[0].tolist() != passes[1].tolist()
    assert len(set(collections.Counter(OF[rows[:48]]).values())) > 1


def test_a_batch_is_a_function_of_seed_and_step():
    one, other = made(), made()
    steps = [*range(20), 415, 416, 417, 5000]  # some over the end of a block
    expected = [one.batch(step) for step in steps]
    for step, (rows, length) in reversed(list(zip(steps, expected, strict=True))):
        again, its_length = other.batch(step)
        assert again.tolist() == rows.tolist()
        assert length == its_length >= LENGTHS[rows].max()
        assert length - LENGTHS[rows].max() < 16
    assert made(seed=4).batch(0)[0].tolist() != expected[0][0].tolist()
    # A place has the row that it has in batches of any size.
    assert places(made(96), 30_000, 96).tolist() == places(one, 30_000, 48).tolist()
    assert one.steps_per_epoch == -(-sum(SIZES) // 48)
    assert 0 < one.padding < 0.6


def test_a_batch_may_be_larger_than_a_block():
    rows, _ = made(25_000).batch(1)
    assert rows.tolist() == places(made(), 50_000, 48)[25_000:].tolist()


def test_what_it_says():
    said = made().about(["a", "b", "c"])
    assert said[0] == "a: 7 rows, 28.57% of the batches, 176.32 times an epoch"


def test_what_cannot_be_mixed():
    with pytest.raises(UserError, match=r"0\.0001 is less than 1 in 10,000 of all"):
        made(weights=(1.0, 2.0, 1e-4))
    with pytest.raises(UserError, match=r"corpus 4 of config\.data\.mixture has no example"):
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
    source = opened("a.txt", mixture=("b.txt",), exclude=("b.txt:text",), **fields)
    assert len(list(source.rows("train"))) == 3
