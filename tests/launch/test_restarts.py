"""The table of exit statuses, and the program that runs a command by it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import ROOT, Ended, environment, run

from launch.restarts import End, StopRequest, cause, decide, last_step, supervise

KILL = 128 + signal.SIGKILL


def failed(step: int, who: str = "worker 1", status: int = 1) -> End:
    return End(who, status, step)


@pytest.mark.parametrize(
    ("ends", "restart", "said"),
    [
        ([End("", 0, 90)], False, ""),
        ([failed(5, status=2)], False, ""),
        ([failed(5)], True, "worker 1 ended with status 1 at step 5: restart 1 of 2"),
        ([failed(5, status=KILL)], True, "worker 1 ended with SIGKILL at step 5: restart 1 of 2"),
        ([failed(5), failed(6)], True, "worker 1 ended with status 1 at step 6: restart 2 of 2"),
        ([failed(5), failed(5, who="worker 0")], True, "restart 2 of 2"),
        ([failed(5), failed(5, status=KILL)], True, "restart 2 of 2"),
        ([failed(5), failed(5)], False, "at step 5, as the time before: not started again"),
        ([failed(5), failed(7), failed(5)], False, "no restart left (--max_restarts=2)"),
        ([End("", 75, 5)], True, "the run ended with status 75 at step 5 (pre-empted)"),
        ([End("", 75, step) for step in range(9)], True, "not counted"),
        ([End("", 75, 5), End("", 75, 5)], True, "not counted"),
        ([failed(5, status=69), failed(5, status=69)], True, "restart 2 of 2"),
        ([failed(5, status=69)] * 3, False, "no restart left (--max_restarts=2)"),
        ([failed(5), End("", 75, 5), failed(5)], True, "restart 2 of 2"),
        ([End("", 75, 1), failed(5), End("", 75, 6), failed(7)], True, "restart 2 of 2"),
    ],
)
def test_what_follows_an_end(ends, restart, said):
    decision = decide(ends, max_restarts=2)
    assert decision.restart == restart
    assert said in decision.why
    assert bool(decision.why) == bool(said)


def test_without_restarts_the_first_failure_is_the_last():
    assert decide([failed(5)], max_restarts=0).restart is False


@pytest.mark.parametrize("status", [0, 1, 2, 75, KILL])
def test_who_was_asked_to_stop_starts_nothing(status):
    decision = decide([End("worker 0", status, 5)], max_restarts=2, stop="SIGTERM")
    assert not decision.restart
    assert ("not started again after SIGTERM" in decision.why) == (status in (1, KILL))


def test_pre_emption_is_handed_on():
    assert decide([End("", 75, 5)], 2, restart_preempted=False) == (False, "")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 0], ("", 0)),
        ([0, 1], ("worker 1", 1)),
        ([1, 3], ("worker 0", 1)),  # who was seen first
        ([69, -9], ("worker 1", KILL)),  # who lost a peer is not the cause
        ([69, 1], ("worker 1", 1)),
        ([-9, 69], ("worker 0", KILL)),
        ([0, 69], ("worker 1", 69)),
        ([75, 69], ("", 75)),
        ([75, 75], ("", 75)),
        ([1, 75], ("", 75)),
        ([0, 75], ("", 75)),
        ([1, -9, 2], ("worker 2", 2)),
        ([134, 1], ("worker 0", 134)),
    ],
)
def test_whose_end_counts(codes, expected):
    assert cause([(f"worker {i}", code) for i, code in enumerate(codes)]) == expected


def test_a_stop_before_the_start_runs_nothing():
    stop = StopRequest()
    stop.signal = "SIGTERM"
    assert supervise(pytest.fail, lambda: 0, 3, pytest.fail, stop) == 75


def test_a_signal_that_is_ignored_stays_ignored():
    """As SIGHUP under nohup."""
    code = """
from signal import SIG_IGN, SIGHUP, SIGTERM, raise_signal, signal
from launch.restarts import StopRequest
signal(SIGHUP, SIG_IGN)
stop = StopRequest()
stop.install()
for number in (SIGHUP, SIGTERM):
    raise_signal(number)
    print(stop.signal)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert done.stdout == "\nSIGTERM\n"


# The step


def test_no_step_without_a_run(tmp_path):
    assert last_step(tmp_path / "none") == 0
    assert last_step(tmp_path) == 0


def test_the_step_is_the_later_of_log_and_checkpoint(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 10, "loss": 1.0}\n{"step": 20, "loss": 1.0}\n{"step": 30, "lo')
    assert last_step(tmp_path) == 20
    for name in ("step-00000015", "step-00000025", ".step-00000040.partial", "step-x", "other"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert last_step(tmp_path) == 25
    log.write_text('{"step": 100000000}\n[]\nnull\n{"note": 1}\n')
    assert last_step(tmp_path) == 100000000
    log.write_text('{"step": 30, "loss": null}\n')
    assert last_step(tmp_path) == 30
    for damaged in (
        "[" * 100_000,
        '{"step": 1e999}',
        '{"step": ' + "9" * 5000 + "}",
        '{"step": true}',
    ):
        log.write_text(f'{{"step": 26}}\n{damaged}\n')
        assert last_step(tmp_path) == 26
    log.write_bytes(b"\xff\x00\n")
    assert last_step(tmp_path) == 25


# The program

PRELUDE = """
import json, os, signal, sys, time
from pathlib import Path

here = Path(sys.argv[1])
with (here / "attempts").open("a") as file:
    file.write(".")
attempt = (here / "attempts").stat().st_size

def step(number):
    with (here / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": number}) + "\\n")

"""


def restarting(folder: Path, code: str, max_restarts: int = 3) -> list[str]:
    """The command line of launch.restarts around some code of Python's."""
    return [
        *(sys.executable, "-m", "launch.restarts"),
        *(f"--workdir={folder}", f"--max_restarts={max_restarts}", "--"),
        *(sys.executable, "-c", PRELUDE + code, str(folder)),
    ]


def restarted(folder: Path, code: str, max_restarts: int = 3) -> tuple[Ended, int]:
    """Its end, and how often the code ran."""
    done = subprocess.run(
        restarting(folder, code, max_restarts),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    attempts = (folder / "attempts").stat().st_size
    return Ended(done.returncode, done.stdout, done.stderr), attempts


@pytest.mark.parametrize("status", [0, 2, 75])
def test_these_are_handed_on(tmp_path, status):
    ended, attempts = restarted(tmp_path, f"sys.exit({status})")
    assert (ended.status, attempts, ended.stderr) == (status, 1, "")


def test_failures_are_restarted_and_counted(tmp_path):
    code = "step(attempt)\nif attempt == 1: os.kill(os.getpid(), 9)\nsys.exit(attempt < 3)"
    ended, attempts = restarted(tmp_path, code, max_restarts=2)
    assert (ended.status, attempts) == (0, 3)
    assert ended.stderr.splitlines() == [
        "the run ended with SIGKILL at step 1: restart 1 of 2",
        "the run ended with status 1 at step 2: restart 2 of 2",
    ]


def test_no_more_restarts_than_allowed(tmp_path):
    ended, attempts = restarted(tmp_path, "step(attempt)\nsys.exit(3)", max_restarts=1)
    assert (ended.status, attempts) == (3, 2)
    assert ended.stderr.endswith("at step 2: no restart left (--max_restarts=1)\n")


def test_the_same_failure_twice_at_one_step_stops(tmp_path):
    ended, attempts = restarted(tmp_path, "step(7)\nos.kill(os.getpid(), 11)", max_restarts=9)
    assert (ended.status, attempts) == (128 + signal.SIGSEGV, 2)
    assert "ended with SIGSEGV at step 7, as the time before: not started again" in ended.stderr


@pytest.mark.parametrize("status", [0, 1, 75])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_waits_for_the_command(tmp_path, number, status):
    """The command, as srun, gets no signal from it; it is not started again."""
    code = f"""
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(99))
(here / "begun").touch()
while not (here / "end").exists():
    time.sleep(0.01)
sys.exit({status})
"""
    with subprocess.Popen(
        restarting(tmp_path, code),
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while not (tmp_path / "begun").exists():
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(number)
            time.sleep(0.2)
            assert process.poll() is None
            (tmp_path / "end").touch()
            _, said = process.communicate(timeout=30)
        finally:
            (tmp_path / "end").touch()
            process.kill()
    assert process.returncode == status
    assert (tmp_path / "attempts").stat().st_size == 1
    assert (f"not started again after {number.name}" in said) == (status == 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workdir=x"], "give the command after --"),
        (["--workdir=x", "--", "no-such-program"], "cannot run no-such-program: No such file"),
        (["--workdir=x", "--", os.devnull], f"cannot run {os.devnull}: Permission denied"),
        (["--", "true"], "workdir"),
        (["--workdir=x", "--max_restarts=-1", "--", "true"], "max_restarts"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, said):
    ended = run(*arguments, program="launch.restarts")
    assert ended.status == 2
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_help_shows_the_table():
    ended = run("--help", program="launch.restarts")
    assert ended.status == 0
    assert "exit status    meaning" in ended.stdout
    assert "--max_restarts" in ended.stdout


def test_it_needs_no_tensorflow():
    code = "import launch.restarts, launch.local, sys, json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert not {"tensorflow", "keras", "numpy"} & set(json.loads(done.stdout))
