"""Arithmetic and messages of the benchmarks of speed; a whole quick run of each is slow."""

import json
import subprocess
import sys

import numpy as np
import pytest
from programs import ROOT

CHECKPOINTS = [
    {"step": 10, "seconds": 20.0, "test_accuracy": 0.7},
    {"step": 20, "seconds": 40.0, "test_accuracy": 0.8},
]
EPOCHS = [
    {"epoch": 1, "seconds": 90.0, "scoring_seconds": 9.0, "test_accuracy": 0.75},
    {"epoch": 2, "seconds": 60.0, "scoring_seconds": 10.0, "test_accuracy": 0.6},
]


def benchmark(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scripts.benchmarks.speed", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540)


def calls(seconds_a_step: float) -> list:
    return [(step, 10, np.full(2, 10 * seconds_a_step)) for step in range(10, 70, 10)]


def logged(share: float) -> list:
    """Logging that takes this share of steps of 0.01 s."""
    return [(step, step * 0.01 * share) for step in range(10, 70, 10)]


@pytest.mark.parametrize(
    ("real", "share", "status"),
    [(0.0104, 0.014, 0), (0.0106, 0.014, 1), (0.0104, 0.016, 1)],
)
def test_median_of_rounds_decides(capsys, real, share, status):
    from scripts.benchmarks import overhead

    evaluation = overhead.Evaluation(0.005, 100)  # 0.5 % of a step
    measured = (calls(real), calls(0.01), logged(share), evaluation)
    assert overhead.report(*measured, rounds=2, steps=20, warmup=20) == status
    said = capsys.readouterr().out
    assert f"median {real * 100:.4f}" in said
    assert f"logging: median {share + 0.005:.2%}" in said


def test_a_round_of_other_steps_is_an_error():
    from scripts.benchmarks import overhead

    measured = (calls(1), calls(1)[:-1], logged(0), overhead.Evaluation(0.0, 1))
    with pytest.raises(RuntimeError, match="round 2 is not of 20 steps"):
        overhead.report(*measured, rounds=2, steps=20, warmup=20)


def test_table_shows_what_counts(capsys):
    from scripts.benchmarks import time_to_accuracy

    result = {
        "holds": True,
        "ratio": 40 / 90,
        "machine": "here",
        "test_examples": 1000,
        "peer": {"epochs": EPOCHS},
        "ours": {"checkpoints": CHECKPOINTS},
    }
    time_to_accuracy.report(result, EPOCHS[0], CHECKPOINTS[1])
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if "<-" in line] == [
        "Keras",
        "launch.train",
    ]
    assert "ratio 0.444 (40.0 s / 90.0 s)" in out
    assert "scored its test set: 0.494" in out  # 40 / 81
    time_to_accuracy.report({**result, "holds": False, "ratio": None}, EPOCHS[0], None)
    assert "does not hold: ours never reached 0.7500" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["overhead", "--config=nowhere.py"], "error: --config=nowhere.py is not there"),
        (["time-to-accuracy", "--config=configs/smoke.py", "--output=docs"], "is not empty"),
        (["overhead", "--rounds=0"], "invalid"),
        (["step", "--length=600"], "error: --length=600: there are 512 positions"),
        (["step", "--breakdown", "--xla=off"], "leave out --xla and --record"),
        (["scale", "--times=1", "--data_dir=x"], "error: --times=1: compare with 2 times"),
        (["scale", "--times=1000000000", "--data_dir=x"], "GB to spare, 80000001.0 are needed"),
        (["step", "--xla=off", "--record=x.csv"], "leave out --xla and --model"),
        (["scale", "--data_dir=data", "--folder=nowhere"], "error: --folder=nowhere is not there"),
        (["scaling", "--config.seed=1"], "error: scaling has no flag --config.seed=1"),
        (["step", "--record=docs"], "error: --record=docs cannot be written: name a file"),
        (["start", "--config=configs/smoke.py", "--config.typo=1"], "error: launch.train ended: "),
    ],
)
def test_mistakes_are_told(arguments, said):
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.end_to_end
@pytest.mark.slow
def test_overhead_runs():
    done = benchmark("overhead", "--config=configs/smoke.py", "--rounds=1")
    assert done.returncode in (0, 1), done.stderr
    assert "round   1" in done.stdout


@pytest.mark.end_to_end
@pytest.mark.slow
def test_time_to_accuracy_runs(tmp_path):
    done = benchmark(
        "time-to-accuracy",
        "--config=configs/smoke.py",
        "--limit=300",
        "--peer_epochs=1",
        f"--output={tmp_path / 'out'}",
    )
    assert done.returncode in (0, 1), done.stderr
    result = json.loads((tmp_path / "out" / "time_to_accuracy.json").read_text())
    assert result["test_examples"] == 300
    assert len(result["peer"]["epochs"]) == 1
    for point in result["peer"]["epochs"] + result["ours"]["checkpoints"]:
        assert 0 < point["seconds"] < 540
        assert 0 <= point["test_accuracy"] <= 1


@pytest.mark.end_to_end
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["step", "--rounds=1", "--rows=2", "--length=16"], "2 rows of 16 tokens in "),
        (["step", "--rounds=1", "--rows=2", "--length=16", "--breakdown"], "matrix products"),
        (["input", "--config=configs/smoke.py", "--rounds=1"], "round 1: input alone"),
        (["head", "--config=configs/smoke.py", "--rounds=1"], "cached: median"),
        (["start", "--config=configs/smoke.py", "--rounds=1"], "resumed: median"),
    ],
)
def test_each_benchmark_of_speed_runs(arguments, said):
    """The verdict itself means nothing at these sizes."""
    done = benchmark(*arguments)
    assert done.returncode in (0, 1), done.stderr
    assert said in done.stdout


@pytest.mark.end_to_end
@pytest.mark.slow
def test_starts_on_more_data(tmp_path):
    """Made of the sample, which has the fields and labels of imdb_reviews."""
    from scripts.benchmarks import data_scale
    from trainer.config import Data
    from trainer.data.sources import open_source
    from trainer.tasks.classification import Classification

    data = Data(name="imdb_sample", data_dir=str(ROOT / "data"), train="train[:200]")
    source = open_source(data, Classification())
    flags = ["--config=configs/smoke.py", "--config.runtime.steps_per_call=1"]
    flags += ["--config.save_every_steps=2"]
    assert data_scale.measure(source, 3, flags, tmp_path) in (0, 1)
    one, three = ((tmp_path / f"train-{n}.jsonl").read_text().splitlines() for n in (1, 3))
    assert len(three) == 3 * len(one) > 0
