"""Runs that a smoke test kills: in time, too late, or while they hang; programs stand for them."""

import sys
from types import SimpleNamespace

import pytest

from thaw.smoke import Disagreement, runs

# Stands for a run: logs steps, saves checkpoints, and waits or ends with a status.
PROGRAM = """
import json, pathlib, sys, time
workdir = pathlib.Path(sys.argv[-1].partition("=")[2])
print("error: " + sys.argv[1])
workdir.mkdir()
for step in json.loads(sys.argv[2]):
    (workdir / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
with (workdir / "metrics.jsonl").open("w") as file:
    for step in json.loads(sys.argv[3]):
        file.write(json.dumps({"step": step, "train/loss": 0.5}) + "\\n")
if sys.argv[1] == "ends":
    sys.exit(1)
time.sleep(60)
"""


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Kills such a run, of a kind, that has saved and logged some steps."""
    monkeypatch.setattr(runs, "_START_SECONDS", 2)

    def call(kind, saved, logged):
        program = [sys.executable, "-c", PROGRAM, kind, f"{saved}", f"{logged}"]
        prepared = SimpleNamespace(file="config.py")
        programs = runs.Programs(program, program)
        processes = runs.Processes(programs, prepared, tmp_path, tmp_path / "temporary")
        processes.kill(tmp_path / "run")

    return call


def test_a_run_is_killed_with_steps_that_it_has_not_saved(killed):
    killed("goes on", [2], [1, 2, 3])


def test_a_run_that_saved_too_much_is_begun_anew_some_times(killed):
    with pytest.raises(Disagreement, match="saved after step 3 before it was killed, 3 times"):
        killed("goes on", [2, 4], [1, 2, 3])


def test_a_run_that_hangs_is_ended(killed):
    with pytest.raises(Disagreement, match="no step 3 after 2 s: error: hangs"):
        killed("hangs", [2], [1, 2])


def test_a_run_that_ends_by_itself(killed):
    with pytest.raises(Disagreement, match="before it was killed, with status 1: error: ends"):
        killed("ends", [2], [1, 2])
