"""The SavedModel of a language model: its loop gives the tokens that launch.predict writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import small_language
import tensorflow as tf
import words
from begun_runs import LIKE_GPT2, scratch
from programs import ROOT
from task_runs import ok, refused

import thaw
from thaw.smoke import use
from trainer.config import Model
from trainer.errors import UserError
from trainer.export.continuations import Continues
from trainer.export.savedmodel import to_saved_model
from trainer.models.random import draw_key
from trainer.models.writing import Writing
from trainer.prediction.continuing import ContinuingPredictor
from trainer.storage.workdir import Workdir
from trainer.tasks.causal import Causal
from trainer.trained import TrainedModel

TEXTS = ["a b c", "q", "a bab", "", "c d e f g"]
WAYS = {
    "greedy": {},
    "sampling": {"temperature": 1.2, "top_k": 30, "top_p": 0.95},
    "beams": {"beams": 3, "repetition_penalty": 1.3},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> TrainedModel:
    run = scratch(tmp_path_factory.mktemp("runs") / "run", Causal(), **LIKE_GPT2)
    return TrainedModel(run, tf.distribute.OneDeviceStrategy("/cpu:0"))


def written(trained: TrainedModel, writing: Writing, seed: int) -> list[list[int]]:
    """The tokens of launch.predict."""
    task = trained.task.continuing()
    writer = ContinuingPredictor(trained, task, writing, seed).writer
    return [each.tokens for each in writer.continue_texts(TEXTS)]


def prompts() -> list[list[int]]:
    return [[words.BEGIN, *words.ids_of(text)] for text in TEXTS]


def tokens_of(found) -> list[list[int]]:
    ids, lengths = found["ids"].numpy(), found["lengths"].numpy()
    assert not any(row[n:].any() for row, n in zip(ids, lengths, strict=True))
    return [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)]


@pytest.mark.parametrize(
    "way", ["greedy", *(pytest.param(w, marks=pytest.mark.long) for w in ("sampling", "beams"))]
)
def test_tokens_are_those_of_the_writer_wherever_prompts_are_padded(trained, way):
    writing = Writing(max_new_tokens=6, **WAYS[way])
    seeds = {"seed": tf.constant(5, tf.int64)} if writing.samples else {}
    expected = written(trained, writing, 5)
    ids = Continues(trained, writing, None).ids
    for place in ("left", "right"):
        rows, longest = [], max(map(len, prompts())) + 2
        for row in prompts():
            padding = [0] * (longest - len(row))
            rows.append(([*padding, *row], [*padding, *[1] * len(row)]))
            if place == "right":
                rows[-1] = ([*row, *padding], [*[1] * len(row), *padding])
        inputs, mask = (tf.constant(each) for each in zip(*rows, strict=True))
        found = ids(input_ids=inputs, attention_mask=mask, **seeds)
        assert tokens_of(found) == expected
    assert len({tuple(each) for each in expected}) == len(TEXTS)


def test_prompts_that_do_not_fit_are_refused(trained):
    ids = Continues(trained, Writing(max_new_tokens=6), None).ids
    for length, said in ((7, "a prompt has more than 6 tokens"), (0, "has no token to go on")):
        mask = tf.constant([[1] * length + [0] * (8 - length)])
        with pytest.raises(tf.errors.InvalidArgumentError, match=said):
            ids(input_ids=5 * mask, attention_mask=mask)
    with pytest.raises(UserError, match="leaves no room for a prompt in the model's 12"):
        Continues(trained, Writing(max_new_tokens=12), None)


@pytest.mark.parametrize("seed", [0, 1, 12345678901, 2**63 - 1])
def test_a_seed_may_be_a_tensor(seed):
    given = draw_key(tf.constant(seed, tf.int64))
    assert given.dtype == tf.uint64
    assert given.numpy().tolist() == draw_key(seed).numpy().tolist()


def test_a_model_of_another_kind_has_no_such_form(trained, monkeypatch):
    monkeypatch.setattr(trained, "model", tf.keras.Sequential())
    monkeypatch.setattr(trained.config, "model", Model(factory="own:model"))
    with pytest.raises(UserError, match="the model is of 'own:model': it has no form"):
        Continues(trained, Writing(), None)


@pytest.mark.long
def test_the_card_says_how_ids_go_on(trained, tmp_path):
    output = tmp_path / "made"
    assert "WhitespaceSplit" in to_saved_model(trained, output, Writing(6, temperature=0.5))
    found = tf.saved_model.load(str(output)).signatures
    assert list(found) == ["ids"]
    assert set(found["ids"].structured_input_signature[1]) == {
        *("input_ids", "attention_mask", "seed")
    }
    card = (output / "README.md").read_text()
    parts = ("pipeline_tag: text-generation", "`temperature` `0.5`", "take `seed` too")
    for said in (*parts, "At most 6 tokens"):
        assert said in card
    assert "token_type_ids" not in card
    assert (output / "assets.extra" / "tokenizer" / "tokenizer.json").is_file()


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
more = {"seed": tf.constant(3, tf.int64)} if sys.argv[4] == "sampling" else {}
found = model.signatures["serving_default"](texts=tf.constant(json.load(open(sys.argv[2]))), **more)
json.dump({name: value.numpy().tolist() for name, value in found.items()}, open(sys.argv[3], "w"))
"""


@pytest.fixture(scope="module")
def run(launch, cache, tmp_path_factory) -> Path:
    """Of a model that was trained, with a tokenizer of BERT's kind."""
    folder = tmp_path_factory.mktemp("trained")
    train = small_language.write(folder / "train.jsonl", 300)
    data = (f"--config.data.train={train}", "--config.data.test=")
    config = ROOT / "tests" / "helpers" / "small_language.py"
    ok(launch(f"--config={config}", *data, cache, f"--workdir={folder / 'run'}"))
    return folder / "run"


@pytest.mark.long
@pytest.mark.parametrize("way", ["greedy", "sampling"])
def test_texts_go_on_without_this_library_as_launch_predict_writes_them(launch, run, tmp_path, way):
    pytest.importorskip("tensorflow_text")
    texts = ["the cat", "a", "", "the dog saw a bird and", "a"]
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    how = ("--max_new_tokens=8", *(f"--{name}={value}" for name, value in WAYS[way].items()))
    output, answers = tmp_path / "made", tmp_path / "answers.json"
    flags = ("--format=savedmodel", f"--output={output}", *how)
    ok(launch(f"--workdir={run}", *flags, program="launch.export"))
    command = [sys.executable, "-I", "-c", ANSWER, output, tmp_path / "texts.json", answers, way]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(answers.read_text())
    seed = ["--seed=3"] * (way == "sampling")
    given = (f"--workdir={run}", f"--input={tmp_path / 'texts.txt'}", *how, *seed)
    ended = ok(launch(*given, program="launch.predict"))
    tokenizer = Workdir(run).load_tokenizer()
    end = tokenizer.id_of("sep_token")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    for line, ids, length in zip(lines, found["ids"], found["lengths"], strict=True):
        assert line["tokens"] == length
        assert (line["ended"] == "end") == (ids[length - 1] == end)
        new = tokenizer.decode([id_ for id_ in ids[:length] if id_ != end])
        assert line["continuation"].strip() == new.strip()
    assert (found["ids"][1] == found["ids"][4]) == (way == "greedy")  # the prompt is the same


@pytest.mark.long
def test_python_writes_and_exports_and_refuses_what_has_no_effect(launch, run, tmp_path):
    model = thaw.load(run)
    (whole,) = model.write(["the cat"], max_new_tokens=8)
    stop = whole["continuation"][-3:]
    (line,) = model.write(["the cat"], max_new_tokens=8, stop=stop)
    assert line["ended"] == "stop"
    made = model.export(tmp_path / "made", max_new_tokens=8, temperature=0.5)
    shown = (made / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    script = shown.replace("FOLDER", str(made)).replace(
        "tokenizer.decode", "print(tokenizer.decode"
    )
    command = [sys.executable, "-c", f"{script.rstrip()})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (drawn,) = model.write(["a fine film"], max_new_tokens=8, temperature=0.5)
    assert done.stdout.strip() == drawn["continuation"].strip(), done.stderr
    assert line["continuation"] == whole["continuation"].partition(stop)[0]
    said = use.exported(model, [{"text": "the cat and a dog"}, {"text": "a"}], tmp_path)
    assert said.startswith("savedmodel answers off by at most 0.0e+00 (token ids)")
    with pytest.raises(UserError, match=r"seed=1.5 must be a whole number"):
        model.write(["the cat"], seed=1.5)
    for format_, settings, said in (
        ("savedmodel", {"stop": "a"}, "a SavedModel gives tokens, and looks for no texts"),
        ("savedmodel", {"tempo": 1}, "export has no setting 'tempo': max_new_tokens, temperature"),
        ("huggingface", {"top_k": 3}, "top_k is of models that write texts"),
    ):
        with pytest.raises(UserError, match=said):
            model.export(tmp_path / "other", format_, **settings)
    flags = (f"--workdir={run}", "--format=savedmodel", f"--output={tmp_path / 'other'}")
    line = refused(launch, run, *flags, "--top_p=1e-46", program="launch.export")
    assert "top_p=1e-46 must be a number from 1e-06 to 1" in line
    assert not (tmp_path / "other").exists()
