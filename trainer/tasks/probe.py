"""A task tried on two rows before the first step, so that what is wrong with it is said at once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data.table import Table
from trainer.errors import UserError
from trainer.imports import blamed_on
from trainer.models.random import random_scope
from trainer.tasks.task import INPUTS, Scores, Task, class_path

_ROWS = 2


def check(task: Task, model: keras.Model, table: Table, metric: str) -> None:
    """Tries a task of the user's own on the first rows of a table; this library's are known.

    Args:
      task: of a run.
      model: gives its outputs.
      table: of training.
      metric: chooses the best weights.

    Raises:
      UserError: it raises an error, or returns what has other names or shapes than it should.
    """
    path = class_path(task)
    if path.partition(".")[0] == __name__.partition(".")[0]:
        return
    rows = np.arange(min(_ROWS, len(table)))
    length = int(table.lengths[rows].max())
    batch = table.gather(tf.constant(rows, tf.int64), length)

    @tf.function(autograph=False)  # as the step calls it
    def run(batch):
        zero = tf.zeros([], tf.int64)
        with random_scope(0, zero, zero):
            prepared = task.prepare(batch)
        outputs = model({name: prepared[name] for name in INPUTS}, training=False)
        losses, weights = task.losses(prepared, outputs), task.weights(prepared)
        return losses, weights, task.answers(batch, outputs)

    with blamed_on(path, "config.task"):
        losses, weights, answers = run(batch)
    where = f"config.task={path!r}"
    if not losses or losses.keys() != weights.keys():
        raise UserError(
            f"{where}: losses has the names {_names(losses)}, weights {_names(weights)}: give both"
            " the same names"
        )
    count = len(rows)
    for name, loss in losses.items():
        if loss.shape not in ([count], [count, length]) or weights[name].shape != loss.shape:
            raise UserError(
                f"{where}: losses[{name!r}] has shape {loss.shape}, weights[{name!r}]"
                f" {weights[name].shape}, for {count} rows of {length} tokens: both must be"
                f" [{count}] or [{count}, {length}]"
            )
    for name, answer in answers.items():
        if answer.shape[:1] != [count]:
            raise UserError(
                f"{where}: answers[{name!r}] has shape {answer.shape} for {count} rows: its first"
                f" axis must be {count}"
            )
    scores = Scores(
        {name: _sums(weights[name] * loss) for name, loss in losses.items()},
        {name: _sums(weight) for name, weight in weights.items()},
        {name: answer.numpy() for name, answer in answers.items()},
    )
    _check_judgement(task, table.gold_of(rows), scores, metric)


def _check_judgement(task: Task, gold: dict[str, np.ndarray], scores: Scores, metric: str) -> None:
    path, count = class_path(task), len(gold["rows"])
    with blamed_on(path, "config.task"):
        metrics = task.judge(gold, scores)
        right, worst = task.correct(gold, scores), task.mistakes(gold, scores)
    for name in ("loss", "examples"):
        if name not in metrics:
            raise UserError(f"config.task={path!r}: judge gives no {name!r}, which is always shown")
    if metric not in metrics:
        raise UserError(
            f"config.task={path!r}: judge gives {_names(metrics)}, not {metric!r}, which chooses"
            " the best weights"
        )
    if right is not None and (right.shape != (count,) or right.dtype != bool):
        raise UserError(
            f"config.task={path!r}: correct returned {right.dtype} of shape {right.shape}: it must"
            f" be bool [{count}]"
        )
    if worst.ndim != 1 or worst.dtype.kind != "i":
        raise UserError(f"config.task={path!r}: mistakes must return places of rows, int [K]")


def _sums(values: tf.Tensor) -> np.ndarray:
    return tf.reduce_sum(tf.reshape(values, [values.shape[0], -1]), 1).numpy()


def _names(of: dict[str, Any]) -> str:
    return ", ".join(map(repr, of)) or "none"
