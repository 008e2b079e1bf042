"""Exports to a disk that is full at any moment, with odd labels, and to odd folders."""

import ast
import contextlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pretrained_folders as folders
import pytest
import tensorflow as tf
from begun_runs import loaded
from programs import ROOT
from sealing import DERIVED
from transformers import AutoConfig

from trainer.config import Data, Experiment, Model
from trainer.data.tokenizers import load_tokenizer
from trainer.errors import UserError
from trainer.export.folder import new_folder
from trainer.export.huggingface import to_hugging_face
from trainer.export.keras_file import to_keras
from trainer.export.savedmodel import to_saved_model
from trainer.storage.workdir import Workdir
from trainer.trained import TrainedModel

LABELS = ["größe\nand more", "a\r\n", "\u2028 🎬 \"'\\"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Workdir:
    """A run of BERT with these labels."""
    folder = folders.copy("bert", tmp_path_factory.mktemp("full") / "bert")
    config = Experiment(
        data=Data(max_length=folders.POSITIONS), model=Model(pretrained=str(folder), head="native")
    )
    pretrained = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert len(LABELS) == folders.CLASSES
    made = Workdir(folder.with_name("run"))
    derived = DERIVED | {
        "pretrained": pretrained,
        "pretrained_sha256": {"model.safetensors": "0" * 64},
        "facts": {"labels": LABELS},
    }
    made.begin(config, derived, load_tokenizer(folder))
    values = {f"model/{name}": v for name, v in loaded(folder)[0].items()}
    made.best.save(9, values, {"lower_is_better": False, "value": 0.5, "phase": 0})
    made.checkpoints.save(9, values, {"phase": 1})
    return made


@pytest.fixture(scope="module")
def trained(run) -> TrainedModel:
    """Its model; of pairs, as a graph that takes ids alone is made faster."""
    made = TrainedModel(run, tf.distribute.get_strategy())
    made.task.text_pair = "other"
    return made


@pytest.fixture(params=["savedmodel", "keras", "huggingface"])
def export(request, run, trained):
    """Call it with a folder: it is written in one of the formats."""
    return {
        "savedmodel": lambda output: to_saved_model(trained, output),
        "keras": lambda output: to_keras(trained, output),
        "huggingface": lambda output: to_hugging_face(run, output),
    }[request.param]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Nobody in this process can write a larger file: the system says so as for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.long
def test_a_full_disk_leaves_nothing(export, tmp_path):
    """The first file that cannot be written is the first of all, and the largest one."""
    whole, output = tmp_path / "[1e-3,5e-4] größe", tmp_path / "below" / ("é" * 126)
    export(whole)
    check(whole)
    largest = max(path.stat().st_size for path in whole.rglob("*"))
    for size in (0,) if (whole / "saved_model.pb").exists() else (0, largest - 1):
        with files_of_at_most(size), pytest.raises(UserError) as caught:
            export(output)
        said = str(caught.value)
        assert said.startswith(f"cannot write --output={output}: File too large"), said
        assert said.endswith(": choose another folder")
        assert "\n" not in said
        assert list(output.parent.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [whole.name, "below"]


def check(whole: Path) -> None:
    """An export holds what belongs to it, the labels as they are."""
    names = {str(path.relative_to(whole)) for path in whole.rglob("*")}
    assert {"README.md"} < names
    if "saved_model.pb" in names:
        assert {"variables/variables.index", "assets.extra/labels.json"} < names
        text = (whole / "assets.extra" / "labels.json").read_bytes().decode("utf-8")
        assert json.loads(text) == LABELS
    elif "model.keras" in names:
        assert "tokenizer/tokenizer.json" in names
    else:
        assert {"model.safetensors", "tokenizer.json"} < names
        config = json.loads((whole / "config.json").read_bytes().decode("utf-8"))
        assert [config["id2label"][str(i)] for i in range(len(LABELS))] == LABELS
        assert config["label2id"] == {label: i for i, label in enumerate(LABELS)}
        assert list(AutoConfig.from_pretrained(whole).id2label.values()) == LABELS


@pytest.mark.parametrize("size", [100, 500, 2000, 10000])
def test_a_tokenizer_that_cannot_be_written(run, tmp_path, size):
    """tokenizers says so by an exception of its own."""
    with (
        files_of_at_most(size),
        pytest.raises(UserError, match=r"cannot write --output=.*: File too large"),
    ):
        to_hugging_face(run, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_tokenizer_cannot_be_written(run, tmp_path):
    config, derived = run.read()
    new = Workdir(tmp_path / "new")
    with (
        files_of_at_most(500),
        pytest.raises(UserError, match=r"cannot write the tokenizer to --workdir=.*: File too la"),
    ):
        new.begin(config, derived, run.load_tokenizer())
    assert not new.started
    assert not new.tokenizer.exists()


def test_weights_that_are_not_of_the_settings_shape(run, tmp_path):
    """Before a table of 30 GB is made."""
    config, derived = run.read()
    derived["pretrained"] = derived["pretrained"] | {"vocab_size": 1_000_000}
    other = Workdir(tmp_path / "other")
    other.begin(config, derived, run.load_tokenizer())
    for store in ("best", "checkpoints"):
        (other.path / store).symlink_to(run.path / store)
    with pytest.raises(UserError, match="does not hold encoder/embeddings/tokens/embeddings with"):
        TrainedModel(other, tf.distribute.get_strategy())


def test_what_tensorflow_cannot_write(tmp_path):
    """A saved_model.pb, say: by an exception that is none of the system's."""
    with (
        pytest.raises(UserError, match=r"made: File too large: choose another folder$"),
        files_of_at_most(100),
        new_folder(tmp_path / "made") as folder,
    ):
        tf.io.write_file(str(folder / "saved_model.pb"), "x" * 1000)
    assert list(tmp_path.iterdir()) == []


def test_errors_of_another_kind_are_not_the_disks(tmp_path):
    with pytest.raises(ValueError, match="of a model"), new_folder(tmp_path / "made"):
        raise ValueError("of a model")
    assert list(tmp_path.iterdir()) == []


def test_texts_are_utf_8_whatever_the_locale():
    """Python's own choice of an encoding is ASCII in the C locale without its UTF-8 mode."""
    unnamed = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for folder in ("trainer", "thaw", "launch", "scripts")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "write_text"
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]
    assert unnamed == []
