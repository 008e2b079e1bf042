"""A changed bit in any file of a workdir: refused in one line, or nothing changes."""

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from programs import contents

from trainer.errors import UserError
from trainer.export.keras_file import NAME, to_keras
from trainer.models.parameters import named_parameters
from trainer.reports.finished import read_run
from trainer.reports.page import render
from trainer.storage.checkpoint import DamagedCheckpoint
from trainer.storage.workdir import Workdir
from trainer.tasks.calibration import Calibration
from trainer.trained import TrainedModel

FLIPS = 50
TEXTS = ("a fine film", "a bore")
# Of these no program but launch.train reads anything.
UNREAD = ("tensorboard", ".lock", "failure.txt", "report.html")


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory) -> Path:
    """A copy of a finished run, to be spoilt."""
    folder = tmp_path_factory.mktemp("flips") / "run"
    shutil.copytree(finished, folder)
    return folder


def files(run: Path) -> list[Path]:
    return sorted(p for p in run.rglob("*") if p.is_file())


def flips(path: Path, count: int = FLIPS) -> Iterator[None]:
    """The file with each of `count` bits flipped, and at last as it was."""
    before = path.read_bytes()
    random = np.random.default_rng(list(path.name.encode()))
    try:
        for _ in range(count if before else 0):
            content = bytearray(before)
            content[random.integers(len(content))] ^= 1 << random.integers(8)
            path.write_bytes(content)
            yield
    finally:
        path.write_bytes(before)


def taken(run: Path) -> dict[str, Any]:
    """Everything that predict, evaluate, export and report take from a workdir."""
    workdir = Workdir(run)
    config, derived = workdir.read()
    store, step = workdir.finished_weights()
    calibration = Calibration.load(workdir.calibration_file, len(derived["facts"]["labels"]))
    page = read_run(run)
    kept = page.scored.gold | page.scored.scores.answers
    names = [name for name in store.shapes(step) if name.startswith("model/")]
    return {
        "config": config,
        "derived": derived,
        "result": workdir.result(),
        "calibration": calibration,
        "step": step,
        "weights": {n: v.tobytes() for n, v in sorted(store.values(step, names).items())},
        "curves": {n: [c.tobytes() for c in curve] for n, curve in page.curves.items()},
        "scores": {n: a.tobytes() for n, a in sorted(kept.items())},
        "mistakes": page.scored.mistakes,
    }


def ids(run: Path) -> list[list[int]]:
    backend = Workdir(run).load_tokenizer().backend_tokenizer
    return [made.ids for made in backend.encode_batch(list(TEXTS))]


def exported(folder: Path) -> dict[str, object]:
    """Contents of an export of Keras's, by file: of model.keras every array, and not the date."""
    held: dict[str, object] = dict(contents(folder))
    del held[NAME]
    with zipfile.ZipFile(folder / NAME) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "metadata.json":
                held[name] = {k: v for k, v in json.loads(content).items() if k != "date_saved"}
            elif name.endswith(".h5"):
                with h5py.File(io.BytesIO(content)) as file:
                    file.visititems(lambda at, each: held.update(arrays(at, each)))
            else:
                held[name] = content
    return held


def arrays(at: str, each: h5py.Dataset | h5py.Group) -> dict[str, object]:
    if not isinstance(each, h5py.Dataset):
        return {}
    return {at: (each.dtype.str, each.shape, each[()].tobytes())}


def test_an_export_is_compared_with_its_weights(run, tmp_path, strategy_over):
    """By what the slow test below compares: equal exports are equal, one other weight shows."""
    trained = TrainedModel(Workdir(run), strategy_over(1))
    found = []
    for name in ("one", "again", "other"):
        if name == "other":
            weight = next(iter(named_parameters(trained.model).values()))
            weight.assign(tf.tensor_scatter_nd_add(weight, [[0, 0]], [1e-3]))
        to_keras(trained, tmp_path / name)
        found.append(exported(tmp_path / name))
    assert found[0] == found[1]
    differing = [name for name in found[0] if found[0][name] != found[2][name]]
    assert differing == ["encoder/embeddings/tokens/vars/0"]
    assert {"README.md", "config.json", "tokenizer/tokenizer.json"} < found[0].keys()
    assert sum(isinstance(each, tuple) for each in found[0].values()) >= len(
        named_parameters(trained.model)
    )


def test_every_file_of_a_workdir(run):
    """By what each program takes from it, without building a model each time."""
    expected, tokens = taken(run), ids(run)
    names, said = [], []
    for path in files(run):
        name = path.relative_to(run)
        if name.parts[0] in UNREAD:
            continue
        names.append(name.parts[0])
        tokenizer = name.parts[0] == "tokenizer"
        for _ in flips(path):
            try:
                found = ids(run) if tokenizer else taken(run)
            except UserError as error:
                said.append(str(error))
            else:
                assert found == (tokens if tokenizer else expected), name
    assert set(names) == {
        *("config.json", "calibration.json", "result.json", "metrics.jsonl"),
        *("scores", "tokenizer", "checkpoints", "best"),
    }
    assert taken(run) == expected
    assert len(said) > 400  # the latest checkpoints serve a resume alone
    assert not [line for line in said if "\n" in line or len(line) > 700]


def test_every_checkpoint(run):
    """Files that only a resume reads: noticed there."""
    workdir = Workdir(run)
    for store in (workdir.checkpoints, workdir.best):
        for step in store.steps():
            meta = store.verify(step)
            for path in files(store.path(step)):
                for _ in flips(path, 20):
                    if path.name != "manifest.json":  # in which a blank more or less means nothing
                        with pytest.raises(DamagedCheckpoint):
                            store.verify(step)
                        continue
                    with contextlib.suppress(DamagedCheckpoint):
                        assert store.verify(step) == meta


@pytest.mark.slow
@pytest.mark.end_to_end
@pytest.mark.timeout(7200)
def test_every_file_of_a_workdir_through_the_programs(run, launch, cache, tmp_path):
    where = f"--workdir={run}"
    programs = {
        "predict": [where, *(f"--texts={text}" for text in TEXTS)],
        "evaluate": [where, cache],
        "report": [where, f"--output={tmp_path / 'page.html'}"],
        "export": [where, "--format=keras", f"--output={tmp_path / 'exported'}"],
    }

    def output(name: str) -> tuple[int, object, str]:
        shutil.rmtree(tmp_path / "exported", ignore_errors=True)
        (tmp_path / "page.html").unlink(missing_ok=True)
        ended = launch(*programs[name], program=f"launch.{name}")
        if name == "report" and not ended.status:
            return 0, (tmp_path / "page.html").read_text(), ended.stderr
        if name == "export" and not ended.status:
            return 0, exported(tmp_path / "exported"), ended.stderr
        return ended.status, ended.stdout, ended.stderr

    expected = {name: output(name) for name in programs}
    assert {status for status, _, _ in expected.values()} == {0}
    assert len(json.loads(expected["predict"][1].splitlines()[0])["probabilities"]) == 2
    for path in files(run):
        unread = path.relative_to(run).parts[0] in UNREAD
        for _ in flips(path, 2 if unread else FLIPS):
            for name in programs:
                found = output(name)
                if found[0] == 2:
                    assert "Traceback" not in found[2]
                    assert found[2].splitlines()[-1].startswith("error: ")
                    assert not (tmp_path / "page.html").exists()
                    assert not (tmp_path / "exported").exists()
                else:
                    assert found[:2] == expected[name][:2], (path, name)


def test_what_is_checked_is_what_is_predicted_with(run, strategy_over):
    """The readers above are those of the model and of the page."""
    trained = TrainedModel(Workdir(run), strategy_over(1))
    expected = taken(run)
    assert trained.step == expected["step"]
    assert trained.fitted == expected["calibration"]
    made = trained.tokenizer.backend_tokenizer.encode_batch(list(TEXTS))
    assert [each.ids for each in made] == ids(run)
    page = render([read_run(run)])
    assert page.count("<svg ") == 8
    assert page.count(">calibration_error</text>") == 1  # an axis alone on its chart is named
