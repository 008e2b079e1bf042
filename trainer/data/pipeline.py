"""Planned batches as a tf.data.Dataset: each replica's rows, gathered and padded ahead of use."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.data.cache import TokenSplit
from trainer.data.plan import TrainPlan

Batch = dict[str, tf.Tensor]
FIELDS: dict[str, tuple[tf.DType, int]] = {  # name: type, rank
    "input_ids": (tf.int32, 2),
    "attention_mask": (tf.int32, 2),
    "token_type_ids": (tf.int32, 2),
    "label": (tf.int32, 1),
    "weight": (tf.float32, 1),
    "id": (tf.int64, 1),
    "step": (tf.int64, 0),
    "row_start": (tf.int64, 0),
}
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

    def read(element: np.ndarray) -> list[np.ndarray]:
        step, local = divmod(int(element), local_shards)
        rows, length = batch(step)
        if len(rows) > shards * rows_per_shard:
            raise ValueError(f"{len(rows)} rows do not fit in {shards} shards of {rows_per_shard}")
        start = (first_shard + local) * rows_per_shard
        mine = np.full(rows_per_shard, -1, np.int64)
        part = rows[start : start + rows_per_shard]
        mine[: len(part)] = part
        place = {"step": np.array(step, np.int64), "row_start": np.array(start, np.int64)}
        values = split.gather(mine, length) | place
        return [values[name] for name in FIELDS]

    def load(element: tf.Tensor) -> Batch:
        values = tf.numpy_function(read, [element], [kind for kind, _ in FIELDS.values()])
        for value, (_, rank) in zip(values, FIELDS.values(), strict=True):
            value.set_shape([[], [rows_per_shard], [rows_per_shard, None]][rank])
        return dict(zip(FIELDS, values, strict=True))

    elements = tf.data.Dataset.range(first * local_shards, last * local_shards)
    # One after the other: the prefetch reads ahead, and deterministic mode allows no more anyway.
    dataset = elements.map(load)
    options = tf.data.Options()
    # The rows are already this worker's own: sharding them again would lose some.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.deterministic = True
    return dataset.prefetch(READ_AHEAD * local_shards).with_options(options)
