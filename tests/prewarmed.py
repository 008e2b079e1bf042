"""Runs programs of launch/ for tests/programs.py, each in a process forked from this one.

TensorFlow and the library are imported once, before the forks: a run then starts in a second. What
runs is the real program under its own process, flags, signals and exit status. TensorFlow is not
fit to be forked once it has looked at its devices, so nothing here does.

Reads a JSON object a line from standard input: {"program": "launch.train", "arguments": [...],
"path": [folders to import from], "stdout": file, "stderr": file}; answers {"status": 0}.
"""

import importlib
import json
import os
import runpy
import sys
import traceback


def run(job: dict) -> None:
    """Never returns: ends the process as the program does."""
    for stream, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(job[stream], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.path[:0] = job["path"]
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
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    importlib.import_module("launch.main")  # before TensorFlow: it asks it to be quiet
    for module in ("loop", "run", "workdir", "monitor.monitor", "data.files", "data.tfds_records"):
        importlib.import_module(f"trainer.{module}")
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            run(job)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status}), file=answers, flush=True)


main()
