"""Training in this process: a run is assembled, and trained to its end.

`launch.train` is made of `assemble` and `finish`, with its flags, its signals and its workers.
"""

import contextlib
import copy
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from thaw import commands, environment
from thaw.console import say, stream
from trainer.config import Experiment, expand_paths, shared_fields, validate, without_effect
from trainer.errors import Interrupted, UserError, in_one_line
from trainer.runtime.workers import Workers
from trainer.storage.paths import local

if TYPE_CHECKING:
    from trainer.loop import Loop
    from trainer.storage.workdir import Workdir

START_SECONDS = 300.0  # how long workers wait for each other
Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """The end of a run.

    Attributes:
      workdir: its folder.
      validation: metrics of the best weights by name ("accuracy"), and "examples"; NaN where the
        set does not define one; empty where there is no such set.
      test: likewise of the test set; empty where there is none.
      groups: precision, recall, f1 and support of each label, or type of entity, by the set's name
        and its own: `groups["test"]["spam"]["f1"]`. Empty where the task has no such groups; of
        very many labels the most frequent.
      step: of the best weights. steps: how many were trained.
      seconds: wall time of the run, all its starts together.
      values: everything that result.json holds, with None for NaN.
    """

    workdir: Path
    validation: Mapping[str, float]
    test: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, float]]]
    step: int
    steps: int
    seconds: float
    values: Mapping[str, Any]


def train(
    config: Experiment,
    workdir: str | os.PathLike[str],
    *,
    cpu_devices: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Result:
    """Trains a run to its end, or goes on with the one in the folder.

    It trains on all GPUs of this machine, or on `config.runtime.gpus`. Interrupted by Ctrl-C or the
    button of a notebook, it saves after the present step: the same call goes on from there, in
    this process or another.

    Args:
      config: the settings; they are not changed.
      workdir: folder of the run: a new one, or that of a run with the same settings.
      cpu_devices: logical CPU devices to train on instead of GPUs; 0: none.
      cache_dir: folder of token caches; None: ~/.cache/thaw.

    Returns:
      The metrics, and where everything else lies.

    Raises:
      UserError: a setting, a file or the folder cannot be used; what to do about it.
      Interrupted: it was interrupted, and has saved.
    """
    began = time.perf_counter()
    folder = local(os.fspath(workdir), "the workdir")
    config = copy.deepcopy(config)
    if cpu_devices:
        config.runtime.cpu_devices = cpu_devices
    cache = local(os.fspath(cache_dir), "cache_dir") if cache_dir else environment.cache_dir()
    environment.import_tensorflow()
    from trainer.loop import NotFinite
    from trainer.storage.workdir import NotYet, Workdir

    run_in = Workdir(folder)
    try:
        loop = assemble(config, run_in, Workers(), cache_dir=cache, say=say)
        if loop:
            with _interrupts() as stop:
                finish(loop, stop=stop, began=began, hung=None, hints=_hints)
        return result_of(run_in)
    except Interrupted as error:
        raise Interrupted(f"saved in {folder}: the same call goes on from there") from error
    except (NotFinite, NotYet) as error:
        raise UserError(str(error)) from error
    finally:
        run_in.release()


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Lets SIGINT ask for an end, where signals can be handled; a second one ends at once."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("Saving after the present step; interrupt again to end at once")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _hints(loop: "Loop", result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The calls that can follow."""
    from trainer.trust import packages

    folder, trusted = loop.run.workdir.path, packages(loop.config)
    trust = f", trust={trusted!r}" if trusted else ""
    return [
        ("Look", commands.tensorboard(folder / "tensorboard")),
        ("Use", f"model = thaw.load({str(folder)!r}{trust})"),
    ]


def result_of(workdir: "Workdir") -> Result:
    """The result of a run that has ended. Raises UserError."""
    values = workdir.result()
    if values is None:
        raise UserError(f"the run in {workdir.path} has not ended: train it to its end")
    return Result(
        workdir=workdir.path,
        validation=_numbers(values.get("validation", {})),
        test=_numbers(values.get("test", {})),
        groups={
            split: {group: _numbers(metrics) for group, metrics in groups.items()}
            for split, groups in values.get("groups", {}).items()
        },
        step=values["best_step"],
        steps=values["steps"],
        seconds=values["wall_seconds"],
        values=values,
    )


def _numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """The metrics with NaN for null, as JSON has no word for it."""
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def assemble(
    config: Experiment,
    workdir: "Workdir",
    workers: Workers,
    *,
    cache_dir: Path,
    say: Say,
    secret: str = "",
    start_seconds: float = START_SECONDS,
    lock_seconds: float = 0.0,
    with_devices: Callable[[], None] = lambda: None,
) -> "Loop | None":
    """Gets everything ready to train, and begins the run in its folder.

    Args:
      config: the settings; paths in it are expanded.
      workdir: of the run.
      workers: all workers of the run; they have not met.
      cache_dir: folder of token caches.
      say: told what a person should know.
      secret: what the launcher gave to all workers; empty: nothing.
      start_seconds: how long workers wait for each other.
      lock_seconds: how long to wait for another process that trains in the workdir.
      with_devices: called when TensorFlow has set up its devices, which takes SIGTERM.

    Returns:
      The loop, to be trained by `finish`; None: the run has ended.

    Raises:
      UserError: whatever of it cannot be had, or is not the same on all workers.
      trainer.storage.workdir.NotYet: another process trains there, or has until now.
    """
    from trainer import sizing
    from trainer.data.progress import bar, quiet
    from trainer.loop import Loop
    from trainer.monitor.versions import versions
    from trainer.run import Run
    from trainer.runtime import devices, meeting
    from trainer.storage.workdir import LISTING_SECONDS

    def chief_says(text: str) -> None:
        if workers.is_chief:
            say(text)

    validate(config)
    expand_paths(config)
    for line in without_effect(config, workers.count):
        chief_says(f"Note: {line}")
    workdir.check(workdir.as_begun(config))
    if workers.count > 1:
        with meeting.secret(secret, workdir.path, workers.is_chief) as known:
            workers.meet(start_seconds, known)
    code = {"code of trainer and launch": environment.code()} if workers.count > 1 else {}
    workers.compare(code | versions(), "install the same versions everywhere")
    workers.compare(shared_fields(config), "give every worker the same command")
    workdir.check_shared(workers, min(start_seconds, LISTING_SECONDS))
    given, config = config, workdir.as_begun(config)
    if workdir.started and (left := sizing.kept(given, config)):
        chief_says(left)
    strategy = devices.start(config.runtime, config.seed, workers)
    with_devices()
    say(devices.describe(strategy, config.runtime))
    if slow := devices.slower(strategy, config.runtime):
        say(f"Note: {slow}")
    run = Run(
        config,
        workdir,
        cache_dir,
        strategy,
        progress=bar if workers.is_chief else quiet,
        say=chief_says,
        workers=workers,
    )
    if workdir.started:
        workdir.check_derived(run.derived())
    loop = Loop(run, chief_says)
    chief_says(run.describe(loop.plan))
    result = workdir.result()
    ended = result and result["steps"] == loop.step and (result["finished"] or loop.cut)
    if workers.from_chief(bool(ended)):
        chief_says(f"This run has ended: {workdir.result_file} holds its result")
        workers.part()
        return None
    if workers.is_chief:
        derived = run.derived() | {"buckets": run.buckets}
        workdir.begin(run.config, derived, run.tokenizer, lock_seconds)
    return loop


def finish(
    loop: "Loop",
    *,
    stop: Callable[[], bool],
    began: float,
    hung: Callable[[str], None] | None,
    hints: Callable[["Loop", Mapping[str, Any]], list[tuple[str, str]]],
) -> None:
    """Trains to the end.

    Args:
      loop: of `assemble`.
      stop: asked after every call to the device; True ends the run after saving.
      began: time.perf_counter() when the program, or the call, started.
      hung: told why when there was no progress for config.runtime.hang_seconds, and ends the
        process; None: nobody watches.
      hints: given the loop and what result.json holds, says what can follow: titles, and a line
        each.

    Raises:
      Interrupted: `stop` said so; it is saved.
      trainer.loop.NotFinite: a loss or gradient is infinite or NaN.
    """
    from trainer.loop import NotFinite
    from trainer.monitor.monitor import Monitor
    from trainer.runtime.watchdog import Watchdog

    config, workdir, workers = loop.config, loop.run.workdir, loop.run.workers
    monitor = Monitor(
        workdir.path,
        config,
        loop.run.task,
        resume_step=loop.step,
        total_steps=loop.total_steps,
        began=began,
        writes=workers.is_chief,
        stream=stream(),
    )
    watchdog = Watchdog(
        config.runtime.hang_seconds if hung else 0,
        lambda text: hung(f"{text}, {workers.report()}") if hung else None,
    )

    def asked() -> bool:
        watchdog.progress()
        return workers.any(stop())

    failed: Exception | None = None
    try:
        result = loop.train(monitor, asked)
        monitor.finish(result)
        said = [("Trained", f"{result['steps']:,} steps; there is no set to score")]
        if {"validation", "test"} & result.keys():
            said = loop.run.task.summary(result)
        monitor.summary([*said, *_weights(loop), *_cut(loop)], hints(loop, result))
    except Interrupted as error:
        monitor.message(f"Saved at step {loop.step}: the same command goes on from there")
        failed = error
    except PermissionError as error:  # of a run that has begun: no mistake of its command
        raise RuntimeError(in_one_line(error)) from error
    except NotFinite as error:
        monitor.message(f"error: {error}; the last good checkpoint is {_last(workdir)}")
        error.again = workers.from_chief(workers.is_chief and workdir.failed_before(str(error)))
        if error.again:
            monitor.message("It is the same failure as before: starting it again will not help")
        failed = error
    finally:
        monitor.close()
    workers.part()
    watchdog.stop()
    if failed:
        raise failed


def _weights(loop: "Loop") -> list[tuple[str, str]]:
    """A line on the weights that the metrics are of; none where nothing was trained."""
    best = loop.position.best
    if best is None:
        return []
    if "validation" not in loop.run.scored:
        return [("Weights", f"those of step {best.step:,}, the last")]
    chosen = f"chosen by validation {loop.run.metric} {best.value:.4f}; the metrics are theirs"
    return [("Best weights", f"step {best.step:,} of {loop.step:,}, {chosen}")]


def _cut(loop: "Loop") -> list[tuple[str, str]]:
    """A line on a run that max_steps ended; none on any other."""
    if not loop.cut or loop.step >= loop.planned_steps:
        return []
    name, most = loop.phase.settings.name, loop.config.max_steps
    said = f"config.max_steps={most} ended it in phase {name!r}, of {loop.planned_steps:,} steps"
    return [("Cut", f"{said}; the same command with a larger one goes on")]


def _last(workdir: "Workdir") -> str:
    """The place of the last checkpoint."""
    saved = workdir.checkpoints.steps()
    return str(workdir.checkpoints.path(saved[-1])) if saved else "none"
