"""Runs of a smoke test: in this process, in others, and in one that is killed."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from thaw import training
from thaw.smoke import Disagreement
from thaw.smoke.settings import SAVED_EVERY, Prepared
from trainer.config import Experiment
from trainer.errors import UserError, one_line
from trainer.monitor.metrics_log import read_records
from trainer.storage.contents import LOG

KILLED_AT = SAVED_EVERY + 1  # the step after which a run is killed: one more than it saved
_POLL_SECONDS = 0.005  # a step of a small model takes as long
_TRIES = 3  # to kill a run in time
_START_SECONDS = 900  # for its first steps, among them the compiling of a large model


def train(config: Experiment, workdir: Path, devices: int, cache_dir: Path) -> None:
    """Trains a run to its end on so many logical CPU devices of this process.

    What it says goes to a file beside the workdir, as does the traceback of a failure.

    Raises:
      UserError: it was refused before it began.
      Disagreement: it began, and could not go on.
    """
    from trainer.storage.workdir import Workdir

    with (
        said_by(workdir).open("a", encoding="utf-8") as file,
        contextlib.redirect_stderr(file),
    ):
        try:
            training.train(config, workdir, cpu_devices=devices, cache_dir=cache_dir)
        except UserError as error:
            if not Workdir(workdir).started:
                raise
            raise Disagreement(str(error)) from error
        except Exception:
            traceback.print_exc()
            raise


def said_by(workdir: Path) -> Path:
    """The file of what a run says."""
    return workdir.with_name(f"{workdir.name}.txt")


class Programs(NamedTuple):
    """The beginnings of two commands, which flags follow.

    Attributes:
      train: trains in a process. local: trains in several.
    """

    train: Sequence[str]
    local: Sequence[str]


class Processes:
    """Programs that train, each a process or more.

    Args:
      programs: their commands.
      prepared: the settings.
      cache_dir: folder of token caches.
      temporary: a new folder for what a killed process leaves behind.
    """

    def __init__(self, programs: Programs, prepared: Prepared, cache_dir: Path, temporary: Path):
        temporary.mkdir()
        self._programs = programs
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)}
        self._flags = [f"--config={prepared.file}", f"--cache_dir={cache_dir}", "--cpu_devices=1"]
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def end(self) -> None:
        """Kills those that run, and any that is started from now on."""
        self._ended = True
        for process in [*self._running]:
            process.kill()

    def kill(self, workdir: Path) -> None:
        """Begins a run, and kills it after step KILLED_AT, which it did not save.

        A run that saved a later step before it was killed is begun anew.

        Raises:
          Disagreement: it ended before, came to no step in time, or was too fast each time.
        """
        from trainer.storage.workdir import Workdir

        for _ in range(_TRIES):
            shutil.rmtree(workdir, ignore_errors=True)
            process = self._start(self._programs.train, self._flags, workdir)
            latest = time.monotonic() + _START_SECONDS
            while process.poll() is None and not _trained(workdir) and time.monotonic() < latest:
                time.sleep(_POLL_SECONDS)
            process.kill()
            status = self._wait(process, workdir, (-signal.SIGKILL, 0))
            if status and not _trained(workdir):
                raise Disagreement(
                    f"no step {KILLED_AT} after {_START_SECONDS} s: {last_words(said_by(workdir))}"
                )
            saved = Workdir(workdir).checkpoints.steps()
            if status and max(saved, default=0) < KILLED_AT:
                return
        raise Disagreement(f"it saved after step {KILLED_AT} before it was killed, {_TRIES} times")

    def train(self, workdir: Path, workers: int, *flags: str) -> None:
        """Trains a run to its end with several workers.

        Raises:
          Disagreement: it did not come there.
        """
        local = [f"--workers={workers}", "--max_restarts=0", "--", *self._flags, *flags]
        self._wait(self._start(self._programs.local, local, workdir), workdir, (0,))

    def _start(
        self, program: Sequence[str], flags: Sequence[str], workdir: Path
    ) -> subprocess.Popen[bytes]:
        command = [*program, *flags, f"--workdir={workdir}"]
        with said_by(workdir).open("ab") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self._environment,
            )
        self._running.add(process)
        if self._ended:  # meanwhile
            process.kill()
        return process

    def _wait(
        self, process: subprocess.Popen[bytes], workdir: Path, expected: Collection[int]
    ) -> int:
        status = process.wait()
        self._running.discard(process)
        if status not in expected:
            what = "ended before it was killed" if any(expected) else "did not train to its end"
            raise Disagreement(f"{what}, with status {status}: {last_words(said_by(workdir))}")
        return status


def _trained(workdir: Path) -> bool:
    """True if a run has logged the step after which it is to be killed."""
    log = workdir / LOG
    if not log.exists():
        return False
    records = read_records(log, lambda _: None)
    return any(each["step"] >= KILLED_AT and "train/loss" in each for _, each in records)


def last_words(path: Path) -> str:
    """The line in which a program says what is wrong, or the last one it said."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip()]
    errors = [line for line in said if re.match(r"(\[\d+\] )?error: ", line)]
    return one_line((errors or said or ["it said nothing"])[-1])
