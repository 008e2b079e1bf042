"""Trains with several workers on this machine, and starts all again when one fails.

  python -m launch.local --workers=2 -- --config=configs/smoke.py --workdir=runs/two

What follows `--` are flags of launch.train. docs/clusters/local.md is the guide.
With several workers, TensorFlow's own server in each listens on all interfaces and asks nobody who
they are: whoever reaches its port reads and writes files as you. --isolate keeps it to the run.
"""

import contextlib
import ctypes
import json
import math
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from absl import flags

from launch import main as program
from launch.isolation import isolate
from launch.main import INTERRUPTED
from launch.restarts import KILLED, StopRequest, cause, last_step, supervise
from trainer.errors import UserError
from trainer.storage.paths import local

# What a failure leaves to the others: they end by themselves, as they notice a lost peer at once.
GRACE_SECONDS = 5.0
# The same for a worker that is done, or has saved: only then do all end, the chief after its last
# writes. Whoever takes longer hangs.
DONE_SECONDS = 300.0
DRAIN_SECONDS = 5.0  # for output of what has ended
LONGEST_LINE = 1 << 20  # bytes; a longer one is cut
_PR_SET_PDEATHSIG = 1  # of Linux's prctl
MAX_HERE = 256  # workers on one machine
OPEN = (
    "Note: TensorFlow's own server in each worker listens on all interfaces and asks nobody who"
    " they are: whoever reaches its port reads and writes files as you; --isolate shuts others out"
)
_output = threading.Lock()
Process = subprocess.Popen[bytes]


def launch(
    command: Sequence[str],
    workers: int,
    workdir: Path,
    max_restarts: int = 3,
    gpus: Sequence[str] = (),
    grace_seconds: float = GRACE_SECONDS,
    done_seconds: float = DONE_SECONDS,
) -> int:
    """Runs `command` as so many workers of one run until nothing is left to do.

    Takes over the signals of this process, which should end afterwards.

    Args:
      command: what each worker runs; TF_CONFIG tells it its place.
      workers: how many.
      workdir: the run's folder, which tells its step.
      max_restarts: how many failures may be followed by a restart.
      gpus: CUDA_VISIBLE_DEVICES of each worker; empty: left as it is.
      grace_seconds: how long the others may go on after one has failed.
      done_seconds: how long the others may go on after one has ended with 0 or 75.

    Returns:
      The exit status, by the table of launch.restarts.

    Raises:
      UserError: a process cannot be started.
    """
    stop = StopRequest()
    stop.install()
    wakes = _wakes_at_signals()

    def run_group() -> tuple[str, int]:
        group: list[Process] = []
        copiers: list[threading.Thread] = []
        secret = secrets.token_hex(32)
        with _addresses(workers) as addresses:
            try:
                for rank in range(workers):
                    environment = _environment(addresses, secret, rank, gpus)
                    group.append(_start(command, rank, environment))
                # Threads come after the last fork.
                copiers += [
                    copier for rank, process in enumerate(group) for copier in _copy(rank, process)
                ]
                return _wait(group, stop, wakes, grace_seconds, done_seconds)
            finally:
                for process in group:
                    if process.returncode is None:  # of the others nothing is left
                        _kill(process)
                for process in group:
                    process.wait()
                drained = time.monotonic() + DRAIN_SECONDS
                for copier in copiers:
                    copier.join(max(drained - time.monotonic(), 0))

    try:
        return supervise(run_group, lambda: last_step(workdir), max_restarts, _say, stop)
    except KeyboardInterrupt:
        _say("SIGINT again: ended at once")
        return 128 + signal.SIGINT


# What a worker is given


@contextlib.contextmanager
def _addresses(workers: int) -> Iterator[list[str]]:
    """An address of this machine's for each worker, with a port that is free.

    On Linux the ports are bound, not listened at, until all is over: nobody else is given one of
    them meanwhile, and the workers, which set SO_REUSEADDR as well, can listen there.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(workers)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        addresses = ["{}:{}".format(*each.getsockname()) for each in sockets]
        if sys.platform != "linux":
            held.close()
        yield addresses


def _environment(
    addresses: Sequence[str], secret: str, rank: int, gpus: Sequence[str]
) -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # a killed worker's last lines too
    if len(addresses) > 1:
        place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        environment["TF_CONFIG"] = json.dumps(place)
        environment["THAW_SECRET"] = secret
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[rank]
    return environment


def split_gpus(workers: int, per_worker: int, gpus: Sequence[str]) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each worker.

    Args:
      workers: how many.
      per_worker: how many GPUs each is given; 0: whatever there is.
      gpus: those that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Raises:
      UserError: there are too few, or all workers would use the same.
    """
    if not per_worker:
        if workers > 1 and gpus:
            raise UserError(
                f"{workers} workers cannot share {len(gpus)} GPU(s): give each its own with"
                " --gpus_per_worker, or train on the CPU with CUDA_VISIBLE_DEVICES=-1"
            )
        return []
    needed = workers * per_worker
    if needed > len(gpus):
        raise UserError(
            f"--workers={workers} with --gpus_per_worker={per_worker} needs {needed} GPUs, there"
            f" are {len(gpus)}"
        )
    if needed < len(gpus):
        _say(f"Note: {len(gpus) - needed} of {len(gpus)} GPUs are not used")
    return [",".join(gpus[i : i + per_worker]) for i in range(0, needed, per_worker)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Raises:
      UserError: the driver does not answer.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        gpus = [each.strip() for each in named.split(",")]
        valid = [re.fullmatch(r"\d+|(GPU|MIG)-\S+", each) is not None for each in gpus]
        return gpus[: [*valid, False].index(False)]  # CUDA stops at the first that is none
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            "nvidia-smi does not answer: name the GPUs in CUDA_VISIBLE_DEVICES"
        ) from error
    return [str(i) for i in range(len(re.findall(r"^GPU \d+:", listed.stdout, re.M)))]


# The processes


def _start(command: Sequence[str], rank: int, environment: dict[str, str]) -> Process:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # so a Ctrl-C comes here only, and all it starts is its group
            preexec_fn=dies_with_this_process(),
        )
    except OSError as error:
        raise UserError(f"cannot start worker {rank}: {error.strerror}") from error


def dies_with_this_process() -> Callable[[], None] | None:
    """A function for a child to call before it becomes the worker; None elsewhere than on Linux."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was too late for that
            os._exit(KILLED)

    return prepare


def _kill(process: Process) -> None:
    """Ends a worker and whatever it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: of an ended one
        os.killpg(process.pid, signal.SIGKILL)


def _wakes_at_signals() -> int:
    """A file that can be read from after a signal, the end of a child among them."""
    wakes, woken = os.pipe()
    for end in (wakes, woken):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    return wakes


def _wait(
    group: Sequence[Process],
    stop: StopRequest,
    wakes: int,
    grace_seconds: float,
    done_seconds: float,
) -> tuple[str, int]:
    """Waits until all have ended, or time is up for those that have not; whose end, and status.

    Raises:
      KeyboardInterrupt: all is to end at once.
    """
    ends: dict[int, int] = {}  # in the order they were seen in
    deadline, forwarded = math.inf, False
    while True:
        for rank, process in enumerate(group):
            if rank in ends or (code := process.poll()) is None:
                continue
            _kill(process)  # what it has started and left
            if forwarded and code == -signal.SIGTERM:
                code = INTERRUPTED  # it had not begun: there was nothing to save
            ends[rank] = code
            seconds = done_seconds if code in (0, INTERRUPTED) else grace_seconds
            deadline = min(deadline, time.monotonic() + seconds)
        left = [rank for rank in range(len(group)) if rank not in ends]
        remaining = deadline - time.monotonic()
        if not left or remaining <= 0:
            break
        if stop.at_once:
            raise KeyboardInterrupt
        if stop.signal and not forwarded:
            forwarded = True
            for rank in left:
                group[rank].send_signal(signal.SIGTERM)
            _say(f"{stop.signal}: the workers are to save and end; Ctrl-C from here on kills them")
        select.select([wakes], [], [], None if remaining == math.inf else remaining)
        with contextlib.suppress(BlockingIOError):
            os.read(wakes, 4096)
    for rank in left:
        _say(f"worker {rank} goes on though worker {next(iter(ends))} has ended: killed")
    who, status = cause((f"worker {rank}", code) for rank, code in ends.items())
    if left and status == 0:  # the others are done, so this is the failure
        return f"worker {left[0]}", KILLED
    return who, status


# What they say


def _copy(rank: int, process: Process) -> list[threading.Thread]:
    """Starts to copy what a worker says to the output of this process."""

    def copy(pipe: IO[bytes], number: int) -> None:
        with pipe:
            while line := pipe.readline(LONGEST_LINE):
                _write(number, b"[%d] %s\n" % (rank, line.removesuffix(b"\n")))

    assert process.stdout
    assert process.stderr
    copiers = [
        threading.Thread(target=copy, args=(pipe, number), daemon=True)
        for number, pipe in enumerate((process.stdout, process.stderr), start=1)
    ]
    for copier in copiers:
        copier.start()
    return copiers


def _say(message: str) -> None:
    _write(2, f"{message}\n".encode(errors="backslashreplace"))


def _write(number: int, line: bytes) -> None:
    """Writes a whole line to stdout (1) or stderr (2)."""
    # Where the terminal or a reader of the log has gone, the run still goes on.
    with _output, contextlib.suppress(OSError):
        while line:
            line = line[os.write(number, line) :]


# The program


def main(arguments: list[str]) -> int:
    """Checks what can be checked, and launches; returns the exit status."""
    program.check_train_flags(arguments, "launch.local")
    if os.environ.get("TF_CONFIG"):
        raise UserError("TF_CONFIG is set, but launch.local sets it for its workers: unset it")
    workers, per_worker = flags.FLAGS.workers, flags.FLAGS.gpus_per_worker
    on_cpu = any(
        program.value_of(f"{name}cpu_devices", arguments) for name in ("", "config.runtime.")
    )
    asks = per_worker or (workers > 1 and not on_cpu)
    gpus = split_gpus(workers, per_worker, visible_gpus() if asks else [])
    command = [sys.executable, "-m", "launch.train", *arguments]
    workdir = local(program.value_of("workdir", arguments), "--workdir")
    if flags.FLAGS.isolate:
        isolate()
    elif workers > 1:
        _say(OPEN)
    return launch(command, workers, workdir, flags.FLAGS.max_restarts, gpus)


if __name__ == "__main__":
    flags.DEFINE_integer("workers", None, "Processes to start.", 1, MAX_HERE, required=True)
    flags.DEFINE_integer("max_restarts", 3, "How many failures to restart after.", 0, 10**6)
    flags.DEFINE_integer(
        "gpus_per_worker", 0, "GPUs of its own for each worker (0: one worker has all).", 0, 1024
    )
    flags.DEFINE_bool(
        "isolate", False, "Run in a network of its own: no other process reaches the workers."
    )
    program.run(main, __doc__, texts=True)
