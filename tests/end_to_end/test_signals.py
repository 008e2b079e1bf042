"""SIGTERM and SIGINT save and say so; the same command goes on as if there had been none."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import ROOT, Ended, assert_same_run, environment, run

from configs.smoke import get_config

pytestmark = [pytest.mark.end_to_end, pytest.mark.promises]
CONFIG = get_config()
HEAD, TOTAL = CONFIG.phases[0].steps, sum(phase.steps for phase in CONFIG.phases)
INTERRUPTED = 75
# So that signals come between two lines of the log.
FLAGS = ("--config.log_every_steps=7", "--config.runtime.steps_per_call=3")


class Process:
    """A run of launch.train that one can watch."""

    def __init__(self, workdir: Path, *flags: str):
        self._said = workdir.with_name(f"{workdir.name}-said.txt")
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "launch.train", *flags, f"--workdir={workdir}"],
                cwd=ROOT,
                env=environment(),
                stderr=said,
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    def wait_for(self, text: str) -> "Process":
        return self.wait_until(lambda: text in self.said)

    def wait_until(self, done: Callable[[], bool]) -> "Process":
        while not done():
            assert self._process.poll() is None, self.said
            time.sleep(0.002)
        return self

    def send(self, number: signal.Signals) -> "Process":
        self._process.send_signal(number)
        return self

    def end(self) -> Ended:
        try:
            return Ended(self._process.wait(300), "", self.said)
        finally:
            self._process.kill()
            self._process.wait()


def test_each_signal_saves_and_the_same_command_goes_on(tmp_path, smoke):
    calm, workdir = tmp_path / "calm", tmp_path / "run"
    reference = run(*smoke, *FLAGS, f"--workdir={calm}")
    assert reference.status == 0, reference.stderr
    flags = (*smoke, *FLAGS)

    # Before the first step there is nothing to save.
    ended = Process(workdir, *flags).wait_for("replicas on").send(signal.SIGTERM).end()
    assert ended.status == INTERRUPTED
    assert "SIGTERM: ended before the first step" in ended.stderr

    step = HEAD // 14 * 7
    ended = Process(workdir, *flags).wait_for(f"step {step}/").send(signal.SIGTERM).end()
    assert ended.status == INTERRUPTED
    assert "SIGTERM: saving" in ended.stderr
    assert "Saved at step" in ended.stderr
    assert "the same command goes on" in ended.stderr

    # In an evaluation, which small batches make long: it is not counted, and made again.
    process = Process(workdir, *flags, "--config.evaluation.batch_size=1")
    process.wait_until((workdir / "checkpoints" / f"step-{HEAD:08d}").exists)
    time.sleep(1)
    ended = process.send(signal.SIGTERM).end()
    assert "Resuming at step" in ended.stderr
    assert ended.status == INTERRUPTED
    assert f"Saved at step {HEAD}:" in ended.stderr
    assert f"step {HEAD}/{TOTAL} validation" not in ended.stderr, "it ended before the signal"

    ended = (
        Process(workdir, *flags).wait_for(f"step {HEAD // 7 * 7 + 14}/").send(signal.SIGINT).end()
    )
    assert f"Resuming at step {HEAD}" in ended.stderr
    assert ended.status == INTERRUPTED
    assert "SIGINT: saving" in ended.stderr

    ended = Process(workdir, *flags).end()
    assert ended.status == 0, ended.stderr
    assert_same_run(calm, workdir)


def test_a_second_interrupt_ends_at_once(workdir, smoke):
    """Even while the device works at a call of very many steps."""
    long = 1_000_000
    flags = (
        f"--config.phases[0].steps={long}",
        "--config.evaluation.every_steps=0",
        "--config.evaluation.every_epochs=0",
        *(f"--config.{name}={long}" for name in ("log_every_steps", "save_every_steps")),
        f"--config.histograms_every_steps={long}",
        "--config.runtime.steps_per_call=100000",
    )
    process = Process(workdir, *smoke, *flags).wait_for("Phase")
    time.sleep(10)  # into the call
    began = time.monotonic()
    process.send(signal.SIGINT).wait_for("SIGINT: saving")
    ended = process.send(signal.SIGINT).end()
    assert ended.status == 128 + signal.SIGINT
    assert time.monotonic() - began < 5
