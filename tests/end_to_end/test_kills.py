"""Killed with SIGKILL again and again, a run ends as if nothing had happened."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import ROOT, assert_same_run, environment, run

from configs.smoke import get_config

pytestmark = [pytest.mark.end_to_end, pytest.mark.promises]
CONFIG = get_config()
FLAGS = (
    f"--config.runtime.max_rows_per_device={CONFIG.global_batch_size // 4}",
    "--config.log_every_steps=7",  # so that saves fall between two lines of the log
    "--config.histograms_every_steps=50",
)
# The first phase ends early, so that the second starts from the best weights of the first.
EARLY = (
    "--config.evaluation.every_steps=10",
    "--config.phases[0].steps=150",
    "--config.phases[0].patience=2",
    "--config.phases[1].steps=60",
    "--config.optimizer.ema=0.9",
)


def last_step(workdir: Path) -> int:
    """The last step in metrics.jsonl, 0 if there is none."""
    try:
        lines = (workdir / "metrics.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return 0
    for line in reversed(lines):
        try:
            return json.loads(line)["step"]
        except ValueError:
            continue
    return 0


def killed_at(place: str, flags: tuple[str, ...]) -> str:
    """Runs up to `place`; where the kill hit, in the program's own words."""
    script = Path(__file__).with_name("kill_at.py")
    done = subprocess.run(
        [sys.executable, script, place, *flags],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, (place, done.returncode, done.stderr)
    return re.findall(r"^killed (.*)$", done.stderr, re.M)[-1]


def killed_in_time(workdir: Path, flags: tuple[str, ...], step: int, delay: float) -> str:
    """Kills from outside, `delay` seconds after step `step` was logged (or after the start)."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "launch.train", *flags],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.DEVNULL,
    ) as process:
        while last_step(workdir) < step and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        lived = process.poll() is None
        process.kill()
    assert lived, "it had ended"
    assert process.returncode == -signal.SIGKILL
    seconds = time.monotonic() - began
    return f"{seconds:.1f} s after its start, step {last_step(workdir)} being the last in the log"


def total_steps() -> int:
    return sum(phase.steps for phase in CONFIG.phases)


def test_killed_in_four_places_with_early_stopping(tmp_path, smoke, capsys):
    """Inside accumulation, a change of phase, an evaluation and a save."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    flags = (*smoke, *FLAGS, *EARLY)
    reference = run(*flags, f"--workdir={calm}")
    assert reference.status == 0, reference.stderr
    assert "ends at step" in reference.stderr, "no early stopping: make the first phase longer"
    (at_the_end,) = re.findall(r"^step (\d+/\d+) test: ", reference.stderr, re.M)
    assert len({*at_the_end.split("/")}) == 1, "a phase was shorter: so is the whole"
    compiled = re.findall(r"^Compiling the step of phase '(.*)'$", reference.stderr, re.M)
    assert compiled == [phase.name for phase in CONFIG.phases]
    flags = (*flags, f"--workdir={killed}")
    hits = [
        killed_at(place, flags)
        for place in ("accumulation:33", "phase:1", "evaluation:2", "saving:3")
    ]
    assert "restored" in hits[1]
    last = run(*flags)
    assert last.status == 0, last.stderr
    with capsys.disabled():
        print("\nkilled 4 times:", *hits, sep="\n  ")
    assert_same_run(calm, killed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_ten_times(tmp_path, smoke, capsys):
    """Ten kills of one run, six of them at moments drawn at random."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    flags = (*smoke, *FLAGS)
    reference = run(*flags, f"--workdir={calm}")
    assert reference.status == 0, reference.stderr
    flags = (*flags, f"--workdir={killed}")
    draw, total, head = random.Random(1), total_steps(), CONFIG.phases[0].steps

    def at_random(share: float) -> str:
        step = int(total * (share + draw.uniform(0, 0.05)))
        return killed_in_time(killed, flags, step, draw.uniform(0, 0.1))

    hits = [
        killed_in_time(killed, flags, 0, draw.uniform(1, 6)),  # while it starts
        killed_at(f"accumulation:{head // 2}", flags),
        killed_at("phase:1", flags),
        at_random(head / total + 0.05),
        killed_at("evaluation:1", flags),
        at_random(0.4),
        killed_at("writing:1", flags),
        at_random(0.6),
        killed_at("saving:2", flags),
        at_random(0.8),
    ]
    last = run(*flags)
    assert last.status == 0, last.stderr
    with capsys.disabled():
        print("\nkilled 10 times:", *hits, sep="\n  ")
    assert_same_run(calm, killed)
