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

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util import tensor_util

from trainer.disk import sync
from trainer.monitor.metrics_log import to_json
from trainer.monitor.records import belongs, is_evaluation
from trainer.monitor.tables import WrongPrediction, confusion_table, wrong_predictions_table

_OURS = re.compile(r"events\.out\.tfevents\.\d{6}")  # a profiler may leave others beside them
_CONFIG = "config"
_BUCKETS = 30


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
        old = sorted(path for path in folder.iterdir() if _OURS.fullmatch(path.name))[-1:]
        temporary = folder / "rewriting.tmp"  # TensorBoard reads only names with "tfevents"
        self._writer = tf.io.TFRecordWriter(str(temporary))
        self._add(Event(file_version="brain.Event:2"))
        for event in _read(old):
            if self._keeps(event):
                self._add(event)
        self._writer.flush()
        sync(temporary)
        # Over the old file, so that there is never a second one; then to a new name, so that a
        # TensorBoard that is watching sees a new file and not one that it has already read.
        generation = 1
        if old:
            generation += int(old[0].suffix[1:])
            temporary = temporary.replace(old[0])
        self._path = temporary.rename(folder / f"events.out.tfevents.{generation:06d}")

    def _keeps(self, event: Event) -> bool:
        tags = [value.tag for value in event.summary.value]
        evaluation = any(map(is_evaluation, tags))
        new = not tags or _CONFIG in tags  # the config is written anew
        return not new and belongs(event.step, evaluation, self._resume_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Points of the curves named by the keys; the part before "/" groups them on the page."""
        self._write(step, [scalar_pb(name, value) for name, value in values.items()])

    def histograms(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Distributions of the finite values of arrays of any shape and float type."""
        self._write(step, [_histogram(name, array) for name, array in arrays.items()])

    def text(self, step: int, name: str, markdown: str) -> None:
        """A text in Markdown."""
        self._write(step, [text_pb(name, markdown)])

    def config(self, config: Mapping[str, Any]) -> None:
        """The settings of the run as it runs now, at step 0; call it once."""
        lines = to_json(config, indent=2).splitlines()
        self._write(0, [text_pb(_CONFIG, "\n".join(f"    {line}" for line in lines))])

    def wrong_predictions(
        self,
        step: int,
        rows: Sequence[WrongPrediction],
        names: Sequence[str],
        split: str = "validation",
    ) -> None:
        """A table of examples of `split` that the model got wrong; `names` are the classes'."""
        self.text(step, f"wrong predictions/{split}", wrong_predictions_table(rows, names))

    def confusion(
        self, step: int, matrix: np.ndarray, names: Sequence[str], split: str = "validation"
    ) -> None:
        """The confusion matrix of `split`, int [C, C], as a table."""
        self.text(step, f"confusion/{split}", confusion_table(matrix, names))

    def flush(self) -> None:
        """Forces every event onto the disk, to outlive the machine."""
        with contextlib.suppress(FileNotFoundError):  # removed by a person: no reason to stop
            sync(self._path)

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._writer.close()

    def _write(self, step: int, summaries: Sequence[Summary]) -> None:
        """One event for all `summaries`, less those that the resumed run has at this step."""
        merged = Summary()
        for summary in summaries:
            for value in summary.value:
                merged.value.add().CopyFrom(value)
        if merged.value:
            self._add(Event(step=step, summary=merged))
            self._writer.flush()

    def _add(self, event: Event) -> None:
        event.wall_time = event.wall_time or time.time()
        self._writer.write(event.SerializeToString())


def _histogram(name: str, array: Any) -> Summary:
    """[buckets, 3] rows of left edge, right edge, count: what TensorBoard's plugin reads."""
    values = np.asarray(array).astype(np.float64).ravel()
    values = values[np.isfinite(values)]
    rows = np.zeros((_BUCKETS, 3))
    if values.size:
        counts, edges = np.histogram(values, bins=_BUCKETS)
        rows = np.stack([edges[:-1], edges[1:], counts], axis=-1)
    summary = Summary()
    summary.value.add(
        tag=name,
        metadata=histogram_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=tensor_util.make_tensor_proto(rows, dtype=np.float64),
    )
    return summary


def _read(paths: Sequence[Path]) -> Iterator[Event]:
    """Every whole event of the files, up to the record that a kill cut short."""
    for path in paths:
        records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        try:
            for record in records:
                yield Event.FromString(record)
        except tf.errors.DataLossError:
            continue
