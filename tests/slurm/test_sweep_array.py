"""A sweep as a job array of a real Slurm: each task trains its own trial."""

import json
import sys

import pytest
from programs import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.end_to_end]


def test_each_task_trains_its_trial(slurm, tmp_path, cache):
    folder = tmp_path / "sweep"
    few = ("--config.phases[0].steps=11", "--config.max_steps=11", cache)
    own = ("--list=seed=4,5", "--slurm", "--parallel=1")
    command = (sys.executable, "-m", "launch.sweep", f"--output={folder}", *own, "--")
    ended = slurm.run(*command, "--config=configs/smoke.py", *few, PYTHONPATH=str(ROOT))
    assert ended.status == 0, ended.stderr
    number = ended.stderr.split("Submitted job array ")[1].split(":")[0]
    results = [folder / f"trial-{i:03}" / "result.json" for i in range(2)]
    slurm.wait(lambda: all(path.exists() for path in results), 120)
    for seed, path in zip((4, 5), results, strict=True):
        values = json.loads(path.with_name("config.json").read_text())
        assert values["seed"] == seed
        assert json.loads(path.read_text())["steps"] == 11
    assert (folder / f"slurm-{number}_0.out").exists()
