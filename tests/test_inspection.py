"""Sources of a run's pictures: real attention, and real vectors."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import small_language
import small_translation
import tensorflow as tf

from trainer import inspection
from trainer.batch import IDS
from trainer.config import Data, Experiment, Model, Phase, Tokenizer
from trainer.data.progress import quiet
from trainer.inspection import Inspection
from trainer.models.cached import CachedNetwork
from trainer.models.writing import Writing
from trainer.monitor import figures, projector
from trainer.prediction.writer import Writer
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
    looks = Inspection(run)
    seen, again = looks.attention("validation"), looks.attention("validation")
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
    assert [len(each.tokens) for each in Inspection(run).attention("validation")] == [3, 3, 3]


def test_vectors_are_what_the_logits_are_made_of(folder, tmp_path):
    run = made(folder, Model(width=8, depth=1, heads=4, ffn_width=8, head="mean+max"))
    found = Inspection(run).vectors("validation")
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


@pytest.fixture
def language(tmp_path) -> Callable[[str], Run]:
    """Makes the run of a small language model."""

    def made(name: str) -> Run:
        config = small_language.get_config(name)
        config.data.train = str(small_language.write(tmp_path / "train.jsonl", 60))
        config.data.test = ""
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
        keras.utils.set_random_seed(0)
        folder = Workdir(tmp_path / "run")
        return Run(config, folder, tmp_path / "cache", strategy, quiet, print)

    return made


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("causal", ("text", "goes on", "went on")),
        pytest.param("masked", ("text", "masked: found"), marks=pytest.mark.long),
    ],
)
def test_a_task_is_asked_once_and_its_samples_are_of_the_present_weights(
    language, monkeypatch, name, heads
):
    run, asked = language(name), []
    sampled = type(run.task).sampled
    monkeypatch.setattr(
        type(run.task), "sampled", lambda *given: asked.append(1) or sampled(*given)
    )
    looks = Inspection(run)
    (first,), (again,) = looks.samples("validation"), looks.samples("validation")
    for weight in run.parameters.values():
        weight.assign(-weight)
    (after,) = looks.samples("validation")
    assert asked == [1]
    assert first.head == heads
    assert len(first.rows) == 8
    assert first.rows == again.rows
    assert [row[0] for row in first.rows] == [row[0] for row in after.rows]
    assert first.rows != after.rows


@pytest.mark.long
def test_samples_go_on_as_the_writer_does(language):
    run = language("causal")
    (table,) = Inspection(run).samples("validation")
    data, decode, prompts = run.split("validation"), run.tokenizer.decode, []
    order = np.argsort(data.lengths, kind="stable")
    rows = order[np.linspace(0, len(order) - 1, 8).astype(int)]
    for row, (begun, _, true) in zip(rows, table.rows, strict=True):
        ids = data.gather(tf.constant([row]), int(data.lengths[row]))[IDS][0].numpy().tolist()
        prompts.append(ids[: min(len(ids) - 1, 16)])
        assert (begun, true) == (decode(prompts[-1]), decode(ids[len(prompts[-1]) :]))
    writer = Writer(
        CachedNetwork(run.model),
        run.tokenizer,
        lambda texts: prompts,
        Writing(max_new_tokens=8, temperature=0.8),
        run.strategy,
        vocabulary=150,
        positions=24,
        end_id=run.task.continuing().end_id,
    )
    written = writer.continue_texts([""] * 8, rows.tolist())
    assert [row[1] for row in table.rows] == [decode(each.tokens) for each in written]


def test_a_model_of_another_kind_shows_neither(folder):
    model = Model(factory="trainer.models.recurrent:lstm", width=8)
    run = made(folder, model)
    assert Inspection(run).attention("validation") == []
    assert Inspection(run).vectors("validation") is None


@pytest.mark.long
def test_a_translator_shows_its_texts_and_where_they_look(tmp_path):
    config = small_translation.get_config("wordpiece")
    config.data.train = str(small_translation.write(tmp_path / "train", 40))
    config.data.test = ""
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    run = Run(config, Workdir(tmp_path / "run"), tmp_path / "cache", strategy, quiet, print)
    looks = Inspection(run)
    for seen in looks.attention("validation"):
        shape = (1, 2, len(seen.tokens), len(seen.source))
        assert seen.scores.shape == shape
        np.testing.assert_allclose(seen.scores.sum(-1), 1, rtol=1e-5)
        assert (seen.source[0], seen.tokens[-1]) == ("[CLS]", "[SEP]")
        assert figures.attention(seen).startswith(b"\x89PNG")
    (table,) = looks.samples("validation")
    assert table.head == ("source", "target", "written")
    for source, target, _ in table.rows:
        assert target == " ".join(small_translation.WORDS[word] for word in source.split())
