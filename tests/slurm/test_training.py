"""Training over two nodes of a real Slurm, submitted by launch.slurm."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from daemons import Slurm
from programs import ROOT, environment, losses, newest

pytestmark = [pytest.mark.cluster, pytest.mark.end_to_end]
LONG = 1_000_000  # steps: more than any test waits for
STEP = re.compile(r"step (\d+)/")


class Training:
    """A job of launch.slurm's with a task on each node."""

    def __init__(self, slurm: Slurm, workdir: Path, *train: str, flags: tuple[str, ...] = ()):
        self.slurm, self.workdir = slurm, workdir
        command = (sys.executable, "-m", "launch.slurm", "--nodes=2", "--cpus_per_task=2", *flags)
        ended = slurm.run(*command, "--", *train, f"--workdir={workdir}", PYTHONPATH=str(ROOT))
        assert ended.status == 0, ended.stderr
        self.job = re.search(r"Submitted job (\d+): ", ended.stderr)[1]

    @property
    def said(self) -> str:
        path = self.workdir.with_name(f"{self.workdir.name}-slurm-{self.job}.out")
        return path.read_text() if path.exists() else ""

    def wait_for(self, text: str, count: int = 1, seconds: float = 120) -> None:
        """Waits until it has said something so often."""

        self.slurm.wait(lambda: self.said.count(text) >= count, seconds)

    def wait_for_step(self, step: int) -> None:
        """Waits until it has come so far."""
        self.slurm.wait(lambda: step <= max(map(int, STEP.findall(self.said)), default=-1), 120)

    def begin_again(self, restarts: int) -> None:
        """Waits until it is queued again, and then not for the two minutes that Slurm would."""
        self.slurm.wait(lambda: self.slurm.state(self.job)["Restarts"] == str(restarts), 60)
        self.slurm.wait_for_state(self.job, "PENDING", 60)
        time.sleep(1)  # a node refuses a job in the second in which it was told to end it
        self.slurm.run("scontrol", "update", f"job={self.job}", "StartTime=now")


def test_a_run_to_its_end(slurm, workdir, smoke):
    training = Training(slurm, workdir, *smoke, "--config.phases[1].steps=30")
    slurm.wait_for_state(training.job, "COMPLETED", 180)
    assert json.loads((workdir / "result.json").read_text())["steps"] == 70
    workers = re.search(
        rf"0: 2 workers \(Slurm step {training.job}\.0\):\n"
        r"0: +0  n9:\d+ +chief \(this process\)\n"
        r"0: +1  n10:\d+\n",
        training.said,
    )
    assert workers, training.said


@pytest.mark.timeout(900)
def test_requeue_and_time_limit_leave_no_trace(slurm, tmp_path, smoke):
    flags = (
        *smoke,
        f"--config.phases[1].steps={LONG}",
        "--config.evaluation.every_steps=0",
        "--config.evaluation.every_epochs=0",
    )
    workdir, calm = tmp_path / "run", tmp_path / "calm"
    training = Training(slurm, workdir, *flags, flags=("--time=30", "--save_seconds=60"))
    job = training.job

    training.wait_for_step(50)
    slurm.run("scontrol", "requeue", job)
    training.begin_again(1)
    assert training.said.count("Saved at step") == 1, training.said

    training.wait_for("Resuming at step")
    first = saved_at(training)[0]
    training.wait_for_step(first + 20)
    slurm.run("scontrol", "update", f"job={job}", "EndTime=now+80")
    training.wait_for("Saved at step", 2)  # Slurm looks at the clock every 30 s only
    training.begin_again(2)
    assert "DUE TO TIME LIMIT" not in training.said

    last = saved_at(training)[1]
    training.wait_for_step(last + 20)
    slurm.run("scancel", job)
    slurm.wait_for_state(job, "CANCELLED", 60)
    end = saved_at(training)[2]
    assert newest(workdir / "checkpoints").name == f"step-{end:08d}"
    assert f"0: Resuming at step {first}" in training.said
    assert f"0: Resuming at step {last}" in training.said

    undisturbed(calm, flags, end)
    found, expected = losses(workdir), losses(calm)
    assert len(found) == end // 10
    assert found == {step: expected[step] for step in found}


def saved_at(training: Training) -> list[int]:
    return [int(step) for step in re.findall(r"Saved at step (\d+)", training.said)]


def undisturbed(workdir: Path, flags: tuple[str, ...], step: int) -> None:
    """Runs with two workers until a step, on this machine alone."""
    command = [sys.executable, "-m", "launch.local", "--workers=2", "--", *flags]
    said = workdir.with_name("calm.txt")
    with said.open("w") as file:
        process = subprocess.Popen(
            [*command, f"--workdir={workdir}"], cwd=ROOT, env=environment(), stderr=file
        )
    try:
        while max(map(int, STEP.findall(said.read_text())), default=-1) < step:
            assert process.poll() is None, said.read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 75, said.read_text()
    finally:
        process.kill()
        process.wait()
