"""The user's mistakes with pretrained models: each one clear line, exit status 2, no workdir made.

What is wrong with single files, tests/models/test_pretrained.py tries at length.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pretrained_folders as folders
import pytest
from pretrained_folders import WEIGHTS
from programs import environment, replaced, run
from test_bad_input import only_line


@pytest.fixture
def bert(tmp_path) -> Path:
    """A pretrained model with its tokenizer."""
    return folders.copy("bert", tmp_path / "bert")


@pytest.fixture
def refused(launch, tmp_path, cache):
    """Call it with the model and further flags: why the run is refused."""

    def refused(pretrained: str | Path, *flags: str) -> str:
        workdir = tmp_path / "run"
        given = (*folders.flags(pretrained, tmp_path, cache), f"--workdir={workdir}")
        ended = launch(*replaced(given, *flags))
        assert ended.status == 2, ended.stderr
        return only_line(ended.stderr, workdir, None)

    return refused


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-100])


def missing(folder: Path) -> None:
    stored = folders.tensors(folder)
    del stored["bert.encoder.layer.1.output.dense.bias"]
    folders.store(folder, stored)


def not_finite(folder: Path) -> None:
    stored = folders.tensors(folder)
    stored["bert.encoder.layer.1.output.dense.bias"][0] = np.nan
    folders.store(folder, stored)


def endless(folder: Path) -> None:
    folders.change(folder, num_hidden_layers=100000)


def larger_than_stored(folder: Path) -> None:
    folders.change(folder, vocab_size=2**24)


def unsupported(folder: Path) -> None:
    folders.change(folder, model_type="bart")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_config, "holds no config.json: give a folder with config.json and model.safetensors"),
        (no_weights, r"there is no model\.safetensors in .*: weights in another form .* are not"),
        (pickled, r"has its weights in pytorch_model\.bin only, which may run code"),
        (cut, "model.safetensors is cut short or damaged"),
        (missing, r"lacks the tensor 'bert\.encoder\.layer\.1\.output\.dense\.bias'"),
        (not_finite, r"'bert\.encoder\.layer\.1\.output\.dense\.bias' holds infinite or NaN"),
        (unsupported, "'bart' is not supported; supported are: bert, roberta, xlm-roberta, distil"),
        (endless, "config.json has num_hidden_layers=100000, not an integer from 1 to 256"),
        (larger_than_stored, r"has shape \[40, 16\], its config.json asks for \[16777216, 16\]"),
        (shutil.rmtree, "there is no such folder"),
    ],
)
def test_a_folder_that_cannot_be_used(refused, bert, spoil, said):
    spoil(bert)
    line = refused(bert)
    assert line.startswith(f"error: pretrained model {str(bert)!r}")
    assert re.search(said, line), line


def test_a_tokenizer_larger_than_the_table(refused, bert):
    more = "".join(f"word{i}\n" for i in range(9))
    (bert / "vocab.txt").write_text((bert / "vocab.txt").read_text() + more)
    assert len((bert / "vocab.txt").read_text().split()) == 41
    line = refused(bert)
    assert f"the tokenizer has 41 tokens, pretrained model {str(bert)!r} knows 40" in line
    assert "use the tokenizer that belongs to it" in line


def test_another_tokenizer_larger_than_the_table(refused, bert, tmp_path):
    other = folders.copy("bert", tmp_path / "other")
    with (other / "vocab.txt").open("a") as file:
        file.writelines(f"word{i}\n" for i in range(60))
    line = refused(bert, f"--config.tokenizer.pretrained={other}")
    assert f"the tokenizer has 92 tokens, pretrained model {str(bert)!r} knows 40" in line


# RoBERTa's table has two more rows, before that of the first token.
@pytest.mark.parametrize("layout", ["bert", "roberta"])
def test_a_maximum_length_over_the_position_table(refused, tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    rows = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    assert rows - folders.POSITIONS == (2 if layout == "roberta" else 0)
    line = refused(folder, f"--config.data.max_length={folders.POSITIONS + 1}")
    assert (
        f"config.data.max_length=25: pretrained model {str(folder)!r} has positions for 24 tokens"
        in line
    )


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (
            "--config.model.initial_run=runs/none",
            "config.model.initial_run, not both",
        ),
        ("--config.model.factory=my.parts:build", "needs the encoder of this library"),
        ("--config.model.pretrained=", "head='native' is the head of a pretrained model"),
        ("--config.tokenizer.pretrained=/nowhere", "/nowhere"),
    ],
)
def test_settings_that_do_not_go_together(refused, bert, flag, said):
    assert said in refused(bert, flag)


# Names on the hub, as a person would start it: the libraries read their variables on import


def by_name(name: str, tmp_path: Path, cache: str, **variables: str):
    """A run of two steps; the hub cannot be reached, its cache is in hub/."""
    (tmp_path / "data").mkdir(exist_ok=True)
    flags = folders.flags(name, tmp_path / "data", cache)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "*"}
    here = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    environ = {**environment(), **nowhere, **here, **variables}
    return run(*flags, f"--workdir={tmp_path / 'run'}", "--config.max_steps=1", env=environ)


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "not in the hub's cache while HF_HUB_OFFLINE is set: unset it"),
        ({"HF_HUB_OFFLINE": "0"}, "hub cannot be used (ConnectError"),
    ],
    ids=["offline", "no network"],
)
def test_a_name_that_is_not_in_the_cache(tmp_path, cache, variables, said):
    ended = by_name("nobody/nothing", tmp_path, cache, **variables)
    assert ended.status == 2, ended.stderr
    line = only_line(ended.stderr, tmp_path / "run", None)
    assert line.startswith("error: pretrained model 'nobody/nothing'")
    assert said in line


@pytest.mark.long
@pytest.mark.end_to_end
def test_a_name_in_the_cache_needs_no_hub(tmp_path, cache):
    repository, commit = tmp_path / "hub" / "models--own--tiny", "0" * 40
    folders.copy("bert", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    ended = by_name("own/tiny", tmp_path, cache, HF_HUB_OFFLINE="1")
    assert ended.status == 0, ended.stderr
    assert "own/tiny: 39 of 41 parameters loaded" in ended.stderr


@pytest.mark.long
def test_another_number_of_labels_is_said_and_no_mistake(launch, bert, tmp_path, cache):
    flags = folders.flags(bert, tmp_path, cache)
    ended = launch(*flags, f"--workdir={tmp_path / 'run'}", "--config.max_steps=1")
    assert ended.status == 0, ended.stderr
    said = f"{bert}: its head has 3 labels, this run 2: the last layer of the head starts afresh"
    assert said in ended.stderr.splitlines()
