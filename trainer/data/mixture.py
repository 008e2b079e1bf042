"""Several corpora of which a run learns, each with a weight of its own."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.columns import Column, Row
from trainer.data.plan import Buckets, Kept, Length, Padded, Plan, drawn, length_of
from trainer.errors import UserError

if TYPE_CHECKING:
    from trainer.data.sources import Records

BLOCK = 10_000  # places in batches, in which each corpus has its share to a row
_ROWS = 10**12  # of a corpus at most: the ids of the next one begin there


class Mixed:
    """The rows of several corpora, one after the other.

    Args:
      records: of each corpus, with the same columns.
    """

    def __init__(self, records: Sequence["Records"]):
        self._records = records
        self.title = " and ".join(each.title for each in records)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of those of all corpora, in their order."""
        all_ = " ".join(each.fingerprint for each in self._records)
        return hashlib.sha256(f"mixture {all_}".encode()).hexdigest()

    @property
    def columns(self) -> Sequence[Column]:
        """The columns that are read, each with its name."""
        return self._records[0].columns

    def overlaps(self, other: "Records") -> bool:
        """True if some row may stand in both."""
        theirs = other._records if isinstance(other, Mixed) else [other]
        return any(one.overlaps(its) for one in self._records for its in theirs)

    def rows(self) -> Iterator[Row]:
        """The rows, with ids that tell the corpora apart: see `corpora`."""
        for i, each in enumerate(self._records):
            for row in each.rows():
                yield Row(row, i * _ROWS + row.id, row.title, row.number)

    @property
    def remarks(self) -> str:
        """Oddities found by the last reading of all rows, in one line; empty if none."""
        return "; ".join(each.remarks for each in self._records if each.remarks)


def corpora(ids: np.ndarray) -> np.ndarray:
    """The number of the corpus, from 0, that each of these rows of a `Mixed` is of, int64 [N]."""
    return ids // _ROWS


class MixedPlan(Plan):
    """The batches of a run on several corpora: each place of each takes its row by the weights.

    In the places of all batches, one after the other, the corpora take turns at random, so that
    among any BLOCK of them, counted from the first, each has its share. A corpus is gone through
    once, in a random order, before it is gone through again, in another. Which row stands in a
    place is a function of the seed and the number of that place.

    An epoch has as many rows as all corpora together.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        of: np.ndarray,
        weights: Sequence[float],
        global_batch_size: int,
        buckets: Buckets,
        seed: int,
    ):
        """Plans batches of the [N] examples with these lengths.

        Args:
          lengths: in tokens, [N] or, with targets, [N, 2].
          of: int [N], the corpus of each.
          weights: of the corpora.
          global_batch_size: rows of a batch.
          buckets: lengths that batches are padded to.
          seed: of the order.

        Raises:
          UserError: a corpus has no example, or a weight so small that it would have no place.
        """
        self.buckets, self._padded = buckets, Padded(lengths, buckets)
        self._seed, self._size = seed, global_batch_size
        self._rows = [np.flatnonzero(of == i) for i in range(len(weights))]
        self._quotas = _quotas(weights)
        for i, rows in enumerate(self._rows):
            if not len(rows):
                raise UserError(f"corpus {i + 1} of config.data.mixture has no example")
            if not self._quotas[i]:
                raise UserError(
                    f"config.data.weights: {weights[i]:g} is less than 1 in {BLOCK:,} of all"
                )
        self._block = Kept(self._make_block, 2)
        self._order = Kept(self._make_order, len(weights) + 2)
        self.steps_per_epoch = -(-len(lengths) // global_batch_size)
        steps = [self.batch(step) for step in range(min(self.steps_per_epoch, 1000))]
        slots = sum(len(rows) * int(np.sum(length)) for rows, length in steps)
        real = sum(int(lengths[rows].sum(dtype=np.int64)) for rows, _ in steps)
        self.padding = 1.0 - real / slots

    def batch(self, step: int) -> tuple[np.ndarray, Length]:
        first, end = step * self._size, (step + 1) * self._size
        numbers = range(first // BLOCK, (end - 1) // BLOCK + 1)
        rows = np.concatenate([self._block(number) for number in numbers])
        start = first - numbers[0] * BLOCK
        rows = rows[start : start + self._size]
        return rows, length_of(self._padded.of_batches(rows[None])[0])

    def about(self, names: Sequence[str]) -> list[str]:
        """A line on each corpus; `names` are theirs."""
        places = self.steps_per_epoch * self._size / BLOCK
        return [
            f"{name}: {len(rows):,} rows, {quota / BLOCK:.2%} of the batches,"
            f" {quota * places / len(rows):.2f} times an epoch"
            for name, rows, quota in zip(names, self._rows, self._quotas, strict=True)
        ]

    def _make_block(self, block: int) -> np.ndarray:
        """The rows in the places of a block, int64 [BLOCK]."""
        turns = np.repeat(np.arange(len(self._quotas)), self._quotas)
        turns = turns[drawn(BLOCK, self._seed, block)]
        found = np.empty(BLOCK, np.int64)
        for i, (rows, quota) in enumerate(zip(self._rows, self._quotas, strict=True)):
            passes, at = np.divmod(block * quota + np.arange(quota), len(rows))
            taken = [rows[self._order((i, n))[at[passes == n]]] for n in np.unique(passes).tolist()]
            found[turns == i] = np.concatenate(taken)
        return found

    def _make_order(self, key: tuple[int, int]) -> np.ndarray:
        """The order of the rows of corpus key[0] when it is gone through the key[1]-th time."""
        corpus, number = key
        return drawn(len(self._rows[corpus]), self._seed, number, corpus + 1)


def rates(counts: Sequence[int], limit: int, temperature: float) -> list[float]:
    """Weights of corpora by their numbers of rows (Raffel et al., 2020, section 3.5.2).

    Args:
      counts: of the rows of each.
      limit: rows of a corpus that count at most; 0: all do.
      temperature: T, where the weight is the 1/T-th power of that number: from 1, proportional, to
        equal weights.
    """
    return [min(n, limit or n) ** (1 / temperature) for n in counts]


def _quotas(weights: Sequence[float]) -> list[int]:
    """How many of BLOCK places each corpus has: those that are rounded down most have one more."""
    exact = np.array(weights) / sum(weights) * BLOCK
    whole = np.floor(exact).astype(np.int64)
    more = np.argsort(whole - exact, kind="stable")[: BLOCK - int(whole.sum())]
    whole[more] += 1
    return whole.tolist()
