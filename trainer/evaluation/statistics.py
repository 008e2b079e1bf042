"""Intervals and tests that say how sure a difference is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 20_000
_SEED = 0


class Interval(NamedTuple):
    """A confidence interval of CONFIDENCE."""

    low: float
    high: float


def proportion(successes: int, count: int) -> Interval:
    """The score interval of a share (Wilson, 1927)."""
    import scipy.stats  # which takes half a second

    found = scipy.stats.binomtest(successes, count).proportion_ci(CONFIDENCE, "wilson")
    return Interval(float(found.low), float(found.high))


class Comparison(NamedTuple):
    """Two runs scored on the same examples.

    Attributes:
      only_first, only_second: examples that one of them alone got right.
      difference: of accuracy, the second's less the first's. interval: of it, by bootstrap.
      p: McNemar's exact test of no difference; of several pairs, adjusted by `holm`.
    """

    only_first: int
    only_second: int
    difference: float
    interval: Interval
    p: float

    @property
    def sure(self) -> bool:
        """True if the difference is told from noise."""
        return self.p < 1 - CONFIDENCE


def compare(first: np.ndarray, second: np.ndarray) -> Comparison:
    """Compares accuracies on the same examples.

    The interval is that of the paired bootstrap (Efron & Tibshirani 1993): examples are drawn with
    replacement, both runs' answers together. As only three kinds of examples count (one alone
    right, the other alone right, the rest), the counts of a resample are drawn at once, from their
    multinomial distribution. The test is McNemar's of 1947, exact.

    Args:
      first, second: bool [N], whether each example was predicted right.
    """
    import scipy.stats

    count = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    shares = np.array([only_first, only_second, count - discordant]) / count
    drawn = np.random.default_rng(_SEED).multinomial(count, shares, RESAMPLES)
    differences = (drawn[:, 1] - drawn[:, 0]) / count
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    p = scipy.stats.binomtest(only_first, discordant, 0.5).pvalue if discordant else 1.0
    interval = Interval(float(low), float(high))
    return Comparison(
        only_first, only_second, (only_second - only_first) / count, interval, float(p)
    )


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for how many there are (Holm 1979)."""
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, i in enumerate(np.argsort(values, kind="stable")):
        largest = max(largest, min(1.0, values[i] * (len(values) - rank)))
        adjusted[i] = largest
    return adjusted
