"""Several corpora of which a run learns, each with a weight of its own."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.columns import Column, Row
from trainer.data.plan import Buckets, Kept, Length, Padded, Plan, drawn, length_of
from trainer.errors import UserError, shown

if TYPE_CHECKING:
    from trainer.data.sources import Records

BLOCK = 10_000  # places of batches, about, in which each corpus has its share to a row
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
            row = None
            for row in each.rows():
                yield Row(row, i * _ROWS + row.id, row.title, row.number)
            if row is None:
                raise UserError(f"{each.title} is empty: leave it out, or name another")

    @property
    def remarks(self) -> str:
        """Oddities found by the last reading of all rows, in one line; empty if none."""
        return "; ".join(each.remarks for each in self._records if each.remarks)


def corpora(ids: np.ndarray) -> np.ndarray:
    """The number of the corpus, from 0, that each of these rows of a `Mixed` is of, int64 [N]."""
    return ids // _ROWS


class MixedPlan(Plan):
    """The batches of a run on several corpora, each of which has its share by the weights.

    Batches are planned in blocks of some BLOCK places. In each block every corpus has its share,
    to a row; the rows stand in batches of like lengths, and the batches in a random order. A
    corpus is gone through once, in a random order, before a block takes a row of it again. A block
    is a function of the seed and of its number.

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
        *,
        names: Sequence[str],
    ):
        """Plans batches of the [N] examples with these lengths.

        Args:
          lengths: in tokens, [N] or, with targets, [N, 2].
          of: int [N], the corpus of each.
          weights: of the corpora.
          global_batch_size: rows of a batch.
          buckets: lengths that batches are padded to.
          seed: of the order.
          names: of the corpora.

        Raises:
          UserError: a corpus has no example, or a weight so small that it would have no place.
        """
        self.buckets, self._padded = buckets, Padded(lengths, buckets)
        self._seed, self._size, self._names = seed, global_batch_size, names
        self._batches = max(BLOCK // global_batch_size, 1)  # of a block
        self._places = self._batches * global_batch_size
        self._rows = [np.flatnonzero(of == i) for i in range(len(weights))]
        self._quotas = _quotas(weights, self._places)
        for i, rows in enumerate(self._rows):
            if not len(rows):
                raise UserError(f"the corpus {shown(names[i])} has no example in train")
            if not self._quotas[i]:
                raise UserError(
                    f"the corpus {shown(names[i])} has a weight of {weights[i]:g}, less than 1 in"
                    f" {self._places:,} of all: give it more with config.data.weights, or leave it"
                    " out"
                )
        self._block = Kept(self._make_block, 2)
        self._order = Kept(self._make_order, len(weights) + 2)
        self.steps_per_epoch = -(-len(lengths) // global_batch_size)
        # Whole blocks, whose batches are of every length.
        blocks = min(-(-self.steps_per_epoch // self._batches), 10)
        steps = [self.batch(step) for step in range(blocks * self._batches)]
        slots = sum(len(rows) * int(np.sum(length)) for rows, length in steps)
        real = sum(int(lengths[rows].sum(dtype=np.int64)) for rows, _ in steps)
        self.padding = 1.0 - real / slots

    def batch(self, step: int) -> tuple[np.ndarray, Length]:
        block, at = divmod(step, self._batches)
        rows = self._block(block)[at]
        return rows, length_of(self._padded.of_batches(rows[None])[0])

    def about(self) -> list[str]:
        """A line on each corpus."""
        blocks = self.steps_per_epoch / self._batches
        return [
            f"{name}: {len(rows):,} rows, {quota / self._places:.2%} of the batches,"
            f" {quota * blocks / len(rows):.2f} times an epoch"
            for name, rows, quota in zip(self._names, self._rows, self._quotas, strict=True)
        ]

    def _make_block(self, block: int) -> np.ndarray:
        """The rows in the batches of a block, int64 [batches, global_batch_size]."""
        taken = []
        for i, (rows, quota) in enumerate(zip(self._rows, self._quotas, strict=True)):
            passes, at = np.divmod(block * quota + np.arange(quota), len(rows))
            for n in np.unique(passes).tolist():
                taken.append(rows[self._order((i, n))[at[passes == n]]])
        found = np.concatenate(taken)[drawn(self._places, self._seed, block)]
        batches = self._padded.by_bucket(found).reshape(self._batches, self._size)
        return batches[drawn(self._batches, self._seed, block, len(self._rows) + 1)]

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


def _quotas(weights: Sequence[float], places: int) -> list[int]:
    """The places of each corpus: those that are rounded down most have one more."""
    exact = np.array(weights) / sum(weights) * places
    whole = np.floor(exact).astype(np.int64)
    more = np.argsort(whole - exact, kind="stable")[: places - int(whole.sum())]
    whole[more] += 1
    return whole.tolist()
