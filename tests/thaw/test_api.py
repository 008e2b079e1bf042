"""thaw in Python: the runs of the programs, errors that are raised, several runs in one process."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import tickets
from programs import ROOT, assert_same_run, contents, environment
from task_runs import ok

import thaw
from trainer.storage.workdir import Workdir

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def csv_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "tickets.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        tickets.write(file, 120)
    return path


def settings(csv_file, **changes):
    """A tiny model, trained for four steps."""
    config = thaw.read_config(ROOT / "configs" / "files.py")
    config.data.train = str(csv_file)
    config.model = dataclasses.replace(config.model, width=16, heads=2, ffn_width=16)
    config.runtime.xla = "off"
    return dataclasses.replace(config, max_steps=4, save_every_steps=2, **changes)


@pytest.fixture(scope="module")
def trained(csv_file, tmp_path_factory):
    """The result of a run; nobody may change its folder."""
    folder = tmp_path_factory.mktemp("runs")
    return thaw.train(settings(csv_file), folder / "run", cache_dir=folder / "cache")


@pytest.mark.long
def test_a_run_in_this_process_is_that_of_the_program(launch, csv_file, trained, tmp_path, cache):
    assert trained.steps == 4
    assert trained.test == json.loads((trained.workdir / "result.json").read_text())["test"]
    flags = [f"--config.data.train={csv_file}", "--config.max_steps=4", cache]
    flags += [f"--config.model.{k}=16" for k in ("width", "ffn_width")]
    flags += ["--config.model.heads=2", "--config.save_every_steps=2", "--config.runtime.xla=off"]
    ok(launch("--config=configs/files.py", f"--workdir={tmp_path / 'run'}", *flags))
    assert_same_run(trained.workdir, tmp_path / "run")


@pytest.mark.long
def test_a_second_run_in_the_process_is_the_first_again(csv_file, trained, tmp_path):
    given = settings(csv_file)
    before = dataclasses.asdict(given)
    thaw.train(given, tmp_path / "run", cache_dir=tmp_path / "cache")
    assert dataclasses.asdict(given) == before
    assert_same_run(trained.workdir, tmp_path / "run")


@pytest.mark.long
def test_a_run_goes_on_in_the_same_process_and_has_ended_after_it(csv_file, tmp_path, capfd):
    given, cache = settings(csv_file), tmp_path / "cache"
    given.max_steps = 2
    assert thaw.train(given, tmp_path / "run", cache_dir=cache).steps == 2
    given.max_steps = 4
    result = thaw.train(given, tmp_path / "run", cache_dir=cache)
    assert result.steps == 4
    assert "Resuming at step 2" in capfd.readouterr().err
    assert thaw.train(given, tmp_path / "run", cache_dir=cache) == result
    assert "This run has ended" in capfd.readouterr().err


@pytest.mark.long
def test_an_interrupt_saves_and_the_same_call_goes_on(csv_file, trained, tmp_path, monkeypatch):
    where = tmp_path / "run"
    done = Workdir.begin

    def begin(self, *arguments, **more):
        done(self, *arguments, **more)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    monkeypatch.setattr(Workdir, "begin", begin)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(thaw.Interrupted, match=rf"saved in {where}: the same call goes on"):
        thaw.train(settings(csv_file), where, cache_dir=tmp_path / "cache")
    assert signal.getsignal(signal.SIGINT) == before
    monkeypatch.setattr(Workdir, "begin", done)
    assert thaw.train(settings(csv_file), where, cache_dir=tmp_path / "cache").steps == 4
    assert_same_run(trained.workdir, where)


@pytest.mark.long
def test_predictions_evaluations_exports_and_reports(launch, trained, tmp_path, cache):
    model = thaw.load(trained.workdir)
    assert model.labels == [*sorted(tickets.SENTENCES)]
    texts = ["The parcel is damaged.", "I was charged twice."]
    found = model.predict(texts)
    said = ok(
        launch(
            *(f"--workdir={trained.workdir}", *(f"--texts={text}" for text in texts)),
            program="launch.predict",
        )
    )
    assert [{"id": i, **row} for i, row in enumerate(found)] == [
        json.loads(line) for line in said.stdout.splitlines()
    ]
    assert model.predict([{"message": text} for text in texts]) == found
    assert model.predict([]) == []
    measured = model.evaluate(cache_dir=tmp_path / "cache")
    assert measured.pop("split") == "test"
    assert measured.pop("step") == trained.step
    assert measured.pop("groups") == trained.groups["test"]
    assert trained.groups["test"].keys() == trained.groups["validation"].keys() == {*model.labels}
    assert measured == trained.test
    assert model.predict(texts) == found
    assert (model.export(tmp_path / "made") / "saved_model.pb").is_file()
    page = thaw.report(trained.workdir, tmp_path / "page.html")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_an_evaluation_has_the_devices_of_the_model(trained, monkeypatch):
    model = thaw.load(trained.workdir, cpu_devices=1)
    monkeypatch.setattr("thaw.trained.evaluate", lambda *_, **settings: settings)
    assert model.evaluate()["cpu_devices"] == 1


def test_mistakes_are_errors_of_one_line(csv_file, trained, tmp_path):
    model = thaw.load(trained.workdir)
    given = settings(csv_file)
    wrong = dataclasses.replace(given, global_batch_size=0)
    other = dataclasses.replace(given, seed=7)
    before = contents(trained.workdir)
    for call, said in (
        (lambda: thaw.train(wrong, tmp_path / "a"), "global_batch_size=0 must be between"),
        (lambda: thaw.train(other, trained.workdir), "holds another run (config.seed: 0 -> 7)"),
        (lambda: thaw.train(given, ""), "the workdir is empty: give a path"),
        (lambda: thaw.load(tmp_path / "no"), "holds no run"),
        (lambda: thaw.read_config("no.py"), "config=no.py: No such file"),
        (lambda: model.evaluate("no"), "is not one of: train, validation, test"),
        (lambda: model.predict([{"text": "a"}]), "no column 'message'; its columns: 'text'"),
        (lambda: model.predict("a text"), "give a list of rows"),
        (lambda: model.predict({"message": "a"}), "give a list of rows"),
        (lambda: model.predict([7]), "row 0 must be a text, or a mapping"),
        (lambda: model.predict(["a"], threshold=0.5), "--threshold is for two classes"),
        (lambda: model.export(tmp_path / "e", "onnx"), "'onnx' is not one of: savedmodel"),
        (lambda: model.export(trained.workdir), "is there already: remove it, or choose another"),
        (lambda: thaw.report([]), "name at least one workdir"),
    ):
        with pytest.raises(thaw.UserError) as caught:
            call()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert contents(trained.workdir) == before
    assert not (tmp_path / "a").exists()


@pytest.mark.long
def test_other_devices_in_a_process_that_has_begun(csv_file, trained, tmp_path):
    assert trained
    with pytest.raises(thaw.UserError, match=r"begun with other devices .* restart the kernel"):
        thaw.train(settings(csv_file), tmp_path / "a", cpu_devices=3)


def test_importing_thaw_is_quick_and_leaves_matplotlib_alone():
    code = (
        "import sys, os, thaw; slow = {'tensorflow', 'keras', 'transformers', 'matplotlib'};"
        "assert not slow & set(sys.modules), slow & set(sys.modules);"
        "print(os.environ['MPLBACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(), "MPLBACKEND": "module://inline"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "module://inline\n"
