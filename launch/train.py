"""Trains a model: one config file, one workdir; the same command resumes it.

  python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart

Single settings can be changed: --config.phases[0].epochs=2 --config.optimizer.weight_decay=0.1

Over several processes the same command runs in each, started by srun, by Kubernetes or by
launch.local, or with TF_CONFIG, or with --hosts=a:2222,b:2222 --index=0 and 1: docs/clusters/.
"""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from launch import cluster
from launch import main as program
from launch.arguments import CPU_DEVICES
from launch.cluster_common import HERE
from trainer.errors import Interrupted, UserError, in_one_line
from trainer.runtime.workers import LOST, SILENCE_SECONDS, Lost, Workers

if TYPE_CHECKING:
    from trainer.loop import Loop
    from trainer.run import Run
    from trainer.storage.workdir import Workdir

_WORKDIR = program.define_path(
    "workdir", "Folder of the run; resumed if it has begun.", required=True
)
_CPU_DEVICES = program.define_count(
    "cpu_devices", "Train on this many logical CPU devices (for smoke tests).", CPU_DEVICES
)
_HOSTS = flags.DEFINE_list("hosts", [], "host:port of every worker, the chief first.")
_INDEX = program.define_count("index", "This worker's place in --hosts, from 0.", 10**6, 0)
_START_SECONDS = flags.DEFINE_float(
    "start_seconds", 300.0, "How long workers wait for each other at the start.", 0.1, 10**6
)
# Seconds to wait for a dead host's lock when a scheduler restarts us: a network's file system may
# keep it for a minute or two.
LOCK_SECONDS = 180.0


def main() -> int:
    """Trains, or says why not; returns the exit status."""
    signals = program.Signals()
    signals.install()
    if not _START_SECONDS.value <= 10**6:  # not a number
        raise UserError("--start_seconds is no number of seconds")
    found = cluster.resolve(os.environ, _HOSTS.value, _INDEX.value)
    secret = cluster.secret(os.environ)
    workers = Workers(found.addresses, found.index, program.end, program.say)
    signals.leave = workers.leave
    if workers.is_chief and found.source != HERE:
        for line in found.describe():
            program.say(line)
    lock_seconds = 0.0 if found.source == HERE else LOCK_SECONDS
    if workers.count == 1:
        return _train(workers, secret, signals, lock_seconds)
    status = 1
    try:
        with program.permitted():
            status = _train(workers, secret, signals, lock_seconds)
    except UserError as error:
        status = program.USER_ERROR
        workers.leave(status, str(error))
        program.fail(str(error))
    except Lost as error:
        status = LOST
        program.fail(str(error))
    except BaseException as error:
        if _of_a_peer(error):
            # TensorFlow often notices first that a worker is gone; who it is, `workers` will say.
            time.sleep(SILENCE_SECONDS * 1.2)
        workers.leave(status, in_one_line(error))
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)  # TensorFlow's own ending would wait for workers that may be gone


def _of_a_peer(error: BaseException) -> bool:
    """True if a worker that is gone may be why."""
    from tensorflow import errors

    kinds = (errors.UnavailableError, errors.AbortedError, errors.CancelledError)
    return isinstance(error, (*kinds, errors.DeadlineExceededError, errors.InternalError))


def _train(workers: Workers, secret: str, signals: program.Signals, lock_seconds: float) -> int:
    """Gets everything ready, and trains.

    Args:
      workers: all workers of the run; they have not met.
      secret: what the launcher gave to all of them; empty: nothing.
      signals: what ends the run.
      lock_seconds: how long to wait for another process that trains in the workdir.
    """
    # Imported here: --help and wrong flags need not wait for TensorFlow.
    program.import_tensorflow()
    from trainer import config as config_lib
    from trainer.data.progress import bar, quiet
    from trainer.loop import Loop
    from trainer.monitor.versions import versions
    from trainer.run import Run
    from trainer.runtime import devices, meeting
    from trainer.storage.workdir import LISTING_SECONDS, NotYet, Workdir

    def say(text: str) -> None:
        if workers.is_chief:
            program.say(text)

    config = program.config()
    if _CPU_DEVICES.value:
        config.runtime.cpu_devices = _CPU_DEVICES.value
    config_lib.validate(config)
    config_lib.expand_paths(config)
    for line in config_lib.without_effect(config, workers.count):
        say(f"Note: {line}")
    workdir = Workdir(_WORKDIR.value)
    workdir.check(config)
    if workers.count > 1:
        with meeting.secret(secret, workdir.path, workers.is_chief) as known:
            workers.meet(_START_SECONDS.value, known)
    code = {"code of trainer and launch": program.code()} if workers.count > 1 else {}
    workers.compare(code | versions(), "install the same versions everywhere")
    workers.compare(config_lib.shared_fields(config), "give every worker the same command")
    try:
        workdir.check_shared(workers, min(_START_SECONDS.value, LISTING_SECONDS))
        strategy = devices.start(config.runtime, config.seed, workers)
        signals.take()
        program.say(devices.describe(strategy, config.runtime))
        if slow := devices.slower(strategy, config.runtime):
            program.say(f"Note: {slow}")
        progress = bar if workers.is_chief else quiet
        run = Run(
            config,
            workdir,
            program.cache_dir(),
            strategy,
            progress=progress,
            say=say,
            workers=workers,
        )
        if workdir.started:
            workdir.check_derived(run.derived())
        loop = Loop(run, say)
        say(run.describe(loop.plan))
        result = workdir.result()
        ended = result and result["steps"] == loop.step and (result["finished"] or loop.cut)
        if workers.from_chief(bool(ended)):
            say(f"This run has ended: {workdir.result_file} holds its result")
            workers.part()
            return 0
        if workers.is_chief:
            derived = run.derived() | {"buckets": run.buckets}
            workdir.begin(config, derived, run.tokenizer, lock_seconds)
    except NotYet as error:
        program.fail(str(error))
        workers.leave(LOST, str(error))
        return LOST
    return _run(loop, signals)


def _run(loop: "Loop", signals: program.Signals) -> int:
    """Trains to the end, or to a signal or failure; returns the exit status."""
    from trainer.loop import NotFinite
    from trainer.monitor.monitor import Monitor
    from trainer.runtime.watchdog import Watchdog
    from trainer.trust import packages

    config, workdir, workers = loop.config, loop.run.workdir, loop.run.workers
    monitor = Monitor(
        workdir.path,
        config,
        loop.step,
        loop.total_steps,
        program.BEGAN,
        writes=workers.is_chief,
    )

    def hung(text: str) -> None:
        text = f"{text}, {workers.report()}"
        workers.leave(1, text)
        program.end(1, text)

    watchdog = Watchdog(config.runtime.hang_seconds, hung)

    def stop() -> bool:
        watchdog.progress()
        return workers.any(signals.requested)

    signals.saves = True
    try:
        result = loop.train(monitor, stop)
        monitor.finish(result)
        monitor.summary(_summary(loop.run, result, packages(config)))
        status = 0
    except Interrupted:
        monitor.message(f"Saved at step {loop.step}: the same command goes on from there")
        status = program.INTERRUPTED
    except PermissionError as error:  # of a run that has begun: no mistake of its command
        raise RuntimeError(in_one_line(error)) from error
    except NotFinite as error:
        monitor.message(f"error: {error}; the last good checkpoint is {_last(workdir)}")
        again = workers.from_chief(workers.is_chief and workdir.failed_before(str(error)))
        if again:
            monitor.message("It is the same failure as before: starting it again will not help")
        status = program.USER_ERROR if again else 1
    finally:
        monitor.close()
    workers.part()
    watchdog.stop()
    return status


def _summary(
    run: "Run", result: Mapping[str, Any], trusted: Sequence[str]
) -> list[tuple[str, str]]:
    """How the run ended, and the commands that follow from it.

    Args:
      run: the run. result: what result.json holds.
      trusted: packages of the user's own that the settings name.
    """
    from trainer.storage.contents import SCORES

    workdir = run.workdir
    split = "test" if "test" in result else "validation"
    reported = SCORES["test"] in result["sha256"]
    where = f"--workdir={shlex.quote(str(workdir.path))}"
    where = " ".join([where, *(f"--trust={shlex.quote(each)}" for each in trusted)])
    board = shlex.quote(str(workdir.path / "tensorboard"))
    return [
        *run.task.summary(result),
        ("Look", f"tensorboard --logdir={board}"),
        ("Evaluate", f"python -m launch.evaluate {where} --split={split}"),
        ("Predict", f'python -m launch.predict {where} --texts "…"'),
        *([("Report", f"python -m launch.report {where}")] if reported else []),
        ("Export", f"python -m launch.export {where} --format=savedmodel --output=exported"),
    ]


def _last(workdir: "Workdir") -> str:
    """Where the last checkpoint is."""
    saved = workdir.checkpoints.steps()
    return str(workdir.checkpoints.path(saved[-1])) if saved else "none"


if __name__ == "__main__":
    program.define_config()
    program.define_cache_dir()
    flags.mark_flag_as_required("config")
    program.run(main, __doc__)
