"""Small translators: trained, killed, on several devices and by two workers, and used."""

import csv
import json
from pathlib import Path

import frozen_translation
import numpy as np
import pytest
import small_translation
from programs import ROOT, assert_same_run, losses, replaced, run
from task_runs import Job, metrics, ok, refused
from test_kills import killed_at

pytestmark = pytest.mark.end_to_end
CONFIG = ROOT / "tests" / "helpers" / "frozen_translation.py"
EVERY = (
    "--config.runtime.max_rows_per_device=4",
    "--config.evaluation.batch_size=8",
    "--config.save_every_steps=8",
    "--config.log_every_steps=3",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with parallel files."""
    folder = tmp_path_factory.mktemp("data")
    small_translation.write(folder / "train", 200)
    small_translation.write(folder / "test", 40, seed=1)
    return folder


def job(data: Path, cache: str) -> Job:
    files = (f"--config.data.{split}={data / split}" for split in ("train", "test"))
    return Job((f"--config={CONFIG}", *files, cache))


def written(workdir: Path) -> np.ndarray:
    """The tokens that the best weights write for the test set."""
    with np.load(workdir / "scores" / "test.npz") as kept:
        return kept["answers.ids"]


@pytest.mark.long
def test_a_translator_is_trained_and_used(launch, data, cache, tmp_path):
    trained, workdir = job(data, cache), tmp_path / "run"
    said = ok(launch(*trained.at(workdir))).stderr
    assert "and, of targets," in said
    found = metrics(workdir)
    assert found["examples"] == 40
    assert found["loss"] < 3  # of 300 tokens
    assert 0 <= found["bleu"] <= 100.01
    assert {"chrf", "perplexity", "exact_match", "rouge1", "rouge2", "rougeL"} <= found.keys()

    at = f"--workdir={workdir}"
    ended = ok(launch(at, "--split=test", program="launch.evaluate"))
    scores = json.loads(ended.stdout)
    assert {name: scores[name] for name in found} == found

    sources = (data / "test.en").read_text().splitlines()
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("nr", "en"), *enumerate(sources)])
    output = tmp_path / "written.csv"
    ok(launch(at, f"--input={table}", f"--output={output}", program="launch.predict"))
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["en"] for row in rows] == sources
    one = ok(launch(at, sources[3], program="launch.predict"))
    assert json.loads(one.stdout)["text"] == rows[3]["predicted text"]

    page = tmp_path / "report.html"
    ok(launch(at, f"--output={page}", program="launch.report"))
    content = page.read_text(encoding="utf-8")
    assert "BLEU by length of the source" in content
    assert "tok:13a" in content


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32"])
def test_four_devices_train_and_write_as_one(launch, data, cache, tmp_path, precision):
    flags = ("--config.log_every_steps=1", f"--config.runtime.precision={precision}")
    for devices in (1, 4):
        at = job(data, cache).at(tmp_path / str(devices), f"--cpu_devices={devices}", *flags)
        ok(launch(*at))
    one, four = (losses(tmp_path / each) for each in "14")
    assert len(one) == frozen_translation.STEPS
    assert list(one.values()) == pytest.approx(list(four.values()), rel=1e-4)
    np.testing.assert_array_equal(written(tmp_path / "1"), written(tmp_path / "4"))


@pytest.mark.promises
def test_killed_with_a_frozen_encoder_in_an_evaluation_and_in_all(data, cache, tmp_path):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    ok(run(*job(data, cache).at(calm, *EVERY)))
    flags = job(data, cache).at(killed, *EVERY)
    for place in ("accumulation:13", "evaluation:2", "accumulation:33", "saving:3"):
        killed_at(place, flags)
    ok(run(*flags))
    assert_same_run(calm, killed)
    np.testing.assert_array_equal(written(calm), written(killed))


@pytest.mark.cluster
def test_two_workers_train_and_write_as_one(data, cache, tmp_path):
    trained, flags = job(data, cache), ("--config.log_every_steps=1",)
    ok(run(*trained.at(tmp_path / "one", *flags)))
    ok(run("--workers=2", "--", *trained.at(tmp_path / "two", *flags), program="launch.local"))
    one, two = (losses(tmp_path / each) for each in ("one", "two"))
    assert list(one.values()) == pytest.approx(list(two.values()), rel=1e-4)
    np.testing.assert_array_equal(written(tmp_path / "one"), written(tmp_path / "two"))


@pytest.mark.long
def test_mistakes_are_one_line(launch, data, cache, tmp_path):
    trained, workdir = job(data, cache), tmp_path / "run"
    (data / "empty.en").write_text("a dog\nthe cat\n")
    (data / "empty.de").write_text("ein hund\n\n")
    flags = replaced(trained.at(workdir), f"--config.data.test={data / 'empty'}")
    said = refused(launch, workdir, *flags)
    assert "row 2: the target 'de' is empty: leave the row out" in said
    said = refused(launch, workdir, *trained.at(workdir, "--config.task.target_length=1"))
    assert "config.task.target_length=1 must be between 2 and" in said
    said = refused(launch, workdir, *trained.at(workdir, "--config.task.beams=1000"))
    assert "config.task.beams=1,000 is more than the" in said
    prefix = "translate a very long prefix of many words that fill all tokens there are: " * 2
    said = refused(launch, workdir, *trained.at(workdir, f"--config.task.prefix={prefix}"))
    assert "config.task.prefix" in said
    factory = "--config.model.factory=trainer.models.recurrent:lstm"
    said = refused(launch, workdir, *trained.at(workdir, factory))
    assert "config.model.factory" in said
