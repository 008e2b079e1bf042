"""The one object that the loop tells what happens. It reads, and never steers."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import tensorflow as tf

from trainer.config import Experiment, defining, to_dict
from trainer.errors import UserError
from trainer.evaluation.report import Report
from trainer.monitor.console import Console
from trainer.monitor.figures import Attention
from trainer.monitor.memory import Memory
from trainer.monitor.metrics_log import MetricsLog
from trainer.monitor.profile import Profile
from trainer.monitor.projector import Vectors
from trainer.monitor.tensorboard import TensorBoard
from trainer.monitor.throughput import Throughput
from trainer.monitor.versions import versions
from trainer.storage import sealed
from trainer.storage.contents import LOG
from trainer.tasks.task import Task


class Monitor:
    """Console, metrics.jsonl, TensorBoard and result.json of a run.

    On workers that are not the chief (`writes=False`) it measures and writes nothing.
    """

    def __init__(
        self,
        workdir: Path,
        config: Experiment,
        task: Task,
        resume_step: int,
        total_steps: int,
        began: float | None = None,
        writes: bool = True,
        stream: TextIO | None = None,
    ):
        """Opens the logs of `workdir`, less what the resumed run will write again.

        Args:
          workdir: the run's folder; it exists.
          config: the settings.
          task: bound to what it learned of the data.
          resume_step: the step of the checkpoint that the run goes on from; 0 for a new run.
          total_steps: of all phases, for the progress shown.
          began: time.perf_counter() when the program started; None: now.
          writes: False on all workers but the chief.
          stream: where the console is; None: standard error.
        """
        self.throughput = Throughput()
        self.profile = Profile(
            workdir / "tensorboard", config.runtime.profile_steps if writes else ()
        )
        self._workdir = workdir
        self._writes = writes
        self._began = time.perf_counter() if began is None else began
        self._earlier_seconds = 0.0
        if not writes:
            return
        with self._disk():
            self._log = MetricsLog(workdir / LOG, resume_step)
            self._earlier_seconds = self._log.wall_seconds
            self._board = TensorBoard(workdir / "tensorboard", resume_step)
            self._board.begin(to_dict(config), defining(config), task)
        self._memory = Memory()
        self._console = Console(total_steps, resume_step, stream)

    @property
    def wall_seconds(self) -> float:
        """Wall time of the run up to now: that of this process and what the log says of earlier."""
        return self._earlier_seconds + time.perf_counter() - self._began

    def training(
        self, step: int, phase_name: str, phase_index: int, values: Mapping[str, float]
    ) -> None:
        """Logs `values` ("train/loss", "train/learning_rate", ...) with the throughput and phase.

        The throughput is that since the last call.
        """
        if not self._writes:
            return
        rates = self.throughput.read()
        with self.throughput.part("logging"):
            values = {**values, "train/phase": phase_index, **rates, **self._memory.read()}
            self._record(step, values)
            self._console.training(step, phase_name, values, self.throughput.pace)

    @contextlib.contextmanager
    def compiling(self, phase_name: str, what: str) -> Iterator[None]:
        """Charges the time in this context to the compilation of a step, and says so."""
        with self.throughput.part("compile"):
            if self._writes:
                self._console.compiling(phase_name, what)
            yield

    def reached(self, step: int, phase_name: str) -> None:
        """Shows that the steps up to this one are done."""
        if self._writes:
            self._console.reached(step, phase_name)

    def shortened(self, total_steps: int) -> None:
        """A phase has ended early: tells the step at which the run will end."""
        if self._writes:
            self._console.shortened(total_steps)

    def evaluation(
        self,
        step: int,
        report: Report,
        best_step: int | None = None,
        attention: Sequence[Attention] = (),
    ) -> None:
        """Logs an evaluation: metrics as "validation/accuracy" and so on, the rest to look at.

        Args:
          step: the step whose weights were scored.
          report: of the split.
          best_step: of the best weights up to now.
          attention: where the model looks in some of its texts.
        """
        if not self._writes:
            return
        with self.throughput.part("logging"):
            split, metrics = report.split, report.metrics
            self._record(step, {f"{split}/{key}": value for key, value in metrics.items()})
            with self._disk():
                self._board.evaluation(step, report, attention)
            self._console.evaluation(step, split, metrics, best_step)

    def vectors(self, split: str, vectors: Vectors | None) -> None:
        """Pooled vectors of texts, for the embedding projector."""
        if self._writes and vectors:
            with self._disk():
                self._board.projector(split, vectors)

    def _record(self, step: int, values: Mapping[str, float]) -> None:
        with self._disk():
            self._board.scalars(step, values)
            self._log.write(step, {**values, "wall_seconds": self.wall_seconds})

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Says in one line that the disk is full, or whatever else stops it from writing."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            said = " ".join(str(error).split())
            raise UserError(
                f"cannot write the logs in {self._workdir}: {said}; when that is mended, the same"
                " command goes on from the last checkpoint"
            ) from error

    def histograms(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Distributions of parameters or gradients, by name."""
        if self._writes:
            with self._disk():
                self._board.histograms(step, arrays)

    def message(self, text: str) -> None:
        """Says something to the person who watches."""
        if self._writes:
            self._console.message(text)

    def summary(self, ended: Sequence[tuple[str, str]], follows: Sequence[tuple[str, str]]) -> None:
        """Tells how the run ended and where its time went, and the commands that can follow."""
        self.throughput.read()  # what came after the last point of the log counts too
        if self._writes:
            spent = {name: seconds for name, seconds in self.throughput.totals.items() if seconds}
            total = time.perf_counter() - self._began
            spent = {"start": total - sum(spent.values()), **spent}
            shares = ", ".join(f"{name} {each / total:.1%}" for name, each in spent.items())
            self._console.summary([*ended, ("Time", f"{total:.0f} s: {shares}"), *follows])

    def flush(self) -> None:
        """Forces the logs onto the disk; before a save, so that no checkpoint outlives its log."""
        if self._writes:
            with self.throughput.part("logging"), self._disk():
                self._log.flush()
                self._board.flush()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes result.json, whole or not at all.

        Wall time and versions are added to it, and to `result["sha256"]` that of metrics.jsonl.
        """
        self.throughput.read()
        if self._writes:
            seconds = {name: round(each, 3) for name, each in self.throughput.totals.items()}
            whole = {**result, "wall_seconds": self.wall_seconds, "seconds": seconds}
            whole["versions"] = versions()
            metrics = {
                f"{split}/{key}": value
                for split, of in [
                    ("validation", result.get("validation", {})),
                    ("test", result.get("test", {})),
                    *result.get("more_tests", {}).items(),
                ]
                for key, value in of.items()
            }
            with self._disk():
                self._board.end(result["steps"], metrics)
                whole["sha256"] = {**result["sha256"], LOG: self._log.sha256()}
                sealed.write(self._workdir / "result.json", whole)

    def close(self) -> None:
        """Closes what is open. May be called twice."""
        self.profile.close()
        if self._writes:
            self._console.close()
            with self._disk():
                self._log.close()
                self._board.close()
