"""The SavedModel of a text-to-text model writes the texts of launch.predict, from raw texts."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_translation
import tensorflow as tf
from programs import ROOT
from task_runs import ok, refused
from tokenizers import Tokenizer

from trainer.prediction.writer import padded_left

pytestmark = pytest.mark.long
ANSWER = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("trainer", "thaw", "launch", "transformers", "tokenizers"):
            raise ImportError(f"{name} is not to be had here")
sys.meta_path.insert(0, Blocked())
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load(sys.argv[1])
texts = tf.constant(open(sys.argv[2], encoding="utf-8").read().splitlines())
found = model.signatures["serving_default"](texts=texts)["texts"].numpy()
json.dump([text.decode() for text in found], open(sys.argv[3], "w"))
"""


@pytest.fixture(scope="module")
def runs(launch, cache, tmp_path_factory) -> dict[str, Path]:
    """Of models that were trained, by the kind of their tokenizer."""
    folder = tmp_path_factory.mktemp("translators")
    config = ROOT / "tests" / "helpers" / "small_translation.py"
    train = small_translation.write(folder / "train", 400)
    test = small_translation.write(folder / "test", 60, seed=1)
    data = (f"--config.data.train={train}", f"--config.data.test={test}", cache)
    for kind in ("unigram", "bpe"):
        ok(launch(f"--config={config}:{kind}", *data, f"--workdir={folder / kind}"))
    return {"unigram": folder / "unigram", "bpe": folder / "bpe", "test": folder / "test.en"}


def predicted(launch, workdir: Path, texts: Path, *flags: str) -> list[dict]:
    given = (f"--workdir={workdir}", f"--input={texts}", "--format=text", *flags)
    return [
        json.loads(line)
        for line in ok(launch(*given, program="launch.predict")).stdout.splitlines()
    ]


def exported(launch, workdir: Path, output: Path, *flags: str) -> str:
    given = (f"--workdir={workdir}", "--format=savedmodel", f"--output={output}", *flags)
    return ok(launch(*given, program="launch.export")).stderr


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((), marks=pytest.mark.slow),
        ("--beams=3", "--length_penalty=1", "--max_new_tokens=9"),
    ],
)
def test_raw_texts_become_the_texts_of_launch_predict(launch, runs, tmp_path, flags):
    pytest.importorskip("tensorflow_text")
    exported(launch, runs["unigram"], tmp_path / "made", *flags)
    answers = tmp_path / "answers.json"
    command = [sys.executable, "-I", "-c", ANSWER, tmp_path / "made", runs["test"], answers]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = predicted(launch, runs["unigram"], runs["test"], *flags)
    assert len(lines) == 60
    assert json.loads(answers.read_text()) == [line["text"] for line in lines]
    assert len({line["text"] for line in lines}) > 2
    card = (tmp_path / "made" / "README.md").read_text()
    for said in ("A model that writes a text for each text", "At most 32 tokens of a text count"):
        assert said in card


def test_without_a_tokenizer_in_the_graph_ids_become_texts(launch, runs, tmp_path):
    said = exported(launch, runs["bpe"], tmp_path / "made")
    assert "the SavedModel takes token ids, not texts, as its tokenizer is of the kind BPE" in said
    model = tf.saved_model.load(str(tmp_path / "made"))
    assert list(model.signatures) == ["ids"]
    tokenizer = Tokenizer.from_file(
        str(tmp_path / "made" / "assets.extra" / "tokenizer" / "tokenizer.json")
    )
    texts = runs["test"].read_text().splitlines()
    ids, mask = padded_left([tokenizer.encode(text).ids for text in texts], 40)
    found = model.signatures["ids"](input_ids=tf.constant(ids), attention_mask=tf.constant(mask))
    lines = predicted(launch, runs["bpe"], runs["test"])
    assert [text.decode() for text in found["texts"].numpy()] == [line["text"] for line in lines]
    assert found["lengths"].numpy().tolist() == [line["tokens"] for line in lines]
    ones = tf.constant(np.ones([1, 33], np.int32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="a source has more than 32 tokens"):
        model.signatures["ids"](input_ids=ones, attention_mask=ones)


def test_forms_that_there_are_not_are_refused(launch, runs, tmp_path):
    run, output = runs["unigram"], tmp_path / "made"
    for flags, said in (
        (["--format=keras"], "a Keras file cannot hold"),
        (["--format=savedmodel", "--max_new_tokens=33"], "more than the 32 tokens that the model"),
        (["--format=savedmodel", "--length_norm=gnmt"], "compare the texts of beams"),
    ):
        given = (f"--workdir={run}", f"--output={output}", *flags)
        assert said in refused(launch, run, *given, program="launch.export")
        assert not output.exists()


def test_lines_are_written_in_order_and_go_on(launch, runs, tmp_path):
    run, whole = runs["unigram"], tmp_path / "whole.jsonl"
    flags = ("--beams=3", "--n_best=2", f"--output={whole}")
    predicted(launch, run, runs["test"], *flags)
    lines = whole.read_text().splitlines(keepends=True)
    found = [json.loads(line) for line in lines]
    assert [line["id"] for line in found] == [*range(60)]
    for line in found:
        best = {name: line[name] for name in ("text", "log_probability", "tokens", "ended")}
        assert line["n_best"][0] == best
        assert len(line["n_best"]) == 2
    whole.write_text("".join([*lines[:25], lines[25][:9]]))
    predicted(launch, run, runs["test"], *flags, "--resume")
    assert whole.read_text() == "".join(lines)
    flags = (f"--workdir={run}", "a cat", "--beams=2", "--n_best=2", f"--output={tmp_path}/a.csv")
    assert "--n_best writes lists" in refused(launch, run, *flags, program="launch.predict")


def test_sources_that_are_cut_are_counted(launch, runs, tmp_path):
    (tmp_path / "texts").write_text("a cat\n" + "the dog " * 40 + "\n")
    given = (f"--workdir={runs['unigram']}", f"--input={tmp_path / 'texts'}", "--format=text")
    ended = ok(launch(*given, program="launch.predict"))
    said = "Note: 1 of the texts had more than 32 tokens (config.data.max_length): they were cut"
    assert said in ended.stderr
