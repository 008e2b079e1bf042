"""Stands in for launch.train: ends as it is told, and notes what happens to it.

--acts=A/B,C/D: at the first start task 0 does A and task 1 B, at the second C and D. An act is an
exit status; "kill": dies of SIGKILL; "wait": waits for SIGTERM, as training does, and ends with 75.
Both begin when both have started.
"""

import os
import signal
import sys
import time
from pathlib import Path


def started(noted: Path) -> int:
    return noted.read_text().split().count("start") if noted.exists() else 0


def main() -> int:
    flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
    rank = os.environ["SLURM_PROCID"]
    if len(os.environ.get("THAW_SECRET", "")) != 64:
        return 3
    noted, its = (Path(f"{flags['workdir']}-{i}.txt") for i in (rank, "10"[int(rank)]))

    def note(text: str) -> None:
        with noted.open("a") as file:
            file.write(f"{text}\n")

    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    starts = started(noted)
    act = flags["acts"].split(",")[starts].split("/")[int(rank)]
    print(f"GPUs {os.environ.get('CUDA_VISIBLE_DEVICES')}", flush=True)
    note("start")
    while started(its) <= starts:
        time.sleep(0.05)
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act != "wait":
        return int(act)
    while not signals:
        time.sleep(0.05)
    note("SIGTERM")
    time.sleep(0.3 * int(rank))  # one is done saving before the other
    note("end")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as launch.main.run does
    return 75


if __name__ == "__main__":
    sys.exit(main())
