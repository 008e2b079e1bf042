"""Trains a model: one config file, one workdir; the same command resumes it.

  python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart

Single settings can be changed: --config.phases[0].epochs=2 --config.optimizer.weight_decay=0.1

Over several processes the same command runs in each, started by srun, by Kubernetes or by
launch.local, or with TF_CONFIG, or with --hosts=a:2222,b:2222 --index=0 and 1: docs/clusters/.
"""

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags

from launch import cluster, sent
from launch import main as program
from launch.arguments import CPU_DEVICES
from launch.cluster_common import HERE
from thaw import training
from thaw.environment import without_cpp
from trainer.data.sources import look
from trainer.errors import Interrupted, UserError, in_one_line
from trainer.runtime.workers import LOST, SILENCE_SECONDS, Lost, Workers

if TYPE_CHECKING:
    from trainer.loop import Loop

_PRINTS = any(each.lstrip("-").partition("=")[0] == "print_config" for each in sys.argv[1:])
_WORKDIR = program.define_path(
    "workdir", "Folder of the run; resumed if it has begun.", required=not _PRINTS
)
_PRINT_CONFIG = flags.DEFINE_bool(
    "print_config", False, "Show every setting, with its meaning, default and place; do no more."
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
    if _PRINT_CONFIG.value:
        return _print_config()
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


def _print_config() -> int:
    from launch import described

    with program.standard_output():
        print(program.encodable("\n".join(described.lines(program.config()))))
    return 0


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
    config = program.config()
    if _CPU_DEVICES.value:
        config.runtime.cpu_devices = _CPU_DEVICES.value
    with without_cpp():  # a metric of the user's own may import TensorFlow
        sent.check_values(config)
        if workers.count == 1:  # several meet first: one that lacks a file tells the others
            look(config.data, config.task)
    # Imported here: --help, wrong flags, settings or files need not wait for TensorFlow.
    program.import_tensorflow()
    from launch import hints
    from trainer.loop import NotFinite
    from trainer.storage.workdir import NotYet, Workdir

    try:
        loop = training.assemble(
            config,
            Workdir(_WORKDIR.value),
            workers,
            cache_dir=program.cache_dir(),
            say=program.say,
            secret=secret,
            start_seconds=_START_SECONDS.value,
            lock_seconds=lock_seconds,
            with_devices=signals.take,
        )
    except NotYet as error:
        program.fail(str(error))
        workers.leave(LOST, str(error))
        return LOST
    if loop is None:
        return 0

    def hung(text: str) -> None:
        workers.leave(1, text)
        program.end(1, text)

    def stop() -> bool:
        return signals.requested

    def follows(loop: "Loop", result: Mapping[str, Any]) -> list[tuple[str, str]]:
        return hints.after_training(loop, result, str(flags.FLAGS.cache_dir or ""))

    signals.saves = True
    try:
        training.finish(loop, stop=stop, began=program.BEGAN, hung=hung, hints=follows)
        return 0
    except Interrupted:
        return program.INTERRUPTED
    except NotFinite as error:
        return program.USER_ERROR if error.again else 1


if __name__ == "__main__":
    program.define_config()
    program.define_cache_dir()
    flags.mark_flag_as_required("config")
    program.run(main, __doc__)
