"""The speed of our step beside one written by hand; see speed.py."""

import csv
import datetime
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from scripts.benchmarks import breakdown, machine
from scripts.benchmarks.synthetic import Shape, training
from scripts.benchmarks.systems.bare import Bert, train_step
from scripts.benchmarks.systems.common import products
from trainer import config as config_lib
from trainer.runtime import devices, processor

LEAST = 1.2  # times the steps of the bare loop
COLUMNS = (
    *("date", "commit", "processor", "precision", "rows", "length"),
    *("ratio", "lowest", "highest", "mfu", "bare_mfu", "gigaflops"),  # of the best product
)


def measure(shape: Shape, rounds: int, precision: str, xla: str, record: Path | None) -> int:
    """Prints the ratio of every round and their median; returns 1 if it is below LEAST, else 0.

    Args:
      shape: of the model and the batch.
      rounds: ratios to take.
      precision, xla: of config.runtime; the bare step has the precision too.
      record: a .csv file that a line is added to.
    """
    step, batches = _ours(shape, precision, xla)
    bare, tensors = _bare(shape, next(batches))
    product = products(tf)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: step.run(batches, tf.constant(1), tf.constant(False)).metrics.numpy(),
        lambda: bare(*tensors).numpy(),
    )
    for call in calls:  # compiled, and warm
        call()
    print("             ms: ours          bare     ratio")
    rows, best = [], 0.0
    for number in range(rounds):
        seconds = []
        for call in calls:
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
        rows.append(seconds)
        best = max(best, machine.product_rate(product))
        ours, theirs = seconds
        print(f"round {number + 1:3} {ours * 1e3:12.1f} {theirs * 1e3:13.1f} {theirs / ours:9.2f}")
    return report(shape, precision, rows, best, record)


def break_down(shape: Shape, steps: int, precision: str) -> None:
    """Prints where the time of the bare step and of ours, plain and compiled, goes."""
    calls = {}
    for xla in ("off", "chains"):
        step, batches = _ours(shape, precision, xla)

        def call(step: Any = step, batches: Any = batches) -> Any:
            return step.run(batches, tf.constant(1), tf.constant(False)).metrics.numpy()

        calls[f"xla={xla}"] = call
    bare, tensors = _bare(shape, next(batches))
    calls = {"bare": lambda: bare(*tensors).numpy(), **calls}
    for call in [*calls.values()] * 2:  # compiled, and warm
        call()
    breakdown.measure(calls, steps)


def _ours(shape: Shape, precision: str, xla: str) -> tuple[Any, Any]:
    config = config_lib.Experiment(phases=[config_lib.Phase(steps=10**6, learning_rate=1e-5)])
    config.runtime.precision, config.runtime.xla = precision, xla
    config.runtime.deterministic = False  # which would hold for the bare step too
    config.model.head_width, config.model.attention_dropout = shape.width, 0.1
    config.model.dropout = config.model.embedding_dropout = config.model.head_dropout = 0.1
    return training(config, shape, devices.start(config.runtime, 0))


def _bare(shape: Shape, batch: Any) -> tuple[Any, list[tf.Tensor]]:
    bare = train_step(Bert(shape), keras.optimizers.AdamW(1e-5, weight_decay=0.01))
    return bare, [tf.constant(batch[key]) for key in ("input_ids", "attention_mask", "label")]


def report(
    shape: Shape,
    precision: str,
    rows: Sequence[Sequence[float]],
    best: float,
    record: Path | None,
) -> int:
    """Prints what rows of seconds (ours, bare) and the best product rate say; the exit status."""
    ratios = [theirs / ours for ours, theirs in rows]
    ours, bare = (
        shape.floating_point_operations() / statistics.median(column) / best
        for column in list(zip(*rows, strict=True))
    )
    median = statistics.median(ratios)
    print(
        f"{shape.rows} rows of {shape.length} tokens in {precision}: median {median:.2f}, lowest"
        f" {min(ratios):.2f}, highest {max(ratios):.2f} times the bare step; MFU {ours:.3f}, of the"
        f" bare step {bare:.3f}, of {best / 1e9:.0f} GFLOP/s"
    )
    print(f"{'holds' if median >= LEAST else 'does not hold'}: at least {LEAST} times")
    if record:
        new = not record.exists()
        values = (f"{v:.3f}" for v in (median, min(ratios), max(ratios), ours, bare))
        with record.open("a", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            if new:
                table.writerow(COLUMNS)
            today = datetime.date.today().isoformat()
            where = [today, _commit(), processor.name(), precision]
            table.writerow([*where, shape.rows, shape.length, *values, f"{best / 1e9:.0f}"])
    return int(median < LEAST)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
