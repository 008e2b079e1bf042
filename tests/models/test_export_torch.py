"""Exported models, opened in PyTorch: every family and kind of head, and one that was trained.

`make bert test-parity` trains the model, and names an interpreter with PyTorch.
"""

import itertools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pretrained_folders as folders
import pytest
import tensorflow as tf
from begun_runs import begun, model_of
from pretrained_folders import CLASSES, FAMILIES
from programs import ROOT

from trainer.data.encode import TextEncoder
from trainer.data.sources import open_source
from trainer.data.tokenizers import load_tokenizer
from trainer.export.huggingface import to_hugging_face
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import open_pretrained
from trainer.storage.workdir import Workdir

PYTHON = os.environ.get("PARITY_PYTHON")
RUN = ROOT / "runs" / "bert"
REVIEWS = 200
LARGEST = 2e-5  # difference, in float32
KINDS = ("sequence", "tokens", "regression")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs PyTorch: make test-parity")


def in_pytorch(*arguments: object) -> str:
    """Calls torch_logits.py; what it prints."""
    script = Path(__file__).with_name("torch_logits.py")
    command = [str(PYTHON), str(script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Folders FAMILY/KIND/exported, and what PyTorch computes from each in logits.npy."""
    whole, arguments = tmp_path_factory.mktemp("exported"), []
    random = np.random.default_rng(0)
    texts = [random.integers(6, 39, length).tolist() for length in (3, 1, 20, 7)]
    given = whole / "given.json"
    given.write_text(json.dumps({"ids": texts, "texts": []}))
    for family, name in itertools.product(FAMILIES, KINDS):
        place, kind = whole / family / name, "tokens" if name == "tokens" else "sequence"
        layout = f"{family}_tokens" if name == "tokens" else family
        folder = folders.copy(layout, place / "begun")
        if name == "regression":
            folders.one_output(folder)
        to_hugging_face(begun(folder, place / "run", name), place / "exported")
        arguments += [place / "exported", kind, given, place / "logits.npy"]
    in_pytorch(*arguments)
    return whole


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_gives_in_pytorch_what_it_gives_here(family, name, exported):
    place, kind = exported / family / name, "tokens" if name == "tokens" else "sequence"
    outputs = 1 if name == "regression" else CLASSES
    model, said = model_of(place / "exported", kind, outputs)
    assert "start afresh: none; tensors not used: none" in said
    theirs, ours = np.load(place / "logits.npy"), []
    for ids in json.loads((exported / "given.json").read_text())["ids"]:
        row = np.array([ids], np.int32)
        ours.append(model({"input_ids": row, "attention_mask": row * 0 + 1}).numpy()[0])
    found = np.concatenate(ours) if name == "tokens" else np.array(ours)
    assert found.shape == theirs.shape == (31 if name == "tokens" else 4, outputs)
    difference = np.abs(found - theirs).max()
    print(f"{family} {name}: largest difference of {theirs.size} outputs {difference:.1e}")
    assert difference <= LARGEST


@pytest.mark.skipif(not (RUN / "result.json").exists(), reason="needs a run: make bert")
def test_pytorch_computes_the_same_logits_and_the_weights_come_back(tmp_path: Path):
    workdir, folder = Workdir(RUN), tmp_path / "exported"
    config, derived = workdir.read()
    step = to_hugging_face(workdir, folder)
    pretrained = open_pretrained(str(folder))
    model = Network(pretrained.architecture(), len(derived["facts"]["labels"]))
    ones = tf.ones([2, 8], tf.int32)
    model({"input_ids": ones, "attention_mask": ones})
    parameters = named_parameters(model)
    pretrained.load(parameters, native_head=True, say=print)

    store, best = workdir.best_weights()
    assert step == best
    for name, value in store.values(best, [f"model/{n}" for n in parameters]).items():
        np.testing.assert_array_equal(parameters[name.removeprefix("model/")].numpy(), value)

    rows = open_source(config.data, config.task).rows("test")
    texts = [row["text"] for row in itertools.islice(rows, REVIEWS)]
    encoder = TextEncoder(load_tokenizer(folder), config.data.max_length, config.data.cut)
    encoded = encoder.encode(texts)
    given, found = tmp_path / "given.json", tmp_path / "logits.npy"
    values = {
        "ids": [e.ids.tolist() for e in encoded],
        "texts": [None if e.cut else x for e, x in zip(encoded, texts, strict=True)],
    }
    given.write_text(json.dumps(values))
    said = in_pytorch(folder, "sequence", given, found)
    assert str(dict(enumerate(derived["facts"]["labels"]))) in said

    theirs, ours = np.load(found), []
    for e in encoded:
        ids = tf.constant(e.ids[None], tf.int32)
        ours.append(model({"input_ids": ids, "attention_mask": tf.ones_like(ids)}).numpy()[0])
    difference = np.abs(np.array(ours) - theirs).max()
    print(f"largest difference of {theirs.size} logits of {len(ours)} reviews: {difference:.1e}")
    assert len(ours) == REVIEWS
    assert difference <= 1e-4
