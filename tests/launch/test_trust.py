"""Code that a workdir names: imported only where the person who runs a program trusts it."""

import json
import pkgutil
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from sealing import reseal

from tests.launch.conftest import ROWS, Few
from trainer.evaluation.scores import Kept
from trainer.storage import sealed
from trainer.tasks.classification import Classification
from trainer.tasks.metrics import softmax

PARTS = """
from pathlib import Path

from trainer.models import network

Path(__file__).with_name("marker").write_text("ran")
build = network.build


def worst(labels, probabilities):
    return 0.25
"""


class Foreign:
    """A run whose settings name the module `odd_parts`, which leaves a file where it is imported.

    Attributes:
      workdir: of the run. path: where the module lies. said: what training said.
    """

    def __init__(self, folder: Path, cache: str, launch):
        self.few, self.path, self._launch = Few(folder, cache), folder / "path", launch
        self.workdir, self._marker = self.few.workdir, self.path / "marker"
        self.path.mkdir()
        (self.path / "odd_parts.py").write_text(PARTS)
        own = (
            "--config.model.factory=odd_parts:build",
            "--config.task.metrics=('odd_parts:worst',)",
        )
        ended = self(*self.few.flags, *own, program="train")
        assert ended.status == 0, ended.stderr
        assert self.ran()
        self.said = ended.stderr
        self.result = sealed.read(self.workdir / "result.json")

    def __call__(self, *flags: object, program: str):
        return self._launch(*flags, program=f"launch.{program}", path=[self.path])

    def ran(self) -> bool:
        """True if the module was imported since this was asked last."""
        found = self._marker.exists()
        self._marker.unlink(missing_ok=True)
        return found

    def refused(self, *flags: object, program: str) -> str:
        """Runs a program that must refuse the workdir; the line that says why."""
        before = sorted(self.workdir.rglob("*"))
        ended = self(f"--workdir={self.workdir}", *flags, program=program)
        assert ended.status == 2, ended.stderr
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert not self.ran()
        assert sorted(self.workdir.rglob("*")) == before
        return ended.stderr.strip()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory, cache, launch) -> Foreign:
    return Foreign(tmp_path_factory.mktemp("foreign"), cache, launch)


def named(foreign: Foreign, field: str = "config.model.factory='odd_parts:build'") -> str:
    return (
        f"error: {foreign.workdir / 'config.json'} names code that is not this library's own,"
        f" {field}: if you know it and trust it, give --trust=odd_parts"
    )


def test_training_says_which_flag_its_parts_will_need(foreign):
    where = f"--workdir={foreign.workdir} --trust=odd_parts"
    for program in ("evaluate", "predict", "export", "report"):
        assert f"launch.{program} {where}" in " ".join(foreign.said.split())


def test_predict(foreign):
    texts = [f"--texts=a {text}" for text, _ in ROWS[:8]]
    assert foreign.refused(*texts, program="predict") == named(foreign)
    assert foreign.refused(*texts, "--trust=odd", program="predict") == named(foreign)
    ended = foreign(f"--workdir={foreign.workdir}", *texts, "--trust=odd_parts", program="predict")
    assert ended.status == 0, ended.stderr
    assert foreign.ran()
    digest = foreign.result["sha256"]["scores/test.npz"]
    task = Classification().bound({"labels": ["bad", "good"]})
    kept = Kept.load(foreign.workdir / "scores" / "test.npz", digest, task)
    expected = softmax(kept.scores.answers["logits"] / foreign.result["temperature"])
    found = [json.loads(line)["probabilities"] for line in ended.stdout.splitlines()]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_evaluate(foreign):
    flags = (foreign.few.flags[-1], "--split=test")
    assert foreign.refused(*flags, program="evaluate") == named(foreign)
    flags = (f"--workdir={foreign.workdir}", *flags, "--trust=other", "--trust=odd_parts")
    ended = foreign(*flags, program="evaluate")
    assert ended.status == 0, ended.stderr
    assert foreign.ran()
    found = json.loads(ended.stdout)
    assert found["worst"] == 0.25
    assert {name: found[name] for name in foreign.result["test"]} == foreign.result["test"]


@pytest.mark.long
def test_modules_of_the_current_folder_stay_unread(few, launch, tmp_path, cache):
    """As a stranger's folder may hold them: of what is installed, of Python, and of neither."""
    ended = launch(*few.flags)
    assert ended.status == 0, ended.stderr
    folder = tmp_path / "theirs"
    shutil.copytree(few.workdir, folder / "nice")
    found = pkgutil.iter_modules([sysconfig.get_path("purelib")])
    installed = {each.name for each in found if not each.name.startswith("_")}  # of Python's start
    where, root = {"folder": str(folder), "fresh": True}, Path(__file__).parents[2]
    another_process = {"XLA_FLAGS": "--xla_cpu_use_acl=false"}  # imports TensorFlow first
    for names, program, flags, variables in (
        # An empty entry of PYTHONPATH is the current folder: Python itself would not start there.
        (
            {*installed, "torch"},
            "evaluate",
            ["--split=test", cache],
            {"PYTHONPATH": f":{root}", **another_process},
        ),
        (sys.stdlib_module_names, "predict", ["--texts=a"], another_process),
    ):
        for name in names:
            (folder / f"{name}.py").write_text(f"raise SystemExit('ran {name}')")
        more = {"program": f"launch.{program}", "environment": variables, **where}
        ended = launch("--workdir=nice", *flags, **more)
        assert ended.status == 0, ended.stderr


@pytest.mark.long
def test_what_is_trusted_may_lie_in_the_current_folder(foreign, launch, tmp_path):
    (tmp_path / "yaml.py").write_text("raise SystemExit('ran yaml')")
    shutil.copy(foreign.path / "odd_parts.py", tmp_path)
    flags = (f"--workdir={foreign.workdir}", "--texts=a")
    more = {"program": "launch.predict", "folder": str(tmp_path), "fresh": True}
    assert "--trust=odd_parts" in launch(*flags, **more).stderr
    assert not (tmp_path / "marker").exists()
    ended = launch(*flags, "--trust=odd_parts", **more)
    assert ended.status == 0, ended.stderr
    assert (tmp_path / "marker").read_text() == "ran"


@pytest.mark.parametrize("format_", ["keras", "huggingface"])
def test_export(foreign, tmp_path, format_):
    flags = (f"--format={format_}", f"--output={tmp_path / 'exported'}")
    assert foreign.refused(*flags, program="export") == named(foreign)
    assert not (tmp_path / "exported").exists()
    if format_ == "keras":
        flags = (f"--workdir={foreign.workdir}", *flags, "--trust=odd_parts")
        ended = foreign(*flags, program="export")
        assert ended.status == 0, ended.stderr
        assert foreign.ran()
        assert (tmp_path / "exported" / "model.keras").is_file()


def test_a_report_asks_too_and_runs_no_code(foreign, tmp_path):
    page = tmp_path / "page.html"
    assert foreign.refused(f"--output={page}", program="report") == named(foreign)
    assert not page.exists()
    flags = (f"--workdir={foreign.workdir}", f"--output={page}", "--trust=odd_parts")
    ended = foreign(*flags, program="report")
    assert ended.status == 0, ended.stderr
    assert not foreign.ran()
    assert f"{100 * foreign.result['test']['accuracy']:.2f}" in page.read_text()


@pytest.mark.long
def test_weights_of_an_earlier_run_are_taken_without_its_code(foreign, few):
    """Its encoder is compared by its settings: here the factory is another."""
    shutil.copytree(foreign.workdir, few.workdir.with_name("earlier"))
    earlier = few.workdir.with_name("earlier")
    flags = (*few.flags, f"--config.model.initial_run={earlier}")
    ended = foreign(*flags, program="train")
    assert ended.status == 2
    assert "has another encoder (factory='odd_parts:build', here 'trainer.models" in ended.stderr
    assert not foreign.ran()
    own = "trainer.models.network:build"
    reseal(earlier / "config.json", lambda v: v["model"].update(factory=own))
    ended = foreign(*flags, program="train")  # its metrics are still of others
    assert ended.status == 0, ended.stderr
    assert f"parameters start from {earlier}" in ended.stderr
    assert not foreign.ran()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("class", "odd_parts:build", "config.task='odd_parts:build'"),
        ("loss", "odd_parts:build", "config.task.loss='odd_parts:build'"),
        ("metrics", ["odd_parts:worst"], "config.task.metrics[0]='odd_parts:worst'"),
    ],
)
def test_tasks_losses_and_metrics_go_the_same_way(foreign, field, value, said):
    config = foreign.workdir / "config.json"
    before = config.read_bytes()

    def change(values):
        values["task"]["metrics"] = []
        values["model"]["factory"] = "trainer.models.network:build"
        values["task"][field] = value

    try:
        reseal(config, change)
        assert foreign.refused("--texts=a", program="predict") == named(foreign, said)
    finally:
        config.write_bytes(before)
