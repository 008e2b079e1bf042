"""The plan of batches: the examples in each, and the length that it is padded to.

A batch is a function of (seed, step) only: epoch `step // steps_per_epoch` permutes the examples
with numbers drawn from (seed, epoch), fills them into buckets by length, and permutes the batches.
"""

import collections
import threading
from dataclasses import dataclass

import numpy as np

MULTIPLE = 8  # tensor cores and vector units like lengths that are multiples of 8


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


@dataclass(frozen=True)
class _Epoch:
    rows: np.ndarray  # [steps, global_batch_size] int64, -1 where there is no example
    lengths: np.ndarray  # [steps] int64


class TrainPlan:
    """The batches of a whole training run, each example once an epoch.

    Attributes:
      buckets: the lengths that batches are padded to.
      steps_per_epoch: the same for every epoch.
      padding: share of an epoch's tokens that are padding, in [0, 1).
    """

    def __init__(
        self, lengths: np.ndarray, global_batch_size: int, buckets: tuple[int, ...], seed: int
    ):
        """Plans batches of `global_batch_size` of the [N] examples with these lengths."""
        if int(lengths.max()) > buckets[-1]:
            raise ValueError(f"an example of {lengths.max()} tokens fits in no bucket: {buckets}")
        self.buckets, self._seed = buckets, seed
        self._bucket_of = np.searchsorted(np.array(buckets), lengths).astype(np.int32)
        self._global_batch_size = global_batch_size
        self._epochs: collections.OrderedDict[int, _Epoch] = collections.OrderedDict()
        self._lock = threading.Lock()
        self.steps_per_epoch = -(-len(lengths) // global_batch_size)
        slots = int(self._epoch(0).lengths.sum()) * global_batch_size
        self.padding = 1.0 - int(lengths.sum(dtype=np.int64)) / slots

    def batch(self, step: int) -> tuple[np.ndarray, int]:
        """The rows of batch `step`, [global_batch_size] int64 with -1 for none, and its length."""
        epoch, at = divmod(step, self.steps_per_epoch)
        plan = self._epoch(epoch)
        return plan.rows[at], int(plan.lengths[at])

    def _epoch(self, epoch: int) -> _Epoch:
        with self._lock:
            if epoch not in self._epochs:
                self._epochs[epoch] = self._make_epoch(epoch)
                if len(self._epochs) > 2:  # the current one, and the next that is read ahead
                    self._epochs.popitem(last=False)
            self._epochs.move_to_end(epoch)
            return self._epochs[epoch]

    def _make_epoch(self, epoch: int) -> _Epoch:
        count, size = len(self._bucket_of), self._global_batch_size
        # Raw Philox words, not Generator methods, whose streams numpy may change.
        bits = np.random.Philox(key=np.array([self._seed, epoch], np.uint64))
        order = np.argsort(bits.random_raw(count), kind="stable")
        by_bucket = order[np.argsort(self._bucket_of[order], kind="stable")]
        ends = np.searchsorted(self._bucket_of[by_bucket], np.arange(len(self.buckets)), "right")
        # The buckets stand one after the other, so what a bucket leaves over is the beginning of
        # the next one's first batch: batches are runs of `size`, as long as their last example's
        # bucket.
        steps = self.steps_per_epoch
        rows = np.full(steps * size, -1, np.int64)
        rows[:count] = by_bucket
        last = np.minimum(np.arange(1, steps + 1) * size, count) - 1
        lengths = np.array(self.buckets, np.int64)[np.searchsorted(ends, last, "right")]
        batches = np.argsort(bits.random_raw(steps), kind="stable")
        return _Epoch(rows.reshape(steps, size)[batches], lengths[batches])


def evaluation_batches(
    lengths: np.ndarray, batch_size: int, buckets: tuple[int, ...]
) -> list[tuple[np.ndarray, int]]:
    """Each of the [N] examples once, shortest first; the last batch is filled up with -1.

    Returns:
      (rows [batch_size] int64, length) of each batch.
    """
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    batches = []
    for start in range(0, len(order), batch_size):
        rows = np.full(batch_size, -1, np.int64)
        part = order[start : start + batch_size]
        rows[: len(part)] = part
        at = int(np.searchsorted(np.array(buckets), lengths[part[-1]]))
        batches.append((rows, buckets[at]))
    return batches
