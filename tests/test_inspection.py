"""Sources of a run's pictures: real attention, and real vectors."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import inspection
from trainer.config import Data, Experiment, Model, Phase, Tokenizer
from trainer.data.progress import quiet
from trainer.monitor import projector
from trainer.run import Run
from trainer.storage.workdir import Workdir

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where files of 8 reviews lie."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "validation", "test"):
        rows = [f"{split} review {'very ' * i}long,{'neg' if i % 2 else 'pos'}" for i in range(8)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def made(folder: Path, model: Model) -> Run:
    data = Data(
        "files",
        train=str(folder / "train.csv"),
        validation=str(folder / "validation.csv"),
        test=str(folder / "test.csv"),
        max_length=32,
    )
    config = Experiment(
        data=data, tokenizer=Tokenizer(vocab_size=64), model=model, phases=[Phase(steps=1)]
    )
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    return Run(config, Workdir(folder / "run"), folder / "cache", strategy, quiet, print)


def test_attention_is_that_of_a_few_texts(folder, monkeypatch):
    run = made(folder, Model(width=8, depth=2, heads=4, ffn_width=8))
    length = int(np.sort(run.split("validation").lengths)[3])
    monkeypatch.setattr(inspection, "TOKENS", range(length, length + 3))
    seen = inspection.attention(run, "validation")
    again = inspection.attention(run, "validation")
    assert len(seen) == 3
    for each, other in zip(seen, again, strict=True):
        assert each.scores.shape == (2, 4, len(each.tokens), len(each.tokens))
        np.testing.assert_allclose(each.scores.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(each.scores, other.scores)
        assert each.tokens[0] == "[CLS]"
        assert each.tokens[-1] == "[SEP]"
        assert each.captions.keys() == {"label", "prediction"}
        assert set(each.captions.values()) <= {"pos", "neg"}


def test_the_shortest_are_cut_where_all_are_long(folder, monkeypatch):
    run = made(folder, Model(width=8, depth=1, heads=4, ffn_width=8))
    monkeypatch.setattr(inspection, "TOKENS", range(1, 4))
    assert [len(each.tokens) for each in inspection.attention(run, "validation")] == [3, 3, 3]


def test_vectors_are_what_the_logits_are_made_of(folder, tmp_path):
    run = made(folder, Model(width=8, depth=1, heads=4, ffn_width=8, head="mean+max"))
    found = inspection.vectors(run, "validation")
    assert found.values.shape == (8, 16)
    scores = run.score("validation", lambda: False)
    places = [run.split("validation").rows.tolist().index(i) for i in found.ids]
    kernel, bias = (run.parameters[f"head/logits/{name}"].numpy() for name in ("kernel", "bias"))
    np.testing.assert_allclose(
        found.values @ kernel + bias, scores.answers["logits"][places], atol=1e-5
    )
    names = run.source.facts["labels"]
    labels = [names[i] for i in run.split("validation").gold["label"][places]]
    assert found.captions["label"] == labels
    predictions = scores.answers["logits"][places].argmax(-1)
    assert found.captions["prediction"] == [names[i] for i in predictions]
    assert "very" in found.texts[-1]

    projector.write(tmp_path, "validation", found)
    rows = (tmp_path / "validation_metadata.tsv").read_text().splitlines()
    assert rows[0] == "label\tprediction\tid\ttext"
    assert len(rows) == 9
    assert "validation_vectors.tsv" in (tmp_path / "projector_config.pbtxt").read_text()


def test_a_model_of_another_kind_shows_neither(folder):
    model = Model(factory="trainer.models.recurrent:lstm", width=8)
    run = made(folder, model)
    assert inspection.attention(run, "validation") == []
    assert inspection.vectors(run, "validation") is None
