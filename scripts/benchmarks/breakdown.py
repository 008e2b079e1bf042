"""The parts of a step's time, by TensorFlow's profiler; see speed.py."""

import collections
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich.box
import rich.console
import rich.table
import tensorflow as tf

# What "name:Type" of an operation is counted as; the first that fits.
KINDS = (
    ("compiled chains", r"^ExecutorState::ProcessAsync::Start$"),  # what XLA runs has no other name
    ("norms, residual sums", r"/sums(_\d+)?/"),  # by products with a vector
    ("products of attention", r":_?(Mkl)?BatchMatMul"),
    ("matrix products", r":(_?(Mkl|Fused|MklFused|MklNativeFused)?MatMul|Einsum)$"),
    ("random numbers", r"[Rr]andom"),
    ("optimizer", r"[Aa]dam|update|clip|global_norm"),
    ("rest of attention", r"[Ss]oftmax|/attend|/drop/|of_scores|attention"),
    ("activation", r"/activate/|[Gg]elu|hidden/"),
    ("norms, residual sums", r"norm|/dropout_"),
    ("embeddings", r"embedding|Gather|Unsorted"),
)
OTHER, NOTHING = "other", "none running"
_OPERATION = re.compile(rf"^[\w/.-]+:_?[A-Z]\w+$|{KINDS[0][1]}")


class Event(NamedTuple):
    """An operation on a thread: its start and end in seconds."""

    name: str
    start: float
    end: float


def measure(calls: dict[str, Callable[[], Any]], steps: int) -> None:
    """Prints the milliseconds of a step that each kind of operation takes.

    Args:
      calls: one step each, compiled and warm.
      steps: how many are profiled.
    """
    columns = {}
    for name, call in calls.items():
        with tempfile.TemporaryDirectory() as folder:
            tf.profiler.experimental.start(folder)
            began = time.perf_counter()
            for _ in range(steps):
                call()
            seconds = time.perf_counter() - began
            tf.profiler.experimental.stop()
            columns[name] = by_kind(_threads(Path(folder)), seconds, steps)
    show(columns)


def by_kind(threads: Iterable[Sequence[Event]], seconds: float, steps: int) -> dict[str, float]:
    """Seconds of a step by kind, which sum up to a step.

    Where two operations run at once, each counts half of the time.
    """
    changes = []
    for thread in threads:
        for event, start, end in _innermost(thread):
            changes += [(start, 1, kind_of(event.name)), (end, -1, kind_of(event.name))]
    changes.sort()
    running: collections.Counter[str] = collections.Counter()
    found = dict.fromkeys([*(kind for kind, _ in KINDS), OTHER, NOTHING], 0.0)
    last = changes[0][0] if changes else 0.0
    for at, change, kind in changes:
        count = sum(running.values())
        for each, number in running.items():
            found[each] += (at - last) * number / count if number else 0.0
        running[kind] += change
        last = at
    found = {kind: value / steps for kind, value in found.items()}
    found[NOTHING] = seconds / steps - sum(found.values())
    return found


def kind_of(name: str) -> str:
    """The one of KINDS that an operation, "name:Type", is."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name)), OTHER)


def _innermost(thread: Sequence[Event]) -> list[tuple[Event, float, float]]:
    """The spans of time in which each operation of a thread runs, without those that it calls."""
    spans, stack = [], []
    at = 0.0
    for event in sorted(thread, key=lambda each: (each.start, -each.end)):
        while stack and stack[-1].end <= event.start:
            spans.append((stack[-1], at, stack[-1].end))
            at = stack.pop().end
        if stack:
            spans.append((stack[-1], at, event.start))
        stack.append(event)
        at = event.start
    while stack:
        spans.append((stack[-1], at, stack[-1].end))
        at = stack.pop().end
    return [span for span in spans if span[2] > span[1]]


def _threads(folder: Path) -> list[list[Event]]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    threads = []
    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            if not plane.name.startswith("/host:CPU"):
                continue
            names = {key: value.name for key, value in plane.event_metadata.items()}
            for line in plane.lines:
                events = [
                    Event(names[each.metadata_id], start, start + each.duration_ps * 1e-12)
                    for each in line.events
                    for start in [line.timestamp_ns * 1e-9 + each.offset_ps * 1e-12]
                    if _OPERATION.search(names[each.metadata_id])
                ]
                if events:
                    threads.append(events)
    return threads


def show(columns: dict[str, dict[str, float]]) -> None:
    """Prints a table, a row for each kind."""
    table = rich.table.Table(box=rich.box.MARKDOWN)
    table.add_column("ms a step")
    for name in columns:
        table.add_column(name, justify="right")
    whole = {name: sum(column.values()) for name, column in columns.items()}
    for kind in next(iter(columns.values())):
        cells = [f"{c[kind] * 1e3:,.0f} ({c[kind] / whole[n]:.0%})" for n, c in columns.items()]
        table.add_row(kind, *cells)
    table.add_row("a step", *(f"{seconds * 1e3:,.0f}" for seconds in whole.values()))
    rich.console.Console(width=120).print(table)
