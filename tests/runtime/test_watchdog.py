"""A process that makes no progress shows its stacks and ends."""

import subprocess
import sys
import time

import pytest
from programs import ROOT, environment

from trainer.runtime.watchdog import Watchdog

PROGRAM = """
import os, sys, time
from trainer.runtime import watchdog
def end(text):
    print(text, file=sys.stderr, flush=True)
    os._exit(7)
watchdog.SECOND_CHANCE_SECONDS = 1.0
watched = watchdog.Watchdog(1.0, end)
for _ in range(6):
    time.sleep(0.4)
    watched.progress()
print("alive", file=sys.stderr, flush=True)
def stuck():
    {stuck}
stuck()
"""
WAITS = "time.sleep(60)"
# C code that keeps the interpreter to itself: Python's threads stand still.
HOLDS = "sys.setswitchinterval(1000); sum(range(10**12))"


def ended(stuck: str) -> tuple[int, str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(stuck=stuck)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr, time.monotonic() - began


@pytest.mark.long
def test_stacks_and_a_line():
    status, said, seconds = ended(WAITS)
    assert status == 7
    assert "alive" in said  # progress kept it so for longer than the limit
    assert "in stuck" in said
    assert "no progress for 1 s" in said
    assert 3 < seconds < 20


@pytest.mark.long
def test_a_process_that_keeps_the_interpreter_ends_too():
    status, said, _ = ended(HOLDS)
    assert status == 1
    assert "in stuck" in said


def test_stopped_it_ends_nothing():
    ends = []
    watchdog = Watchdog(0.2, ends.append)
    watchdog.stop()
    time.sleep(0.5)
    assert not ends
    Watchdog(0, ends.append).progress()  # off
    time.sleep(0.1)
    assert not ends
