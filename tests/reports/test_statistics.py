"""Intervals and tests against values worked out by hand, or published."""

import numpy as np
import pytest

from trainer.evaluation.statistics import (
    compare,
    holm,
    proportion,
)


def answers(both: int, first: int, second: int, none: int) -> tuple[np.ndarray, np.ndarray]:
    """True where each of two runs was right: so often both, the first alone, the second, none."""
    kinds = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * none
    one, two = np.array(kinds, bool).T
    return one, two


def test_wilson():
    # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3: 81 of 263.
    assert proportion(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert proportion(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_mcnemar_by_hand():
    # 2 of 10 or fewer, twice: 2 (1 + 10 + 45) / 1024.
    found = compare(*answers(50, 2, 8, 40))
    assert found.p == pytest.approx(112 / 1024)
    assert (found.only_first, found.only_second, found.difference) == (2, 8, 0.06)
    assert not found.sure


def test_the_same_run_twice_is_no_difference():
    one, _ = answers(30, 5, 0, 10)
    found = compare(one, one)
    assert (found.difference, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_a_clear_difference():
    found = compare(*answers(800, 30, 90, 80))
    assert found.sure
    low, high = found.interval
    # By the normal approximation: 0.06 ± 1.96 sqrt((0.12 - 0.0036) / 1000).
    assert (low, high) == pytest.approx((0.0389, 0.0811), abs=1.5e-3)
    back = compare(*answers(800, 90, 30, 80))
    assert back.difference == -found.difference
    assert back.p == found.p


def test_the_interval_is_that_of_resampled_examples():
    one, two = answers(60, 12, 25, 3)
    random = np.random.default_rng(1)
    rows = random.integers(0, len(one), (4000, len(one)))
    differences = (two[rows].mean(1) - one[rows].mean(1)).astype(float)
    low, high = compare(one, two).interval
    assert (low, high) == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.011)


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
