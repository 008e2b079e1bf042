"""A SavedModel answers as launch.predict does, in a process that cannot import this library."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import odd_texts
import pytest
from programs import ROOT

from trainer.config import Data
from trainer.data.sources import open_source
from trainer.tasks.classification import Classification

# Run with -I: neither the working folder nor PYTHONPATH is searched.
ANSWER = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        ours = ("trainer", "thaw", "launch")
        if name.split(".")[0] in (*ours, "transformers", "tokenizers", "keras"):
            if name.split(".")[0] != "keras":
                raise ImportError(f"{name} is not to be had here")
sys.meta_path.insert(0, Blocked())
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load(sys.argv[1])
texts = json.load(open(sys.argv[2]))
serve, rows = model.signatures["serving_default"], []
for start in range(0, len(texts), 16):
    rows += serve(texts=tf.constant(texts[start:start + 16]))["probabilities"].numpy().tolist()
json.dump(rows, open(sys.argv[3], "w"))
"""


def texts_of(count: int) -> list[str]:
    """Odd ones, and real reviews."""
    source = open_source(Data(name="imdb_sample", data_dir=str(ROOT / "data")), Classification())
    reviews = (row["text"] for row in source.rows("test"))
    return [*odd_texts.TEXTS, *itertools.islice(reviews, count)]


def compare(launch, run: Path, folder: Path, count: int, python: str) -> float:
    """The largest difference of a probability."""
    made = launch(
        f"--workdir={run}",
        "--format=savedmodel",
        f"--output={folder / 'made'}",
        program="launch.export",
    )
    assert made.status == 0, made.stderr
    texts = texts_of(count)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "texts.jsonl").write_text(lines)
    (folder / "texts.json").write_text(json.dumps(texts))
    ended = launch(
        f"--workdir={run}",
        f"--input={folder / 'texts.jsonl'}",
        f"--output={folder / 'predicted.jsonl'}",
        program="launch.predict",
    )
    assert ended.status == 0, ended.stderr
    answers = folder / "answers.json"
    command = [python, "-I", "-c", ANSWER, folder / "made", folder / "texts.json", answers]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (folder / "predicted.jsonl").open(encoding="utf-8", newline="\n") as lines_:
        predicted = [json.loads(line) for line in lines_]
    assert len(predicted) == len(texts)
    probabilities = np.array([row["probabilities"] for row in predicted])
    return float(np.abs(probabilities - np.array(json.loads(answers.read_text()))).max())


@pytest.mark.long
def test_answers_without_this_library(launch, finished, tmp_path):
    assert compare(launch, finished, tmp_path, 40, sys.executable) < 1e-5
    assert (tmp_path / "made" / "assets.extra" / "labels.json").read_text() == '["neg", "pos"]\n'
    card = (tmp_path / "made" / "README.md").read_text()
    result = json.loads((finished / "result.json").read_text())
    assert f"| accuracy | {result['validation']['accuracy']:.4f} |" in card
    assert f"{result['temperature']:.4f}" in card
    assert "tensorflow_text" in card


@pytest.mark.slow
@pytest.mark.skipif("BARE_PYTHON" not in os.environ, reason="run by `make test-bare`")
def test_answers_in_a_bare_environment(launch, tmp_path):
    """With nothing but tensorflow and tensorflow-text, on 2,000 reviews."""
    run = Path(os.environ["RUN"])
    python = str(Path(os.environ["BARE_PYTHON"]).absolute())
    for package in ("trainer", "transformers", "tokenizers"):
        command = [python, "-I", "-c", f"import {package}"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    largest = compare(launch, run.absolute(), tmp_path, 2000, python)
    print(f"largest difference of a probability on {2000 + len(odd_texts.TEXTS)} texts: {largest}")
    assert largest <= 1e-4


@pytest.mark.long
def test_ids_alone_where_the_tokenizer_is_of_another_kind(launch, smoke, tmp_path):
    run = tmp_path / "run"
    flags = ("--config.tokenizer.kind=bpe", "--config.phases[0].steps=11", "--config.max_steps=11")
    assert launch(*smoke, *flags, f"--workdir={run}").status == 0
    flags = (f"--workdir={run}", "--format=savedmodel", f"--output={tmp_path / 'made'}")
    made = launch(*flags, program="launch.export")
    assert made.status == 0, made.stderr
    assert "takes token ids, not texts" in made.stderr
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "made"))
    assert list(served.signatures) == ["ids"]
    ones = tf.ones([1, 3], tf.int32)
    features = {"input_ids": ones, "attention_mask": ones, "token_type_ids": 0 * ones}
    (row,) = served.signatures["ids"](**features)["probabilities"].numpy()
    assert row.sum() == pytest.approx(1)
    assert "takes no raw texts" in (tmp_path / "made" / "README.md").read_text()


@pytest.mark.parametrize("kind", ["savedmodel", "keras"])
def test_a_folder_that_is_there_or_a_run_without_weights_is_refused(
    launch, finished, killed, tmp_path, kind
):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    for workdir, output, said in (
        (finished, "there", "is there already"),
        (tmp_path, "new", "holds no run"),
        (killed, "new", "of which no phase has ended"),
    ):
        flags = (f"--workdir={workdir}", f"--format={kind}", f"--output={tmp_path / output}")
        ended = launch(*flags, program="launch.export")
        assert ended.status == 2
        assert len(ended.stderr.splitlines()) == 1
        assert said in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
