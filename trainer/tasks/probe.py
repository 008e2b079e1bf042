"""A task tried on a few rows before the first step, so that what is wrong is said at once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.batch import ID
from trainer.data.table import Table
from trainer.errors import UserError, shown
from trainer.imports import blamed_on
from trainer.models.random import random_scope
from trainer.tasks.task import ANSWERS, Gold, Scores, Task, class_path

_NUMBERS = (int, float, np.integer, np.floating)
_ROWS = 16  # so many that a metric such as an AUC is defined on them


def check(task: Task, model: keras.Model, table: Table, metric: str, most: int = _ROWS) -> None:
    """Tries a task of the user's own on rows from all over a table; this library's are known.

    Behind these rows stands one of padding.

    Args:
      task: of a run.
      model: gives its outputs.
      table: of training.
      metric: chooses the best weights.
      most: rows that a device takes at once.

    Raises:
      UserError: it raises an error, or returns what has other names or shapes than it should.
    """
    path = class_path(task)
    if path.partition(".")[0] == __name__.partition(".")[0]:
        return
    rows = np.linspace(0, len(table) - 1, min(_ROWS, most, len(table))).astype(np.int64)
    count, length = len(rows), int(table.lengths[rows].max())
    batch = table.gather(tf.constant([*rows, -1], tf.int64), table.longest(rows))
    ids = batch.pop(ID)  # which the step has not

    @tf.function(autograph=False)  # as the step calls it
    def run(batch):
        zero = tf.zeros([], tf.int64)
        with random_scope(0, zero, zero):
            prepared = task.prepare(dict(batch), training=True)
        inputs = {name: prepared[name] for name in task.inputs}
        outputs = model(inputs, training=False)
        losses, weights = task.losses(prepared, outputs), task.weights(prepared)
        evaluated = task.measures(prepared, outputs), task.written(model, {**prepared, ID: ids})
        return losses, weights, task.answers(inputs, outputs), *evaluated

    def unknown(value: tf.Tensor) -> tf.TensorSpec:  # as evaluation knows it
        shape = [None, *(None if size == length else size for size in value.shape[1:])]
        return tf.TensorSpec(shape, value.dtype)

    with blamed_on(path, "config.task"):
        traced = run.get_concrete_function({n: unknown(each) for n, each in batch.items()})
        losses, weights, answers, measures, written = traced(batch)
    where = f"config.task={path!r}"
    for method, values in (("losses", losses), ("weights", weights), ("answers", answers)):
        if not isinstance(values, dict) or not all(map(tf.is_tensor, values.values())):
            raise UserError(f"{where}: {method} must return tensors by name, a dict")
    if not losses or losses.keys() != weights.keys():
        raise UserError(
            f"{where}: losses has the names {_names(losses)}, weights {_names(weights)}: give both"
            " the same names"
        )
    given, real = count + 1, np.arange(length) < table.lengths[rows][:, None]
    for name, loss in losses.items():
        weight = weights[name]
        if loss.shape.rank not in (1, 2) or loss.shape[0] != given or weight.shape != loss.shape:
            raise UserError(
                f"{where}: losses[{name!r}] has shape {loss.shape}, weights[{name!r}]"
                f" {weight.shape}, for {given} rows of {length} tokens: both must be"
                f" [{given}] or [{given}, {length}]"
            )
        if not loss.dtype.is_floating:
            raise UserError(f"{where}: losses[{name!r}] is {loss.dtype.name}: it must be a float")
        if weight.dtype == tf.bool:
            raise UserError(f"{where}: weights[{name!r}] is bool: make it a float")
        padding = np.ones(weight.shape, bool)
        padding[:count] = ~real if weight.shape[1:] == [length] else False
        if weight.numpy()[padding].any():
            raise UserError(
                f"{where}: weights[{name!r}] is not 0 at padding: multiply it by batch['weight'],"
                " which is 0 in rows of padding, and by the attention mask where it is of tokens"
            )
    for name, answer in answers.items():
        if answer.shape[:1] != [given]:
            raise UserError(
                f"{where}: answers[{name!r}] has shape {answer.shape} for {given} rows: its first"
                f" axis must be {given}"
            )
        known = traced.structured_outputs[2][name].shape
        axes = [i for i in range(1, known.rank or 0) if known[i] is None]
        if len(axes) > 1 or any(answer.shape[i] != length for i in axes):
            raise UserError(
                f"{where}: answers[{name!r}] has shape {known}: an axis of unknown length must be"
                " that of the tokens, and there may be one: give others a fixed length"
            )
        if answer.shape.rank > 3:
            raise UserError(f"{where}: answers[{name!r}] has shape {answer.shape}: at most 3 axes")
        if not answer.dtype.is_floating and answer.dtype.name not in ANSWERS:
            raise UserError(
                f"{where}: answers[{name!r}] is {answer.dtype.name}: make it a float, or"
                f" {', '.join(ANSWERS)}"
            )
    scores = Scores(
        {n: _sums(tf.cast(weights[n], loss.dtype) * loss)[:count] for n, loss in losses.items()},
        {name: _sums(weight)[:count] for name, weight in weights.items()},
        {name: answer.numpy()[:count] for name, answer in {**answers, **written}.items()},
        {name: _sums(measure)[:count] for name, measure in measures.items()},
    )
    _check_judgement(task, table.gold_of(rows), scores, metric)


def _check_judgement(task: Task, gold: Gold, scores: Scores, metric: str) -> None:
    path, count = class_path(task), len(np.unique(gold["rows"]))
    with blamed_on(path, "config.task"):
        right = task.correct(gold, scores)
    if right is not None and not _is(right, "b", (count,)):
        raise UserError(
            f"config.task={path!r}: correct returned {_kind(right)}: it must be bool [{count}]"
        )
    with blamed_on(path, "config.task"):
        metrics, worst = task.judge(gold, scores), task.mistakes(gold, scores)
    if not isinstance(metrics, dict):
        raise UserError(f"config.task={path!r}: judge must return metrics by name, a dict")
    for name in ("loss", "examples"):
        if name not in metrics:
            raise UserError(f"config.task={path!r}: judge gives no {name!r}, which is always shown")
    if metric not in metrics:
        raise UserError(
            f"config.task={path!r}: judge gives {_names(metrics)}, not {metric!r}, which chooses"
            " the best weights: give NaN where a set does not define it"
        )
    wrong = [name for name, value in metrics.items() if not _is_number(value)]
    if wrong or not isinstance(metrics["examples"], (int, np.integer)):
        name = wrong[0] if wrong else "examples"
        kind = "a whole number" if name == "examples" else "a number"
        raise UserError(
            f"config.task={path!r}: judge gives {_kind(metrics[name])} as {name!r}: give {kind}"
        )
    _check_groups(task, gold, scores)
    if not _is(worst, "i", np.shape(worst)[:1]):
        raise UserError(f"config.task={path!r}: mistakes must return places of rows, int [K]")


def _check_groups(task: Task, gold: Gold, scores: Scores) -> None:
    if not task.group:
        return
    path, names = class_path(task), {*task.group_metrics, "support"}
    with blamed_on(path, "config.task"):
        groups = task.judge_groups(gold, scores)

    def fits(name: Any, metrics: Any) -> bool:
        whole = isinstance(name, str) and isinstance(metrics, dict) and names <= metrics.keys()
        return whole and all(map(_is_number, metrics.values()))

    wrong = [_kind(groups)]
    if isinstance(groups, dict):
        wrong = [shown(name) for name, metrics in groups.items() if not fits(name, metrics)]
    if wrong:
        raise UserError(
            f"config.task={path!r}: judge_groups must give {', '.join(sorted(names))} of each"
            f" {task.group}: it gives {wrong[0]}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def _is(values: Any, kind: str, shape: tuple[int, ...]) -> bool:
    """True for an array of that kind and shape."""
    return isinstance(values, np.ndarray) and (values.dtype.kind, values.shape) == (kind, shape)


def _kind(values: Any) -> str:
    """The type of what was returned, and its shape, for a message."""
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {values.shape}"
    return f"a {type(values).__name__}"


def _sums(values: tf.Tensor) -> np.ndarray:
    return tf.reduce_sum(tf.reshape(values, [values.shape[0], -1]), 1).numpy()


def _names(of: dict[str, Any]) -> str:
    return ", ".join(map(repr, of)) or "none"
