"""The checks of a smoke test, in order. Two processes are busy at a time: this one, and others.

Starting a process and compiling a step take most of the time. So this process, cut into logical
devices once, trains on one of them and on all; what must be a process of its own runs beside it.
"""

import contextlib
import copy
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from thaw.environment import import_tensorflow, without_cpp
from thaw.smoke import Disagreement, runs, settings
from thaw.smoke.table import FAILED, Table
from trainer.config import Experiment

if TYPE_CHECKING:
    from thaw.trained import Trained

DEVICES, WORKERS = 4, 2


def check(config: Experiment, folder: Path, table: Table, programs: runs.Programs) -> None:
    """Makes all checks: a failed one stops only those that need what it did not give.

    Args:
      config: the settings; they are not changed.
      folder: for all that is written, an absolute path; it exists and is empty.
      table: is told of each check.
      programs: that train in processes of their own.

    Raises:
      UserError: a run of this config cannot begin.
    """
    if config.data.source == "tfds":
        _begin(config)  # it reads with TensorFlow, whose devices are set before
    prepared: list[settings.Prepared] = []

    def take() -> str:
        with without_cpp():  # code of the user's own may import TensorFlow
            prepared.append(settings.prepare(config, folder))
        return prepared[0].describe()

    table.make("data", take, needed=True)
    with Smoke(prepared[0], folder, table, programs) as smoke:
        smoke.train()
        smoke.use()
        smoke.workers()


def _begin(config: Experiment) -> None:
    """Cuts this process's CPU into logical devices."""
    import_tensorflow()
    from trainer.runtime import devices

    runtime = copy.copy(config.runtime)
    runtime.cpu_devices, runtime.gpus = DEVICES, ()
    devices.start(runtime, config.seed)


class Smoke:
    """The runs of a smoke test, and what is checked of each; leave it, and no process is left."""

    def __init__(
        self, prepared: settings.Prepared, folder: Path, table: Table, programs: runs.Programs
    ):
        self._folder, self._table, self._config = folder, table, prepared.config
        self._cache = folder / "cache"
        own = prepared.config.runtime.precision
        # Half precision rounds so much that a fault could hide: layouts are compared without it.
        self._precision = own if own == "float64" else "float32"
        self._same = copy.deepcopy(prepared.config)
        self._same.runtime.precision = self._precision
        self._one, self._killed = folder / "one", folder / "killed"
        self._reference = self._one if own == self._precision else folder / self._precision
        self._pool = ThreadPoolExecutor(1)
        self._processes = runs.Processes(programs, prepared, self._cache, folder / "temporary")

    def __enter__(self) -> "Smoke":
        self._being_killed = self._pool.submit(self._processes.kill, self._killed)
        self._being_trained = self._pool.submit(self._train_with_workers)
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.end()
        self._pool.shutdown()

    # Training

    def train(self) -> None:
        """Trains on one device and on several, and goes on with the run that was killed.

        Raises:
          UserError: the config cannot begin.
        """
        _begin(self._config)
        make = self._table.make
        make("train", lambda: self._trained(self._one, self._config), needed=True)
        if self._reference != self._one:
            make(self._precision, lambda: self._trained(self._reference, self._same))
        make(f"{DEVICES} devices", self._on_devices)
        make("resume", self._resumed)

    def _trained(self, workdir: Path, config: Experiment) -> str:
        from thaw.smoke import compare

        runs.train(config, workdir, 1, self._cache)
        return compare.trained(workdir)

    def _on_devices(self) -> str:
        workdir = self._folder / "devices"
        runs.train(self._same, workdir, DEVICES, self._cache)
        return self._agrees(workdir)

    def _agrees(self, workdir: Path) -> str:
        from thaw.smoke import compare

        if not _ended(self._reference):
            raise Disagreement("trained, but the run on one device, to compare with, did not")
        return f"{self._precision}, {compare.agree(self._reference, workdir, self._precision)}"

    def _resumed(self) -> str:
        from thaw.smoke import compare
        from trainer.storage.workdir import Workdir

        self._being_killed.result()
        saved = Workdir(self._killed).checkpoints.steps()
        if not saved:
            raise Disagreement("it was killed, and had saved nothing")
        runs.train(self._config, self._killed, 1, self._cache)
        if not _ended(self._one):
            raise Disagreement("it went on to its end, but the run to compare with did not")
        said = compare.equal(self._one, self._killed)
        return f"killed after step {runs.KILLED_AT}, gone on from step {saved[-1]}: {said}"

    # Several workers

    def _train_with_workers(self) -> float:
        """Trains in other processes; returns the seconds."""
        began = time.perf_counter()
        flag = f"--config.runtime.precision={self._precision}"
        self._processes.train(self._folder / "workers", WORKERS, flag)
        return time.perf_counter() - began

    def workers(self) -> None:
        """Compares the run of several workers, when it has ended."""

        def ended() -> str:
            seconds = self._being_trained.result()
            return (
                f"{self._agrees(self._folder / 'workers')}; trained for {seconds:.0f} s meanwhile"
            )

        self._table.make(f"{WORKERS} workers", ended)

    # Use

    def use(self) -> None:
        """Evaluates, predicts and exports with the first run that has ended."""
        folders = (self._one, self._reference, self._folder / "devices", self._killed)
        workdir = next((each for each in folders if _ended(each)), None)
        if workdir is None:
            for name in ("evaluate", "predict", "export"):
                self._table.tell(name, FAILED, 0.0, "not tried: no run has ended")
            return
        with (
            (self._folder / "use.txt").open("w", encoding="utf-8") as file,
            contextlib.redirect_stderr(file),
        ):
            self._use(workdir)

    def _use(self, workdir: Path) -> None:
        from thaw import trained
        from thaw.smoke import use
        from trainer.trust import packages

        trust, make = packages(self._config), self._table.make
        data = self._config.data
        split = "test" if data.test else "validation"
        with open(data.test or data.validation, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        models: list[Trained] = []

        def predicted() -> str:
            models.append(trained.load(workdir, trust=trust, cpu_devices=1))
            return use.predicted(models[0], rows, split)

        make("evaluate", lambda: use.evaluated(workdir, self._cache, trust))
        make("predict", predicted)
        if models:
            make("export", lambda: use.exported(models[0], rows, self._folder))
        else:
            self._table.tell("export", FAILED, 0.0, "not tried: the model cannot be loaded")


def _ended(workdir: Path) -> bool:
    return (workdir / "result.json").is_file()
