"""Export to Hugging Face: what is written, that it comes back in bit for bit, what is refused."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import pretrained_folders as folders
import pytest
from begun_runs import STEP, TASKS, begun, loaded
from pretrained_folders import WEIGHTS, kind_of
from programs import newest, weights
from tokenizers import normalizers
from transformers import AutoConfig, AutoTokenizer

from trainer.data.tokenizers import load_tokenizer
from trainer.errors import UserError
from trainer.export.huggingface import to_hugging_face
from trainer.models.family_tables import FAMILIES
from trainer.storage.workdir import Workdir
from trainer.tasks.regression import Regression

WITH_HEAD = (
    *folders.FAMILIES,
    "electra_base",
    *(f"{name}_tokens" for name in folders.FAMILIES),
)
DECODERS = ("gpt2", "llama")
WITHOUT_HEAD = ("minilm", "bert_pretraining", "gpt2_base", "llama_base")
TEXTS = ["a good film number 13", "bad", "", "number 7 is no film"]


@pytest.fixture
def bert(tmp_path) -> Workdir:
    """A run of BERT."""
    return begun(folders.copy("bert", tmp_path / "bert"), tmp_path / "run")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Callable[[str], tuple[Path, Workdir, Path]]:
    """Call it with a layout: its folder, a run that began with it, the export; only to be read."""

    @functools.cache
    def made(layout: str) -> tuple[Path, Workdir, Path]:
        place = tmp_path_factory.mktemp("made")
        folder = folders.copy(layout, place / layout)
        folders.change(folder, auto_map={"AutoModel": "own.Model"}, dtype="float16")
        run = begun(folder, place / "run", kind_of(layout))
        assert to_hugging_face(run, place / "exported") == STEP
        return folder, run, place / "exported"

    return made


@pytest.mark.parametrize("layout", [*WITH_HEAD, *WITHOUT_HEAD])
def test_weights_that_did_not_change_are_those_that_came(made, layout):
    folder, run, output = made(layout)
    exported, came = folders.tensors(output), folders.tensors(folder)
    if layout in WITH_HEAD:
        assert exported.keys() == came.keys()
        for name, value in exported.items():
            assert (value.shape, value.dtype) == (came[name].shape, came[name].dtype)
            assert value.tobytes() == came[name].tobytes(), name
    # And back in.
    ours, said = loaded(output, kind_of(layout))
    assert "start afresh: none; tensors not used: none" in said
    saved = run.best.values(STEP, [f"model/{name}" for name in ours])
    assert [n for n in ours if ours[n].numpy().tobytes() != saved[f"model/{n}"].tobytes()] == []


class OwnHead(Regression):
    """A task that makes its head itself."""

    def head(self, architecture):
        return keras.layers.Dense(1)


def test_a_head_of_the_tasks_own_is_refused(bert, tmp_path, monkeypatch):
    config, derived = bert.read_to_run(())
    config.task = OwnHead()
    monkeypatch.setattr(bert, "read_to_run", lambda trusted: (config, {**derived, "facts": {}}))
    with pytest.raises(UserError, match=r"transformers has no class for .*OwnHead: export it to"):
        to_hugging_face(bert, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize("layout", WITHOUT_HEAD)
def test_the_encoder_alone_gets_the_names_of_a_classifier(made, layout):
    folder, _, output = made(layout)
    exported, came = folders.tensors(output), folders.tensors(folder)
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    prefix = FAMILIES[kind].prefix
    of_head = {name for name in exported if not name.startswith(prefix)}
    assert of_head == (
        {"score.weight"} if kind in DECODERS else {"classifier.weight", "classifier.bias"}
    )
    for name in exported.keys() - of_head:
        names = [name, name.removeprefix(prefix)]
        names += [each.replace(".weight", ".gamma").replace(".bias", ".beta") for each in names]
        theirs = next(each for each in names if each in came)
        assert exported[name].tobytes() == came[theirs].tobytes(), name


@pytest.mark.parametrize("layout", [*WITH_HEAD, *WITHOUT_HEAD])
def test_config_and_tokenizer_open_in_transformers(made, layout):
    folder, _, output = made(layout)
    kind = kind_of(layout)
    config, before = AutoConfig.from_pretrained(output), AutoConfig.from_pretrained(folder)
    names = TASKS[kind][2]
    assert config.id2label == dict(enumerate(names))
    assert config.label2id == {label: i for i, label in enumerate(names)}
    assert config.num_labels == len(names)
    assert config.architectures == [FAMILIES[config.model_type].heads[kind].class_name]
    tokens = kind == "tokens"
    assert config.problem_type == (None if tokens else "single_label_classification")
    assert "auto_map" not in (output / "config.json").read_text()
    assert str(config.dtype).endswith("float32")
    new = {"id2label", "label2id", "architectures", "problem_type", "dtype", "auto_map"}
    decoder = config.model_type in DECODERS
    new |= {"_name_or_path"} | ({"pad_token_id"} if decoder else set())
    ours, theirs = config.to_dict(), before.to_dict()
    same = sorted((ours.keys() | theirs.keys()) - new)
    assert [field for field in same if ours.get(field) != theirs.get(field)] == []

    tokenizer = AutoTokenizer.from_pretrained(output)
    assert (
        tokenizer(TEXTS)["input_ids"]
        == load_tokenizer(folder).for_transformers()(TEXTS)["input_ids"]
    )
    assert tokenizer.pad_token_id is not None
    if not (decoder and tokens):  # a decoder finds the last token by it, where it needs that
        assert config.pad_token_id == tokenizer.pad_token_id
    assert (
        load_tokenizer(output).for_transformers()(TEXTS)["input_ids"]
        == tokenizer(TEXTS)["input_ids"]
    )
    assert {"config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in output.iterdir()
    }


def test_a_regression_has_no_labels_of_ours(bert, tmp_path):
    folder = folders.one_output(folders.copy("bert", tmp_path / "one"))
    run, output = begun(folder, tmp_path / "run1", "regression"), tmp_path / "exported"
    to_hugging_face(run, output)
    config = AutoConfig.from_pretrained(output)
    assert config.architectures == ["BertForSequenceClassification"]
    assert (config.problem_type, config.num_labels) == ("regression", 1)
    assert (config.id2label, config.label2id) == ({0: "LABEL_0"}, {"LABEL_0": 0})
    exported, came = folders.tensors(output), folders.tensors(folder)
    assert [name for name in came if exported[name].tobytes() != came[name].tobytes()] == []
    card = (output / "README.md").read_text()
    assert "A model that gives numbers for texts, the weights of step 7" in card
    assert "## Calibration" not in card


def test_several_labels_are_said_to_be_several(tmp_path):
    output = tmp_path / "exported"
    to_hugging_face(
        begun(folders.copy("bert", tmp_path / "bert"), tmp_path / "run", "labels"), output
    )
    config = AutoConfig.from_pretrained(output)
    assert config.architectures == ["BertForSequenceClassification"]
    assert config.problem_type == "multi_label_classification"
    assert config.id2label == dict(enumerate(TASKS["labels"][2]))
    assert "## Calibration" not in (output / "README.md").read_text()


def test_the_card_of_a_tagger_shows_its_pipeline(tmp_path):
    folder = folders.copy("bert_tokens", tmp_path / "bert")
    output = tmp_path / "exported"
    to_hugging_face(begun(folder, tmp_path / "run", "tokens"), output)
    card = (output / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert 'tag = pipeline("token-classification", model="FOLDER")' in card
    assert "A token classifier for the labels `O`" in card
    assert "alibrat" not in card


def test_a_head_for_tokens_of_ours_is_as_the_native_one(tmp_path):
    folder = folders.copy("bert_tokens", tmp_path / "bert")
    plain = begun(folder, tmp_path / "plain", "tokens", head="mean+max")
    to_hugging_face(plain, tmp_path / "exported")
    assert "start afresh: none" in loaded(tmp_path / "exported", "tokens")[1]
    deeper = begun(folder, tmp_path / "deeper", "tokens", head="mean+max", head_width=16)
    said = refused(deeper, tmp_path / "other")
    assert "cannot hold config.model.head='mean+max' and head_width=16: train with" in said


def test_the_tokenizer_keeps_what_no_class_of_transformers_does(tmp_path):
    folder = folders.copy("bert", tmp_path / "bert")
    backend = load_tokenizer(folder).backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.BertNormalizer(lowercase=False)])
    backend.enable_padding(length=40)
    backend.enable_truncation(3)
    backend.save(str(folder / "tokenizer.json"))
    output = tmp_path / "exported"
    to_hugging_face(begun(folder, tmp_path / "run"), output)
    backend.no_padding()
    backend.no_truncation()
    made = AutoTokenizer.from_pretrained(output)(["A good film", "FILM"], ["bad", "é a"])
    pairs = backend.encode("A good film", "bad"), backend.encode("FILM", "é a")
    assert pairs[0].tokens == ["[CLS]", "[UNK]", "good", "film", "[SEP]", "bad", "[SEP]"]
    assert made["input_ids"] == [pair.ids for pair in pairs]
    assert made["token_type_ids"] == [pair.type_ids for pair in pairs]


def test_others_may_read_what_this_user_writes(bert, tmp_path):
    """As any new file: the umask decides."""
    before = os.umask(0o022)
    try:
        to_hugging_face(bert, tmp_path / "exported")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "exported").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert (tmp_path / "exported").stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_may_be_there(bert, tmp_path):
    (tmp_path / "here" / "exported").mkdir(parents=True)
    to_hugging_face(bert, tmp_path / "here" / "exported")
    assert folders.tensors(tmp_path / "here" / "exported")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["exported"]  # nothing beside


# What is refused


def refused(run: Workdir, output: Path) -> str:
    with pytest.raises(UserError) as caught:
        to_hugging_face(run, output)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("head", ["mean", "max", "cls", "last", "mean+max"])
def test_a_head_that_transformers_cannot_hold(tmp_path, head):
    run = begun(folders.copy("bert", tmp_path / "bert"), tmp_path / "run", head=head)
    said = refused(run, tmp_path / "exported")
    assert said == (
        f"--workdir={run.path}: BertForSequenceClassification of transformers cannot hold"
        f" config.model.head={head!r}: train with head='native'"
    )
    assert not (tmp_path / "exported").exists()


def test_a_model_from_scratch(tmp_path):
    run = begun(
        folders.copy("bert", tmp_path / "bert"), tmp_path / "run", pretrained="", head="cls"
    )
    said = refused(run, tmp_path / "exported")
    assert said.endswith(
        "only runs that began with a pretrained model, and language models, can be exported to"
        " huggingface: export it to savedmodel or keras"
    )
    assert not (tmp_path / "exported").exists()


def test_a_run_without_weights(bert, tmp_path):
    for store in (bert.best, bert.checkpoints):
        shutil.rmtree(store.folder)
    assert "holds no weights yet: train first" in refused(bert, tmp_path / "exported")


def test_no_run(tmp_path):
    assert "holds no run" in refused(Workdir(tmp_path / "none"), tmp_path / "exported")


def test_a_place_that_is_taken(bert, tmp_path):
    for name in ("folder", "file"):
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
            (path / "mine.txt").write_text("mine")
        else:
            path.write_text("mine")
        before = path.stat().st_mtime_ns
        assert f"--output={path} is there already: remove it, or choose another" in refused(
            bert, path
        )
        assert path.stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine.txt"]


def test_a_place_below_a_file(bert, tmp_path):
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file" / "exported", tmp_path / "file" / "below" / "exported"):
        assert f"cannot write --output={output}: " in refused(bert, output)
    assert (tmp_path / "file").read_text() == "mine"


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_read_only(bert, tmp_path):
    with mounted(tmp_path / "disk", "ro") as disk:
        said = refused(bert, disk / "exported")
        assert said.startswith(f"cannot write --output={disk / 'exported'}: Read-only file system")


@pytest.mark.parametrize("size", ["4k", "12k", "16k", "32k"])
def test_a_full_disk_leaves_nothing_behind(bert, tmp_path, size):
    with mounted(tmp_path / "disk", f"size={size}") as disk:
        said = refused(bert, disk / "exported")
        assert said.startswith(f"cannot write --output={disk / 'exported'}: ")
        assert "No space left" in said
        assert list(disk.iterdir()) == []


def test_it_is_written_once_and_takes_its_name_at_the_end(bert, tmp_path):
    """A disk with room for one and a half."""
    to_hugging_face(bert, tmp_path / "exported")
    pages = sum(-(-path.stat().st_size // 4096) for path in (tmp_path / "exported").iterdir())
    with mounted(tmp_path / "disk", f"size={pages * 6}k") as disk:
        to_hugging_face(bert, disk / "exported")
        assert [path.name for path in disk.iterdir()] == ["exported"]


# Through the programs


def export(launch, workdir: Path, output: Path, *flags: str):
    program = {"program": "launch.export"}
    return launch(f"--workdir={workdir}", f"--output={output}", *flags, **program)


@pytest.mark.long
def test_a_trained_model_goes_out_and_comes_back(launch, tmp_path, cache):
    folder = folders.copy("bert", tmp_path / "bert")
    workdir, output = tmp_path / "run", tmp_path / "exported"
    flags = folders.flags(folder, tmp_path, cache)
    ended = launch(*flags, f"--workdir={workdir}")
    assert ended.status == 0, ended.stderr
    shutil.rmtree(folder)  # the run holds all that is needed

    ended = export(launch, workdir, output, "--format=huggingface")
    assert ended.status == 0, ended.stderr
    assert ended.stderr.splitlines() == [
        f"Wrote the weights of step 4 to {output}",
        "Note: texts over 16 tokens were cut 'head+tail' here; the tokenizers of transformers keep"
        " the head",
    ]
    config = AutoConfig.from_pretrained(output)
    assert config.id2label == {0: "bad", 1: "good"}
    tensors = folders.tensors(output)
    best = weights(newest(workdir / "best"))
    assert newest(workdir / "best").name == "step-00000004"
    kernel = next(v for name, v in best.items() if "head|logits|kernel" in name)
    assert tensors["classifier.weight"].shape == (2, 16)
    assert tensors["classifier.weight"].tobytes() == kernel.T.tobytes()
    assert sum(v.size for v in tensors.values()) == sum(
        v.size for name, v in best.items() if "model|" in name
    )

    # At a rate of 0 the run from it ends where this one did.
    still = [f"--config.phases[{i}].learning_rate=0" for i in range(2)]
    flags = (*folders.flags(output, tmp_path, cache), *still)
    ended = launch(*flags, f"--workdir={tmp_path / 'again'}")
    assert ended.status == 0, ended.stderr
    assert "41 of 41 parameters loaded from 41 tensors; start afresh: none" in ended.stderr
    again, first = (newest(path / "best") for path in (tmp_path / "again", workdir))
    again, first = weights(again), weights(first)
    assert again.keys() == first.keys()
    assert [n for n in first if "model|" in n and first[n].tobytes() != again[n].tobytes()] == []
    results = [
        json.loads((path / "result.json").read_text()) for path in (workdir, tmp_path / "again")
    ]
    assert results[0]["test"] == results[1]["test"]

    ended = export(launch, workdir, output, "--format=huggingface")
    assert ended.status == 2
    assert (
        ended.stderr == f"error: --output={output} is there already: remove it, or choose another\n"
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    for flags in (["--format=pickle"], []):
        ended = export(launch, workdir, tmp_path / "other", *flags)
        assert ended.status == 2
        assert "--format" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
