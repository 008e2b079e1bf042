"""A fine-tuned model, exported, opened in PyTorch: the logits of 200 real reviews.

`make bert test-parity` trains the model, and names an interpreter with PyTorch.
"""

import itertools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
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
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="needs PyTorch: make test-parity"),
    pytest.mark.skipif(not (RUN / "result.json").exists(), reason="needs a run: make bert"),
]


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
    script = Path(__file__).with_name("torch_logits.py")
    command = [str(PYTHON), str(script), str(folder), str(given), str(found)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert str(dict(enumerate(derived["facts"]["labels"]))) in said

    theirs, ours = np.load(found), []
    for e in encoded:
        ids = tf.constant(e.ids[None], tf.int32)
        ours.append(model({"input_ids": ids, "attention_mask": tf.ones_like(ids)}).numpy()[0])
    difference = np.abs(np.array(ours) - theirs).max()
    print(f"largest difference of {theirs.size} logits of {len(ours)} reviews: {difference:.1e}")
    assert len(ours) == REVIEWS
    assert difference <= 1e-4
