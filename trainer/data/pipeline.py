"""Planned batches as a tf.data.Dataset: each replica's rows, gathered and padded ahead of use."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.data.cache import Batch, TokenSplit
from trainer.data.plan import TrainPlan

READ_AHEAD = 16  # steps: more than the host takes at once


def train_dataset(
    split: TokenSplit,
    plan: TrainPlan,
    first_step: int,
    last_step: int,
    shards: int,
    first_shard: int,
    local_shards: int,
    rows_per_shard: int,
) -> tf.data.Dataset:
    """For each step in [first_step, last_step) and each local shard in order, one batch.

    A global batch is filled with padding rows up to `shards * rows_per_shard`; shard k is its rows
    from `k * rows_per_shard`. This worker reads shards `first_shard` to `first_shard +
    local_shards`. Which rows are where depends on the step only.

    Returns:
      Dicts of input_ids, attention_mask, token_type_ids int32 [rows_per_shard, length]; label
      int32, weight float32 (0 for padding), id int64 (-1 for padding) [rows_per_shard]; step and
      row_start (of the shard in the global batch) int64 [].
    """
    return _dataset(
        split, plan.batch, first_step, last_step, shards, first_shard, local_shards, rows_per_shard
    )


def evaluation_dataset(
    split: TokenSplit,
    batches: list[tuple[np.ndarray, int]],
    shards: int,
    first_shard: int,
    local_shards: int,
) -> tf.data.Dataset:
    """The same for the batches of plan.evaluation_batches; step counts them from 0."""
    rows_per_shard = -(-len(batches[0][0]) // shards)
    return _dataset(
        split,
        batches.__getitem__,
        0,
        len(batches),
        shards,
        first_shard,
        local_shards,
        rows_per_shard,
    )


def _dataset(
    split: TokenSplit,
    batch: Callable[[int], tuple[np.ndarray, int]],
    first: int,
    last: int,
    shards: int,
    first_shard: int,
    local_shards: int,
    rows_per_shard: int,
) -> tf.data.Dataset:
    if not 0 <= first_shard <= first_shard + local_shards <= shards:
        raise ValueError(f"shards {first_shard} + {local_shards} of {shards}")
    rows, lengths = _planned(split, batch, first, last, shards * rows_per_shard)
    rows = rows.reshape(last - first, shards, rows_per_shard)
    mine = tf.constant(rows[:, first_shard : first_shard + local_shards])
    lengths = tf.constant(lengths)

    def load(element: tf.Tensor) -> Batch:
        step, local = element // local_shards, element % local_shards
        place = {
            "step": first + step,
            "row_start": (first_shard + local) * rows_per_shard,
        }
        return split.gather(mine[step, local], lengths[step]) | place

    elements = tf.data.Dataset.range((last - first) * local_shards)
    dataset = elements.map(load, num_parallel_calls=2, deterministic=True)
    options = tf.data.Options()
    # The rows are already this worker's own: sharding them again would lose some.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.deterministic = True
    return dataset.prefetch(READ_AHEAD * local_shards).with_options(options)


def _planned(
    split: TokenSplit,
    batch: Callable[[int], tuple[np.ndarray, int]],
    first: int,
    last: int,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [steps, size] and lengths [steps] int64 of the planned batches, filled up with -1."""
    rows = np.full((last - first, size), -1, np.int64)
    lengths = np.zeros(last - first, np.int64)
    for i in range(last - first):
        planned, lengths[i] = batch(first + i)
        if len(planned) > size:
            raise ValueError(f"{len(planned)} rows do not fit in {size} places")
        rows[i, : len(planned)] = planned
    longest = np.where(rows < 0, 0, split.lengths[rows]).max(axis=1, initial=0)
    if (longest > lengths).any():
        raise ValueError("a batch is shorter than one of its examples")
    return rows, lengths
