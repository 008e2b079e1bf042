"""Planned batches as a tf.data.Dataset: a worker's rows, gathered and padded ahead of use."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.batch import FEATURES, ROW_START, STEP
from trainer.data.plan import Length, Plan
from trainer.data.table import Table
from trainer.tasks.task import Batch

READ_AHEAD = 16  # steps: more than the host takes at once


def train_dataset(
    split: Table,
    plan: Plan,
    first_step: int,
    last_step: int,
    size: int,
    first_row: int,
    rows: int,
    features: tf.experimental.Optional | None = None,
) -> tf.data.Dataset:
    """For each step in [first_step, last_step) one batch: a worker's rows of the global batch.

    The global batch is filled with padding rows up to `size`; the worker's rows are the `rows` from
    `first_row`. Which rows are where depends on the step only.

    Returns:
      Dicts of what `Table.gather` gives of the rows, the task's arrays among it; step and row_start
      (the place of the first row in the global batch) int64 []. Where `features`, [N, D] of the
      split's rows, are given, theirs, [rows, D], stand in the place of the tokens.
    """
    return _dataset(
        split,
        plan.batch,
        first_step,
        last_step,
        size=size,
        first_row=first_row,
        rows=rows,
        features=features,
    )


def evaluation_dataset(
    split: Table,
    batches: list[tuple[np.ndarray, Length]],
    size: int,
    first_row: int,
    rows: int,
) -> tf.data.Dataset:
    """A `train_dataset` of the batches of plan.evaluation_batches; step counts them from 0."""
    return _dataset(
        split, batches.__getitem__, 0, len(batches), size=size, first_row=first_row, rows=rows
    )


def _dataset(
    split: Table,
    batch: Callable[[int], tuple[np.ndarray, Length]],
    first: int,
    last: int,
    size: int,
    first_row: int,
    rows: int,
    features: tf.experimental.Optional | None = None,
) -> tf.data.Dataset:
    if not 0 <= first_row <= first_row + rows <= size:
        raise ValueError(f"rows {first_row} + {rows} of {size}")
    planned, lengths = _planned(split, batch, first, last, size)
    mine, lengths = tf.constant(planned[:, first_row : first_row + rows]), tf.constant(lengths)

    @tf.autograph.experimental.do_not_convert  # which takes most of a second
    def load(step: tf.Tensor) -> Batch:
        place = {STEP: step, ROW_START: tf.constant(first_row, tf.int64)}
        rows = mine[step - first]
        if features is None:
            return split.gather(rows, lengths[step - first]) | place
        held = tf.gather(features.get_value()[FEATURES], tf.maximum(rows, 0))
        return {FEATURES: held, **split.gather_flat(rows), **place}

    dataset = tf.data.Dataset.range(first, last).map(load, num_parallel_calls=2, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    # Nothing here is left to tuning, whose thread can hold up the end of an iterator for a minute.
    options.autotune.enabled = False
    return dataset.prefetch(READ_AHEAD).with_options(options)


def _planned(
    split: Table,
    batch: Callable[[int], tuple[np.ndarray, Length]],
    first: int,
    last: int,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [steps, size] and lengths [steps, A] int64 of the planned batches, filled up with -1."""
    rows = np.full((last - first, size), -1, np.int64)
    lengths = np.zeros((last - first, split.sizes.shape[1]), np.int64)
    for i in range(last - first):
        planned, lengths[i] = batch(first + i)
        if len(planned) > size:
            raise ValueError(f"{len(planned)} rows do not fit in {size} places")
        rows[i, : len(planned)] = planned
    longest = np.where(rows[..., None] < 0, 0, split.sizes[rows]).max(axis=1, initial=0)
    if (longest > lengths).any():
        raise ValueError("a batch is shorter than one of its examples")
    return rows, lengths
