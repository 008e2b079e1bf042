"""The plan of batches: the examples in each, and the length that it is padded to.

A batch is a function of (seed, step) only: epoch `step // steps_per_epoch` permutes the examples
with numbers drawn from (seed, epoch), fills them into buckets by length, and permutes the batches.

Examples with a target have two lengths, and so have their batches: a bucket is of a length of
sources and one of targets.
"""

import collections
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MULTIPLE = 8  # tensor cores and vector units like lengths that are multiples of 8
OF_PAIRS = 1  # of the lengths of sentences and their targets, which are short
Length = int | tuple[int, int]  # of a batch, in tokens; with targets: of sources, and of targets
Buckets = tuple[int, ...] | tuple[tuple[int, ...], tuple[int, ...]]  # ascending; or of each length


def bucket_lengths(lengths: np.ndarray, count: int, multiple: int = MULTIPLE) -> tuple[int, ...]:
    """The at most `count` lengths that pad the examples least, by an exact dynamic programme.

    Args:
      lengths: [N] tokens of each example, N >= 1.
      count: how many different lengths there may be.

    Returns:
      Ascending multiples of `multiple`; the last one holds the longest example.
    """
    sizes, numbers = np.unique(-(-np.maximum(lengths, 1) // multiple), return_counts=True)
    sizes, many = sizes.astype(np.int64), len(sizes)
    held = np.concatenate([[0], np.cumsum(numbers)])  # examples in the first i sizes
    # slots[i, j]: units of `multiple` tokens in batches of the examples of sizes[i:j].
    slots = np.full((many + 1, many + 1), np.inf)
    for j in range(1, many + 1):
        slots[:j, j] = (held[j] - held[:j]) * sizes[j - 1]
    best = slots[0].copy()  # with one bucket
    best[0] = 0
    choices = []
    for _ in range(min(count, many) - 1):
        total = best[:, None] + slots
        total[np.arange(many + 1), np.arange(many + 1)] = best  # a bucket left out
        choices.append(total.argmin(0))
        best = total.min(0)
    ends, at = [], many
    for choice in reversed(choices):
        if choice[at] != at:
            ends.append(at)
        at = int(choice[at])
    if at:
        ends.append(at)
    return tuple(int(sizes[end - 1]) * multiple for end in sorted(ends))


class Padded:
    """Examples, and the lengths that they are padded to.

    Args:
      lengths: [N] or [N, 2] tokens of each example.
      buckets: to choose from.

    Raises:
      ValueError: an example fits in none.

    Attributes:
      lengths: [N, A] of each example's bucket, int64.

    Neighbouring buckets differ little: every other length of sources has its lengths of targets in
    falling order.
    """

    def __init__(self, lengths: np.ndarray, buckets: Buckets):
        columns = lengths.reshape(len(lengths), -1)
        of_axes = by_axis(buckets)
        places = [np.searchsorted(b, column) for b, column in zip(of_axes, columns.T, strict=True)]
        for axis, (own, column) in enumerate(zip(of_axes, columns.T, strict=True)):
            if int(column.max()) > own[-1]:
                what = f"an example of {column.max()} tokens fits in no bucket of axis {axis}"
                raise ValueError(f"{what}: {own}")
        self.lengths = np.stack([b[at] for b, at in zip(of_axes, places, strict=True)], 1)
        self._cell = places[0].astype(np.int64)
        if len(places) > 1:
            many = len(of_axes[1])
            turned = np.where(places[0] % 2, many - 1 - places[1], places[1])
            self._cell = places[0] * many + turned

    def by_bucket(self, order: np.ndarray) -> np.ndarray:
        """The examples of an order, int64 [N], bucket after bucket."""
        return order[np.argsort(self._cell[order], kind="stable")]

    def of_batches(self, rows: np.ndarray) -> np.ndarray:
        """Lengths [steps, A] of batches of rows [steps, B], where -1 is no example."""
        return np.where(rows[..., None] < 0, 0, self.lengths[rows]).max(axis=1)


def by_axis(buckets: Buckets) -> list[np.ndarray]:
    """The buckets of each length."""
    axes = buckets if isinstance(buckets[0], tuple) else (buckets,)
    return [np.array(each, np.int64) for each in axes]


def as_buckets(found: Sequence[Any]) -> Buckets:
    """The inverse of what JSON makes of buckets."""
    if isinstance(found[0], int):
        return tuple(found)
    sources, targets = map(tuple, found)
    return sources, targets


def buckets_for(sizes: np.ndarray, count: int) -> Buckets:
    """The buckets, so many of each length, that suit the sizes [N, A] of examples."""
    if sizes.shape[1] == 1:
        return bucket_lengths(sizes[:, 0], count)
    sources, targets = (bucket_lengths(column, count, OF_PAIRS) for column in sizes.T)
    return sources, targets


def with_longer(buckets: Buckets, sizes: np.ndarray, limits: Sequence[int]) -> Buckets:
    """The buckets, and one more for longer examples; none is above the limit of its length."""
    made = []
    for own, column, limit in zip(by_axis(buckets), sizes.T, limits, strict=False):
        longest = -(-int(column.max()) // MULTIPLE) * MULTIPLE
        more = [longest] if column.max() > own[-1] else []
        made.append(tuple(min(each, limit) for each in (*own.tolist(), *more)))
    first, *second = made
    return (first, second[0]) if second else first


def length_of(numbers: np.ndarray) -> Length:
    """Numbers [A] as a length."""
    first, *second = map(int, numbers)
    return (first, second[0]) if second else first


@dataclass(frozen=True)
class _Epoch:
    rows: np.ndarray  # [steps, global_batch_size] int64, -1 where there is no example
    lengths: np.ndarray  # [steps, A] int64


class Kept:
    """The last results of a function of one argument, for several threads.

    Args:
      make: the function.
      most: results that are kept.
    """

    def __init__(self, make: Callable[[Any], Any], most: int):
        self._make, self._most = make, most
        self._held: collections.OrderedDict[Any, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: Any) -> Any:
        """The result for `key`."""
        with self._lock:
            if key not in self._held:
                self._held[key] = self._make(key)
                if len(self._held) > self._most:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]


def drawn(count: int, seed: int, number: int, stream: int = 0) -> np.ndarray:
    """The numbers below `count` in an order drawn from the others, int64 [count]."""
    # Raw Philox words, not Generator methods, whose streams numpy may change.
    key, counter = np.array([seed, number], np.uint64), np.array([0, 0, 0, stream], np.uint64)
    bits = np.random.Philox(key=key, counter=counter)
    return np.argsort(bits.random_raw(count), kind="stable")


class Plan:
    """The batches of a whole training run.

    Attributes:
      buckets: the lengths that batches are padded to.
      steps_per_epoch: the same for every epoch.
      padding: share of an epoch's tokens that are padding, in [0, 1).
    """

    buckets: Buckets
    steps_per_epoch: int
    padding: float

    def batch(self, step: int) -> tuple[np.ndarray, Length]:
        """The rows of batch `step`, [global_batch_size] int64 with -1 for none, and its length."""
        raise NotImplementedError

    def about(self) -> list[str]:
        """Lines on what the batches are made of."""
        return []


class TrainPlan(Plan):
    """The batches of a run on one corpus, each example once an epoch."""

    def __init__(self, lengths: np.ndarray, global_batch_size: int, buckets: Buckets, seed: int):
        """Plans batches of `global_batch_size` of the examples with these lengths, [N] or [N, 2].

        Raises:
          ValueError: one is longer than the longest bucket.
        """
        self.buckets, self._seed = buckets, seed
        self._padded, self._count = Padded(lengths, buckets), len(lengths)
        self._global_batch_size = global_batch_size
        self._epoch = Kept(self._make_epoch, 2)  # the current one, and the next, read ahead
        self.steps_per_epoch = -(-len(lengths) // global_batch_size)
        slots = int(self._epoch(0).lengths.sum()) * global_batch_size
        self.padding = 1.0 - int(lengths.sum(dtype=np.int64)) / slots

    def batch(self, step: int) -> tuple[np.ndarray, Length]:
        epoch, at = divmod(step, self.steps_per_epoch)
        plan = self._epoch(epoch)
        return plan.rows[at], length_of(plan.lengths[at])

    def _make_epoch(self, epoch: int) -> _Epoch:
        count, size = self._count, self._global_batch_size
        # Raw Philox words, not Generator methods, whose streams numpy may change.
        bits = np.random.Philox(key=np.array([self._seed, epoch], np.uint64))
        order = np.argsort(bits.random_raw(count), kind="stable")
        # The buckets stand one after the other, so what a bucket leaves over is the beginning of
        # the next one's first batch: batches are runs of `size`, as long as their longest bucket.
        steps = self.steps_per_epoch
        rows = np.full(steps * size, -1, np.int64)
        rows[:count] = self._padded.by_bucket(order)
        batches = np.argsort(bits.random_raw(steps), kind="stable")
        planned = rows.reshape(steps, size)[batches]
        return _Epoch(planned, self._padded.of_batches(planned))


def evaluation_batches(
    lengths: np.ndarray, batch_size: int, buckets: Buckets
) -> list[tuple[np.ndarray, Length]]:
    """Each of the examples once, shortest first; the last batch is filled up with -1.

    Args:
      lengths: [N] or [N, 2] tokens of each example.
      batch_size: rows of a batch.
      buckets: lengths that batches are padded to.

    Returns:
      (rows [batch_size] int64, length) of each batch.
    """
    padded, columns = Padded(lengths, buckets), lengths.reshape(len(lengths), -1)
    order = padded.by_bucket(np.lexsort(columns.T[::-1]).astype(np.int64))
    rows = np.full((-(-len(order) // batch_size), batch_size), -1, np.int64)
    rows.reshape(-1)[: len(order)] = order
    return [*zip(rows, map(length_of, padded.of_batches(rows)), strict=True)]
