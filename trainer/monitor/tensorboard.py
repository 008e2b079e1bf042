"""TensorBoard event files without doubled points, however often the run was killed.

All events of a run are in one file. A resumed run copies those that belong to it into a new file,
which takes the old one's place in one rename, and goes on writing to it. Events are written as
records here, not with tf.summary: the open file can then be renamed, a flush is done when it
returns, and a histogram takes no device and no one-hot matrix.
"""

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from trainer import drawing
from trainer.evaluation.report import Report
from trainer.monitor import figures, plugins, projector, tables
from trainer.monitor.records import belongs, is_evaluation
from trainer.storage.disk import sync
from trainer.storage.paths import real
from trainer.storage.plain import to_json
from trainer.tasks.shown import LARGE, Bars, Curve, Marked, Note, Points, Shown, Table
from trainer.tasks.task import Task

_OURS = re.compile(r"events\.out\.tfevents\.\d{6}")  # a profiler may leave others beside them
_LENGTH, _AROUND = 8, 16  # bytes of a record's length, and of all around it: two checksums too
_CONFIG = "config"
# What every start, or end, of a run writes anew: the config, its HParams session, the layout.
_ANEW = (_CONFIG, "_hparams_/", "custom_scalars__config__")


class TensorBoard:
    """Writes one run's events under `folder`; methods hand them to the system at once."""

    def __init__(self, folder: Path, resume_step: int):
        """Opens the run's event file, and first drops what a run resumed here will write again.

        Args:
          folder: where the event file is or will be.
          resume_step: the step of the checkpoint that the run goes on from; 0 for a new run.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._resume_step = resume_step
        ours = (path for path in folder.iterdir() if _OURS.fullmatch(path.name))
        old = max(ours, default=None)
        temporary = folder / "rewriting.tmp"  # TensorBoard reads only names with "tfevents"
        temporary.unlink(missing_ok=True)  # of a run that was killed; or a link to somewhere else
        self._writer = tf.io.TFRecordWriter(str(temporary))
        self._add(Event(file_version="brain.Event:2"))
        for event in _read(old) if old else ():
            if self._keeps(event):
                self._add(event)
        self._writer.flush()
        sync(temporary)
        # Over the old file, so that there is never a second one; then to a new name, so that a
        # TensorBoard that is watching sees a new file and not one that it has already read.
        generation = 1
        if old:
            generation += int(old.suffix[1:])
            temporary = temporary.replace(old)
        self._path = temporary.rename(folder / f"events.out.tfevents.{generation:06d}")

    def _keeps(self, event: Event) -> bool:
        tags = [value.tag for value in event.summary.value]
        evaluation = any(map(is_evaluation, tags))
        new = not tags or any(tag.startswith(_ANEW) for tag in tags)
        return not new and belongs(event.step, evaluation, self._resume_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Points of the curves named by the keys; the part before "/" groups them on the page."""
        self._write(step, [scalar_pb(name, value) for name, value in values.items()])

    def histograms(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Distributions of the finite values of arrays of any shape and float type."""
        self._write(step, [plugins.histogram(name, array) for name, array in arrays.items()])

    def begin(
        self,
        config: Mapping[str, Any],
        settings: Mapping[str, bool | float | str],
        task: Task,
    ) -> None:
        """Writes the run's settings, at step 0; call it once.

        Args:
          config: all settings as it runs now, for the text page.
          settings: those that define the run, by name, for the HParams page.
          task: has the metrics, a chart each.
        """
        lines = to_json(config, indent=2).splitlines()
        run = "/".join(real(self._path).parts[-4:-2])  # its folder, and what that is in
        text = text_pb(_CONFIG, "\n".join(f"    {line}" for line in lines))
        layout = plugins.layout(task.metric_names(), task.group, task.group_metrics)
        self._write(0, [text, plugins.session_start(run, settings), layout])

    def end(self, step: int, metrics: Mapping[str, float]) -> None:
        """The run has ended; `metrics` of its best weights are what the HParams page compares."""
        values = [scalar_pb(f"final/{name}", value) for name, value in metrics.items()]
        self._write(step, [*values, plugins.session_end()])

    def evaluation(
        self, step: int, report: Report, attention: Sequence[figures.Attention] = ()
    ) -> None:
        """All that is shown of an evaluation besides its metrics."""
        title = f"{report.split} after step {step:,}"
        summaries = [each for shown in report.shown for each in _drawn(report.split, shown, title)]
        summaries += self._of_groups(report)
        for i, seen in enumerate(attention):
            name = f"attention/{report.split} text {i}"
            summaries.append(plugins.image(name, figures.attention(seen)))
        self._write(step, summaries)

    def _of_groups(self, report: Report) -> list[Summary]:
        """Points of the curves of the most frequent groups, and a word on the others."""
        split, groups = report.split, report.groups
        shown = list(groups)[:LARGE]
        found = [
            scalar_pb(plugins.group_tag(split, name, group), groups[group][name])
            for group in shown
            for name in report.group_metrics
        ]
        if len(shown) < len(groups):
            said = (
                f"The {len(shown)} most frequent of {len(groups):,} have curves:"
                f" {', '.join(shown)}. launch.evaluate prints the metrics of all."
            )
            found.append(text_pb(f"evaluation/{split} curves", tables.escape(said, 10_000)))
        return found

    def projector(self, name: str, vectors: projector.Vectors) -> None:
        """Vectors of texts for the embedding projector; the last ones of a name are kept."""
        projector.write(self._path.parent, name, vectors)

    def flush(self) -> None:
        """Forces every event onto the disk, to outlive the machine."""
        with contextlib.suppress(FileNotFoundError):  # removed by a person: no reason to stop
            sync(self._path)

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._writer.close()

    def _write(self, step: int, summaries: Sequence[Summary]) -> None:
        """One event for all `summaries`; none where there are none."""
        merged = Summary()
        for summary in summaries:  # some plugins make TensorFlow's own kind of message
            merged.MergeFromString(summary.SerializeToString())
        if merged.value:
            self._add(Event(step=step, summary=merged))
            self._writer.flush()

    def _add(self, event: Event) -> None:
        event.wall_time = event.wall_time or time.time()
        self._writer.write(event.SerializeToString())


def _drawn(split: str, shown: Shown, when: str) -> list[Summary]:
    """Its summaries, one or more: text, curves, pictures."""
    name, title = f"evaluation/{split} {shown.name}", f"{when}: {shown.name}"
    if isinstance(shown, Note):
        return [text_pb(name, tables.escape(shown.text, 10_000))]
    if isinstance(shown, Table):
        return [text_pb(name, tables.table(shown))]
    if isinstance(shown, Marked):
        return [text_pb(name, tables.marked(shown))]
    if isinstance(shown, Curve):
        return [plugins.pr_curve(split, shown)]
    with drawing.styled():
        if isinstance(shown, Bars):
            picture = drawing.png(drawing.bars(shown, f"{when}: {shown.title}"))
            return [plugins.image(name, picture)]
        if isinstance(shown, Points):
            return [plugins.image(name, drawing.png(drawing.points(shown, title)))]
        found = [text_pb(name, tables.matrix(shown))]
        if not shown.large:
            picture = drawing.png(drawing.matrix(shown, title))
            found.append(plugins.image(f"{name} matrix", picture))
    return found


def _read(path: Path) -> Iterator[Event]:
    """Every whole event of the file, up to the record that a kill cut short.

    A record that is no event is passed over with a warning, as a line of metrics.jsonl is: the file
    is for people to look at, and no reason not to train.
    """
    with contextlib.suppress(tf.errors.DataLossError):
        records = tf.data.TFRecordDataset(str(path)).take(_count_whole(path))
        for number, record in enumerate(records.as_numpy_iterator(), start=1):
            try:
                yield Event.FromString(record)
            except DecodeError:
                logging.warning("%s: dropped record %d, which is no event", path, number)


def _count_whole(path: Path) -> int:
    """The number of records that end within the file, by the lengths that stand before each.

    TensorFlow makes room for a length before it reads, and ends the process where there is none.
    """
    count, at, size = 0, 0, path.stat().st_size
    with path.open("rb") as file:
        while length := file.read(_LENGTH):
            at += int.from_bytes(length, "little") + _AROUND
            if at > size:
                break
            file.seek(at)
            count += 1
    return count
