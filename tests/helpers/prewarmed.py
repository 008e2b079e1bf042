"""Runs programs of launch/ for tests/helpers/programs.py, each in a process forked from this one.

TensorFlow and the library are imported once, before the forks: a run then starts in a second. What
runs is the real program under its own process, flags, signals and exit status. TensorFlow is not
fit to be forked once it has looked at its devices, so nothing here does. Settings that act while
Python or a library is imported need a process of its own: `fresh`.

Reads a `Job` as a JSON object a line from standard input and answers with how it ended.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

Job = dict[str, Any]
"""program, arguments; path: folders to import from as well; stdin, stdout, stderr: files.

Optional: environment: variables by name, null for one to be removed; folder: to run in;
nameless: as a user without a name; modules: a file for the names of the modules it imported;
fresh: in a new Python; seconds, bytes: that all its processes may take, more ends them.
"""
POLL_SECONDS = 0.02
LONGEST_POLL = 0.5  # of longer ones the machine itself stood still
NAMELESS = 54321  # a user's id
CLONE_NEWUSER = 0x10000000  # of Linux's unshare
LONGEST_FILE = 2**31  # bytes that a watched program may write into one file


def run(job: Job) -> None:
    """Never returns: ends the process as the program does."""
    os.dup2(os.open(job.get("stdin", os.devnull), os.O_RDONLY), 0)
    for stream, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(job[stream], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for name, value in job.get("environment", {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "seconds" in job:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LONGEST_FILE, LONGEST_FILE))
    os.chdir(job.get("folder", "."))
    if job.get("nameless"):
        lose_name()
    if job.get("fresh"):
        path = [*job["path"], *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
        os.execv(sys.executable, [sys.executable, "-m", job["program"], *job["arguments"]])
    tempfile.tempdir = None  # found again, by this environment
    sys.path[:0] = job["path"]  # and not the current folder: see launch/__init__.py
    sys.argv = [job["program"], *job["arguments"]]
    status = 0
    try:
        runpy.run_module(job["program"], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else bool(error.code)
    except BaseException:
        traceback.print_exc()
        status = 1
    if "modules" in job:
        Path(job["modules"]).write_text("\n".join(sys.modules), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def lose_name() -> None:
    """Makes this process that of a user whom no file names, where the kernel allows it."""
    outside = os.getuid()
    if sys.platform == "linux" and ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0:
        Path("/proc/self/uid_map").write_text(f"{NAMELESS} {outside} 1")


def wait(child: int, seconds: float, most: float) -> dict[str, Any]:
    """Waits for a process; kills it, and all that it started, when it takes too much.

    Args:
      child: its id.
      seconds, most: how long it may take, and how many bytes of memory.

    Returns:
      Its `status`, the `bytes` it held at most, the `seconds` it computed, and why it was
      `stopped`: "", "seconds", "bytes".
    """
    import psutil

    waited, peak, stopped = 0.0, 0, ""
    while True:
        before = time.monotonic()
        ended, status, usage = os.wait4(child, 0 if stopped else os.WNOHANG)
        if ended:
            peak = max(peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
            return {
                "status": os.waitstatus_to_exitcode(status),
                "bytes": peak,
                "seconds": usage.ru_utime + usage.ru_stime,
                "stopped": stopped or ("bytes" if peak > most else ""),
            }
        processes = [psutil.Process(child), *psutil.Process(child).children(recursive=True)]
        held = 0
        for process in processes:
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                held += process.memory_info().rss
        peak = max(peak, held)
        if held > most or waited > seconds:
            stopped = "bytes" if held > most else "seconds"
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            continue
        time.sleep(POLL_SECONDS)
        waited += min(time.monotonic() - before, LONGEST_POLL)


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    importlib.import_module("launch.main")  # before TensorFlow: it asks it to be quiet
    for module in (
        "loop",
        "run",
        "storage.workdir",
        "monitor.monitor",
        "data.files",
        "data.tfds_records",
    ):
        importlib.import_module(f"trainer.{module}")
    importlib.import_module("sklearn.metrics")  # the library waits until it is asked for something
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            run(job)
        if "seconds" in job:
            answer = wait(child, job["seconds"], job["bytes"])
        else:
            answer = {"status": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}
        print(json.dumps(answer), file=answers, flush=True)


main()
