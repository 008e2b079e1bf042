"""Several workers of launch.train as processes of this machine, to watch and to disturb."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from programs import ROOT, Ended, environment, last_of_each

PATIENCE = 120.0  # seconds for anything that is waited for


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Worker:
    """A process whose output goes to a file."""

    def __init__(self, command: Sequence[object], said: Path, **more: str):
        self.file = said
        with said.open("w") as file:
            self.process = subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT,
                env={**environment(), **more},
                stdout=file,
                stderr=file,
            )

    @property
    def said(self) -> str:
        return self.file.read_text(errors="replace")

    def wait_for(self, text: str) -> "Worker":
        return self.wait_until(lambda: text in self.said)

    def wait_until(self, done: Callable[[], object]) -> "Worker":
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)
        return self

    def send(self, number: signal.Signals) -> "Worker":
        self.process.send_signal(number)
        return self

    def end(self, seconds: float = PATIENCE) -> Ended:
        return Ended(self.process.wait(seconds), "", self.said)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Group:
    """The workers of one run, started with --hosts and --index. Leave it, and all are dead."""

    def __init__(self, folder: Path, count: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.workers: dict[int, Worker] = {}

    def start(
        self, index: int, *flags: object, command: Sequence[object] = ("-m", "launch.train"), **more
    ) -> Worker:
        """Starts a worker; `more` is added to its environment."""
        place = (f"--hosts={','.join(self.addresses)}", f"--index={index}")
        whole = (sys.executable, *command, *last_of_each(flags), *place)
        worker = Worker(whole, self.folder / f"worker{index}.txt", **more)
        self.workers[index] = worker
        return worker

    def start_all(self, *flags: object) -> list[Worker]:
        return [self.start(index, *flags) for index in range(len(self.addresses))]

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.kill()


def errors(said: str) -> list[str]:
    """The lines in which a program says what is wrong."""
    return re.findall(r"^error: (.*)$", said, re.M)


def processes_of(workdir: Path) -> dict[int, int]:
    """The pid of each worker of launch.local that trains in `workdir`, by its rank."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            values = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"--workdir={workdir}".encode() in arguments and b"launch.train" in arguments:
            place = re.search(rb'TF_CONFIG=.*"index": (\d+)', values)
            found[int(place[1]) if place else 0] = int(folder.name)
    return found


def alive(pid: int) -> bool:
    """True if a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def local(workers: int, *flags: object, max_restarts: int = 0) -> list[object]:
    """The command that runs so many workers of launch.train under launch.local."""
    launcher = [sys.executable, "-m", "launch.local", f"--workers={workers}"]
    return [*launcher, f"--max_restarts={max_restarts}", "--", *flags]


def kill(pid: int) -> bool:
    """SIGKILL; whether it hit a living process."""
    lived = alive(pid)
    if lived:
        os.kill(pid, signal.SIGKILL)
    return lived
