"""Runs srun, and ends with the exit status of the task that failed first.

  python -m launch.srun -K1 --wait=60 --label python -m launch.train ...

srun itself ends with the highest status of all tasks. But once a task has failed it ends the others
by SIGTERM, which they take for pre-emption: then 75 would hide a mistake (2) or a failure (1), or
143, of a task that was on its way out, a run that was saved. All arguments are srun's.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys

from launch import main as program
from launch.main import INTERRUPTED
from launch.restarts import status_of
from trainer.runtime.workers import LOST

# "srun: error: n[9-10]: tasks 0-1: Exited with exit code 2"; for a signal its name stands there.
# What tasks say themselves is not taken for it, as --label puts their number before each line.
_ENDED = re.compile(rb"^srun: error: \S+: tasks? [\d,-]+: (?:Exited with exit code (\d+))?", re.M)


def main(arguments: list[str]) -> int:
    """Runs `srun arguments` to its end; the exit status that counts."""
    signal.signal(signal.SIGTERM, _tell_tasks)
    try:
        # Out of reach of signals to all processes of the job: at SIGTERM srun kills its tasks.
        process = subprocess.Popen(
            ["srun", *arguments], stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        program.say(f"error: cannot run srun: {error.strerror}")
        return program.USER_ERROR
    assert process.stderr
    first: int | None = None  # the status of the task that failed first, 0 for a signal
    line = b""
    while said := os.read(process.stderr.fileno(), 1 << 16):
        os.write(2, said)
        *lines, line = (line + said).split(b"\n")
        for each in lines:
            if match := _ENDED.match(each):
                status = int(match[1] or 0)
                # A task that lost another may well be seen to end before that one.
                if first is None or (first == LOST and status not in (LOST, INTERRUPTED)):
                    first = status
    status = status_of(process.wait())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # see launch.main.run
    return (first or status) if status else 0


def _tell_tasks(number: int, frame: object) -> None:
    """Sends SIGTERM to the tasks, so that they save."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if re.fullmatch("[0-9]{1,10}", job):
        with contextlib.suppress(OSError):  # Slurm most often has told them, and ends the job
            subprocess.Popen(["scancel", "--quiet", "--signal=TERM", job])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
