"""launch.local with small programs in place of launch.train: real processes, pipes and signals."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from programs import ROOT, Ended, environment, run

from launch.local import split_gpus, visible_gpus
from launch.main import value_of
from trainer.errors import UserError

KILL = 128 + signal.SIGKILL
IN_PROC = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# What every worker of these tests begins with; its arguments are a folder for notes and a tag that
# /proc shows.
WORKER = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

here = Path(sys.argv[1])
place = json.loads(os.environ.get("TF_CONFIG", "{}"))
rank = place["task"]["index"] if place else 0
with (here / f"attempts-{rank}").open("a") as file:
    file.write(".")
attempt = (here / f"attempts-{rank}").stat().st_size

def step(number):
    if rank == 0:
        with (here / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": number}) + "\\n")

def note(name):
    (here / name).touch()

def until(*names):
    while not all((here / name).exists() for name in names):
        time.sleep(0.005)

def say(text):
    print(text, file=sys.stderr, flush=True)

def on_sigterm(handler):
    signal.signal(signal.SIGTERM, handler)
    note(f"ready-{rank}")

def die(number=signal.SIGKILL):
    os.kill(os.getpid(), number)

"""
LAUNCHER = """
import json, sys
from pathlib import Path
from launch.isolation import isolate
from launch.local import launch

settings = json.load(sys.stdin)  # not in its command line: the tag is that of the workers
if settings.pop("isolate", False):
    isolate()
sys.exit(launch(**settings, workdir=Path(settings["command"][-2])))
"""


class Launcher:
    """launch.local's `launch` in a process of its own."""

    def __init__(self, folder: Path, code: str, **settings: object):
        self.folder, self.tag = folder, f"tag-{folder}-{time.monotonic_ns()}"
        settings = {
            "command": [sys.executable, "-c", WORKER + code, str(folder), self.tag],
            "workers": 2,
            **settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin
        self.process.stdin.write(json.dumps(settings).encode())
        self.process.stdin.close()
        self.process.stdin = None

    def wait_for(self, *names: str) -> None:
        """Until the workers have made these notes."""
        wait_until(lambda: all((self.folder / name).exists() for name in names))

    def send(self, number: int) -> None:
        """Sends a signal to all of its process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self) -> Ended:
        """Waits for it, and checks that it has left nothing behind."""
        stdout, stderr = self.process.communicate(timeout=60)
        assert self.left() == []
        return Ended(self.process.returncode, stdout.decode("latin-1"), stderr.decode("latin-1"))

    def left(self) -> list[int]:
        """The workers, and what they have started, that still run."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.tag.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def attempts(self, rank: int = 0) -> int:
        return (self.folder / f"attempts-{rank}").stat().st_size


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Callable[..., Launcher]]:
    """Call it with what the workers do, and settings of `launch`."""
    made: list[Launcher] = []

    def start(code: str, **settings: object) -> Launcher:
        made.append(Launcher(tmp_path, code, **settings))
        return made[-1]

    yield start
    for each in made:
        each.process.kill()
        each.process.communicate()
        for pid in each.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def own_lines(stderr: str) -> list[str]:
    """Lines of the launcher itself."""
    return [line for line in stderr.splitlines() if not line.startswith("[")]


# Places and output


def test_each_worker_knows_its_place(launcher):
    ended = launcher("print(json.dumps(place))", workers=3).end()
    assert (ended.status, ended.stderr) == (0, "")
    lines = sorted(ended.stdout.splitlines())
    assert [line[:4] for line in lines] == ["[0] ", "[1] ", "[2] "]
    places = [json.loads(line[4:]) for line in lines]
    assert [place["task"] for place in places] == [{"type": "worker", "index": i} for i in range(3)]
    addresses = places[0]["cluster"]["worker"]
    assert all(place["cluster"] == {"worker": addresses} for place in places)
    assert len(set(addresses)) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", address) for address in addresses)


def test_a_worker_can_listen_at_its_address(launcher):
    code = """
import socket
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
host, port = place["cluster"]["worker"][rank].split(":")
listener.bind((host, int(port)))
listener.listen()
socket.create_connection((host, int(port))).close()
"""
    assert launcher(code).end() == Ended(0, "", "")


def test_all_have_a_secret_that_is_a_new_one_each_time(launcher):
    code = """
print(os.environ["THAW_SECRET"])
if attempt == 1:
    os._exit(3)
"""
    ended = launcher(code, max_restarts=1, grace_seconds=20.0).end()
    assert ended.status == 0
    said = re.findall(r"^\[[01]\] ([0-9a-f]{64})$", ended.stdout, re.MULTILINE)
    assert len(said) == 4
    assert len(set(said)) == 2


def test_one_worker_is_alone(launcher):
    ended = launcher('print("TF_CONFIG" in os.environ)', workers=1).end()
    assert ended == Ended(0, "[0] False\n", "")


def test_gpus_of_each_worker(launcher):
    code = 'print(os.environ["CUDA_VISIBLE_DEVICES"])'
    ended = launcher(code, gpus=["0,1", "2,3"]).end()
    assert sorted(ended.stdout.splitlines()) == ["[0] 0,1", "[1] 2,3"]


def test_lines_are_whole_and_bytes_are_kept(launcher):
    """Even those that are too long for a pipe to take at once."""
    code = """
for i in range(40):
    for part in (b"a" * 70, b"\\xff\\xe9b", b"c" * 200_000 + b"\\n"):
        os.write(1 + i % 2, part)
os.write(1, b"\\nno end")
"""
    ended = launcher(code).end()
    whole = "a" * 70 + "\xff\xe9b" + "c" * 200_000
    for said, rest in ((ended.stdout, ["", "no end"]), (ended.stderr, [])):
        for rank in range(2):
            prefix = f"[{rank}] "
            lines = [line for line in said.split("\n") if line.startswith(prefix)]
            right = [prefix + line for line in [whole] * 20 + rest]
            assert [len(line) for line in lines] == [len(line) for line in right]
            assert lines == right
        assert said.count("\n") == 2 * (20 + len(rest))
        assert said.endswith("\n")


def test_lines_come_as_they_are_said(launcher):
    started = launcher('print("first")\nuntil("go")')
    lines = sorted(started.process.stdout.readline() for _ in range(2))
    assert lines == [b"[0] first\n", b"[1] first\n"]
    (started.folder / "go").touch()
    assert started.end().status == 0


def test_nobody_reads_the_output(launcher):
    code = 'until("closed")\nfor i in range(1000): print(i); say(i)\nnote(f"said-{rank}")'
    started = launcher(code)
    for pipe in (started.process.stdout, started.process.stderr):
        pipe.close()
    (started.folder / "closed").touch()
    assert started.process.wait(30) == 0
    assert (started.folder / "said-1").exists()


# Failures


@IN_PROC
def test_the_first_failure_ends_all(launcher):
    """A worker that hangs, and what the workers have started, are killed."""
    code = """
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", sys.argv[2]])
if rank == 1:
    until("ready-0")
    die()
on_sigterm(lambda *_: say("SIGTERM"))
while True:
    time.sleep(0.01)
"""
    began = time.monotonic()
    ended = launcher(code, max_restarts=0, grace_seconds=0.5).end()
    assert time.monotonic() - began < 10
    assert ended.status == KILL
    assert ended.stderr.splitlines() == [
        "worker 0 goes on though worker 1 has ended: killed",
        "worker 1 ended with SIGKILL at step 0: no restart left (--max_restarts=0)",
    ]


def test_the_others_say_their_last_lines(launcher):
    """And a worker that ends as it has lost a peer is not the cause."""
    code = """
if rank == 1:
    die(signal.SIGSEGV)
time.sleep(0.5)
say("worker 1 is lost")
sys.exit(1)
"""
    began = time.monotonic()
    ended = launcher(code, max_restarts=0, grace_seconds=60).end()
    assert time.monotonic() - began < 30, "all had ended, and it waited"
    assert ended.status == 128 + signal.SIGSEGV
    assert ended.stderr.splitlines() == [
        "[0] worker 1 is lost",
        "worker 1 ended with SIGSEGV at step 0: no restart left (--max_restarts=0)",
    ]


def test_restarted_from_where_it_was(launcher):
    code = """
step(attempt * 10)
say(place["cluster"]["worker"])
note(f"begun-{rank}-{attempt}")
until(f"begun-{1 - rank}-{attempt}")
if attempt == 1 and rank == 1:
    die()
sys.exit(5 if attempt == 2 and rank == 0 else 0 if attempt == 3 else 69)
"""
    started = launcher(code, max_restarts=2)
    ended = started.end()
    assert ended.status == 0
    assert (started.attempts(0), started.attempts(1)) == (3, 3)
    first, second = own_lines(ended.stderr)
    assert first == "worker 1 ended with SIGKILL at step 10: restart 1 of 2"
    assert re.fullmatch(r"worker 0 ended with status 5 at step 20: restart 2 of 2", second)
    addresses = {line[4:] for line in ended.stderr.splitlines() if line.startswith("[")}
    assert len(addresses) == 3, "each attempt has its own ports"


def test_no_more_restarts_than_allowed(launcher):
    started = launcher("step(attempt)\nsys.exit(3 + attempt)", workers=1, max_restarts=2)
    ended = started.end()
    assert (ended.status, started.attempts()) == (6, 3)
    assert own_lines(ended.stderr)[-1].endswith("no restart left (--max_restarts=2)")


def test_the_same_failure_twice_at_one_step_stops(launcher):
    started = launcher("step(7)\nif rank == 1: die()\ntime.sleep(0.2)\nsys.exit(69)")
    ended = started.end()
    assert (ended.status, started.attempts()) == (KILL, 2)
    assert own_lines(ended.stderr) == [
        "worker 1 ended with SIGKILL at step 7: restart 1 of 3",
        "worker 1 ended with SIGKILL at step 7, as the time before: not started again",
    ]


def test_a_mistake_is_not_restarted(launcher):
    code = "if rank == 0: die()\ntime.sleep(0.3)\nsys.exit(2)"
    started = launcher(code)
    assert started.end() == Ended(2, "", "")
    assert started.attempts() == 1


def test_one_is_done_and_another_hangs(launcher):
    """Started again, it finds that all is done."""
    code = "step(9)\nif rank == 1 and attempt == 1: time.sleep(60)"
    started = launcher(code, done_seconds=0.5, grace_seconds=60)
    ended = started.end()
    assert (ended.status, started.attempts()) == (0, 2)
    assert ended.stderr.splitlines() == [
        "worker 1 goes on though worker 0 has ended: killed",
        "worker 1 ended with SIGKILL at step 9: restart 1 of 3",
    ]


def test_done_workers_end_one_after_the_other(launcher):
    code = "if rank == 1: time.sleep(0.8)\nprint('done')"
    ended = launcher(code, grace_seconds=0.1).end()
    assert ended == Ended(0, "[0] done\n[1] done\n", "")


# Pre-emption and signals


def test_pre_emption_is_restarted_and_not_counted(launcher):
    """Twice before the next step, too."""
    started = launcher("step(attempt // 2)\nsys.exit(75 if attempt < 5 else 0)", max_restarts=0)
    ended = started.end()
    assert (ended.status, started.attempts(0), started.attempts(1)) == (0, 5, 5)
    assert all(line.endswith("which is not counted") for line in own_lines(ended.stderr))


SAVES = """
def saved(number, frame):
    say("saving")
    step(5)
    time.sleep(0.3)
    sys.exit(75)

on_sigterm(saved)
signal.signal(signal.SIGINT, lambda *_: say("SIGINT"))
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_to_stop_it_lets_the_workers_save(launcher, number):
    started = launcher(SAVES)
    started.wait_for("ready-0", "ready-1")
    started.send(number)
    started.send(signal.SIGTERM)  # handed on once
    ended = started.end()
    assert ended.status == 75
    assert (started.attempts(0), started.attempts(1)) == (1, 1)
    said = sorted(line for line in ended.stderr.splitlines() if line.startswith("["))
    assert said == ["[0] saving", "[1] saving"]
    (line,) = own_lines(ended.stderr)
    assert "the workers are to save and end" in line


def test_asked_to_stop_as_the_workers_start(launcher):
    """They do not handle SIGTERM yet, and have nothing to save."""
    started = launcher('note(f"ready-{rank}")\ntime.sleep(60)')
    started.wait_for("ready-0", "ready-1")
    started.send(signal.SIGTERM)
    assert started.end().status == 75


def test_a_failure_while_it_stops_is_told_and_not_restarted(launcher):
    started = launcher("on_sigterm(lambda *_: os._exit(3))\ntime.sleep(60)")
    started.wait_for("ready-0", "ready-1")
    started.send(signal.SIGTERM)
    ended = started.end()
    assert (ended.status, started.attempts()) == (3, 1)
    assert "ended with status 3 at step 0: not started again after SIGTERM" in ended.stderr


@IN_PROC
def test_a_second_interrupt_ends_at_once(launcher):
    code = """
on_sigterm(lambda *_: note(f"asked-{rank}"))
while True:
    time.sleep(0.01)
"""
    started = launcher(code)
    started.wait_for("ready-0", "ready-1")
    started.send(signal.SIGINT)
    started.wait_for("asked-0", "asked-1")
    started.send(signal.SIGINT)
    ended = started.end()
    assert ended.status == 128 + signal.SIGINT
    assert own_lines(ended.stderr)[-1] == "SIGINT again: ended at once"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of that")
def test_the_launcher_is_killed(launcher):
    code = """
on_sigterm(signal.SIG_IGN)
while True:
    time.sleep(0.01)
"""
    started = launcher(code)
    started.wait_for("ready-0", "ready-1")
    assert len(started.left()) == 2
    started.send(signal.SIGKILL)
    wait_until(lambda: not started.left())


@pytest.mark.long
@IN_PROC
def test_it_takes_no_time_of_the_workers(launcher):
    started = launcher('note(f"ready-{rank}")\nuntil("go")')
    started.wait_for("ready-0", "ready-1")

    def ticks() -> int:
        fields = Path(f"/proc/{started.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1)
    assert (ticks() - before) / os.sysconf("SC_CLK_TCK") < 0.1
    (started.folder / "go").touch()
    assert started.end().status == 0


# Flags


@pytest.mark.parametrize(
    ("workers", "per_worker", "gpus", "expected"),
    [
        (2, 0, [], []),
        (1, 0, ["0", "1"], []),
        (2, 2, ["0", "1", "2", "3"], ["0,1", "2,3"]),
        (2, 1, ["3", "GPU-a", "5"], ["3", "GPU-a"]),
        (1, 2, ["0", "1"], ["0,1"]),
    ],
)
def test_gpus_are_split(workers, per_worker, gpus, expected):
    assert split_gpus(workers, per_worker, gpus) == expected


@pytest.mark.parametrize(
    ("workers", "per_worker", "gpus", "said"),
    [
        (2, 0, ["0"], r"2 workers cannot share 1 GPU\(s\): .*--gpus_per_worker"),
        (2, 2, ["0", "1", "2"], "needs 4 GPUs, there are 3"),
        (1, 1, [], "needs 1 GPUs, there are 0"),
    ],
)
def test_gpus_that_cannot_be_split(workers, per_worker, gpus, said):
    with pytest.raises(UserError, match=said):
        split_gpus(workers, per_worker, gpus)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2, 0", ["2", "0"]),
        ("0,-1,1", ["0"]),
        ("GPU-1f,MIG-2e", ["GPU-1f", "MIG-2e"]),
    ],
)
def test_gpus_named_in_the_environment(monkeypatch, value, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == expected


def test_gpus_that_the_driver_lists(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []  # no driver
    program = tmp_path / "nvidia-smi"
    lines = ("GPU 0: NVIDIA A100 (UUID: GPU-1)", "  MIG 1g.5gb Device 0: (UUID: MIG-2)", "GPU 1: B")
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--workdir=a", "--config=b"], "a"),
        (["--config", "b", "-workdir", "a"], "a"),
        (["--workdir=a", "--workdir=c=d"], "c=d"),
        (["--workdirs=a", "workdir=b", "--workdir"], ""),
    ],
)
def test_the_workdir_is_found_among_the_flags(arguments, expected):
    assert value_of("workdir", arguments) == expected


TRAIN = ("--config=x", "--workdir=y")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--workers"),
        (["--workers=0", "--", "--config=x"], "--workers"),
        (["--workers=two", "--", "--config=x"], "--workers"),
        (["--workers=1000000", "--", *TRAIN], "--workers=1000000"),
        (["--workers=2"], "give the flags of launch.train after `--`: --config is missing"),
        (["--workers=2", "--", "--config=x"], "after `--`: --workdir is missing"),
        (["--workers=2", "--", "a.py", *TRAIN], "'a.py' after `--` is no flag of launch.train"),
        (["--workers=2", "--", *TRAIN, "--index=0"], "--index after `--`: leave it out"),
        (["--workers=2", "--config=x"], "config"),
        (["--workers=2", "--max_restarts=-1", "--", "--config=x"], "--max_restarts"),
        (["--workers=2", "--gpus_per_worker=1", "--", *TRAIN], "needs 2 GPUs, there are 0"),
    ],
)
def test_mistakes_are_told_in_a_line(launch, arguments, said):
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"}
    ended = launch(*arguments, program="launch.local", environment=hidden)
    assert ended.status == 2
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TF_CONFIG", '{"cluster": {}}', "TF_CONFIG is set"),
        ("CUDA_VISIBLE_DEVICES", "0", r"2 workers cannot share 1 GPU\(s\)"),
    ],
)
def test_an_environment_that_contradicts(name, value, said):
    ended = run(
        "--workers=2", "--", *TRAIN, program="launch.local", env={**environment(), name: value}
    )
    assert ended.status == 2
    assert re.fullmatch(f"error: .*{said}.*\n", ended.stderr)


def test_a_mistake_among_the_flags_of_train():
    """Is told by launch.train, and ends it."""
    flags = ("--config=configs/smoke.py", "--nosuch=1", "--workdir=x")
    ended = run("--workers=1", "--", *flags, program="launch.local")
    assert ended.status == 2
    assert re.fullmatch(r"\[0\] error: .*nosuch.*\n", ended.stderr)


def test_help():
    ended = run("--help", program="launch.local")
    assert ended.status == 0
    assert "reads and writes files as you. --isolate" in " ".join(ended.stdout.split())
    for flag in ("--workers", "--max_restarts", "--gpus_per_worker", "--[no]isolate"):
        assert f"\n  {flag}: " in ended.stdout
