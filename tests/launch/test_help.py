"""--help, and that launch.evaluate gives what launch.train gave."""

import json

import pytest
from programs import run

FLAGS = ("--workdir", "--cpu_devices", "--cache_dir")


def test_help_of_train():
    ended = run("--help")
    assert ended.status == 0
    assert ended.stderr == ""
    assert ended.stdout.startswith("Trains a model: one config file, one workdir")
    for flag in (*FLAGS, "--config"):
        assert f"\n  {flag}: " in ended.stdout
    assert "python -m launch.train --config=configs/quickstart.py" in ended.stdout
    assert len(ended.stdout.splitlines()) < 40
    assert run("-h").stdout == ended.stdout


def test_help_of_evaluate():
    ended = run("--help", program="launch.evaluate")
    assert ended.status == 0
    assert "python -m launch.evaluate --workdir=" in ended.stdout
    for flag in (*FLAGS, "--split", "--data_dir", "--batch_size"):
        assert f"\n  {flag}: " in ended.stdout
    assert "train, validation, test, or another set of the run" in ended.stdout


@pytest.mark.long
def test_evaluate_gives_what_train_gave(launch, few):
    assert launch(*few.flags).status == 0
    result = json.loads((few.workdir / "result.json").read_text())
    flags = (f"--workdir={few.workdir}", few.flags[-1])
    for split in ("test", "validation"):
        ended = launch(*flags, f"--split={split}", program="launch.evaluate")
        assert ended.status == 0, ended.stderr
        scores = json.loads(ended.stdout)
        assert scores.pop("split") == split
        assert scores.pop("step") == result["best_step"]
        expected = result[split]
        assert {name: scores[name] for name in expected} == expected
    ended = launch(*flags, "--split=dev", program="launch.evaluate")
    assert ended.status == 2
    assert "--split='dev' is not one of: train, validation, test" in ended.stderr

    other = few.test.with_name("other.csv")
    other.write_bytes(few.test.read_bytes())
    ended = launch(*flags, f"--data={other}", program="launch.evaluate")
    assert ended.status == 0, ended.stderr
    scores = json.loads(ended.stdout)
    assert scores["split"] == str(other)
    assert {name: scores[name] for name in result["test"]} == result["test"]
    ended = launch(*flags, f"--data={other}x", program="launch.evaluate")
    assert ended.status == 2
    assert f"--data='{other}x': there is no such file: correct the name" in ended.stderr
    ended = launch(*flags, f"--data={other}", "--split=test", program="launch.evaluate")
    assert ended.status == 2
    assert "--split='test' and --data are two things to score: give one" in ended.stderr


@pytest.mark.long
def test_evaluate_reads_only_the_split_that_it_scores(launch, few, tmp_path):
    assert launch(*few.flags).status == 0
    expected = json.loads((few.workdir / "result.json").read_text())["test"]
    flags = (f"--workdir={few.workdir}", f"--cache_dir={tmp_path / 'cold'}", "--batch_size=3")
    ended = launch(*flags, program="launch.evaluate")
    assert ended.status == 0, ended.stderr
    scores = json.loads(ended.stdout)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert len([each for each in (tmp_path / "cold").rglob("*") if each.is_dir()]) == 1


@pytest.mark.long
def test_evaluate_on_more_devices(launch, few):
    assert launch(*few.flags).status == 0
    expected = json.loads((few.workdir / "result.json").read_text())["test"]
    ended = launch(
        f"--workdir={few.workdir}", few.flags[-1], "--cpu_devices=2", program="launch.evaluate"
    )
    scores = json.loads(ended.stdout)
    assert scores["examples"] == expected["examples"]
    assert scores["loss"] == pytest.approx(expected["loss"], rel=1e-5)
