"""launch.predict on a language model: texts continued, shown, scored; flags that are refused."""

import json
import math
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import small_language
from programs import ROOT, environment, replaced
from task_runs import metrics, ok, refused

pytestmark = pytest.mark.long
CONFIG = ROOT / "tests" / "helpers" / "small_language.py"
TEXTS = ["the cat", "a", "", "the dog saw a bird and", "a"]


@pytest.fixture(scope="module")
def run(launch, cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    train = small_language.write(folder / "train.jsonl", 300)
    test = small_language.write(folder / "test.jsonl", 40, seed=1)
    data = (f"--config.data.train={train}", f"--config.data.test={test}")
    ok(launch(f"--config={CONFIG}", *data, cache, f"--workdir={folder / 'run'}"))
    return folder / "run"


@pytest.fixture(scope="module")
def prompts(run) -> Path:
    path = run.parent / "prompts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


def predict(launch, run, *flags) -> list[dict]:
    flags = replaced(["--max_new_tokens=8"], *flags)
    ended = ok(launch(f"--workdir={run}", *flags, program="launch.predict"))
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("way", [(), ("--temperature=1",), ("--beams=3",)])
def test_texts_are_continued_on_one_device_as_on_four(launch, run, prompts, way):
    found = predict(launch, run, f"--input={prompts}", *way)
    assert [line["id"] for line in found] == [0, 1, 2, 3, 4]
    for line in found:
        assert list(line) == ["id", "continuation", "log_probability", "tokens", "ended"]
        assert line["log_probability"] < 0
        assert line["tokens"] == 8 or line["ended"] == "end"
    again = predict(launch, run, f"--input={prompts}", "--cpu_devices=4", *way)
    for ours, theirs in zip(found, again, strict=True):
        assert ours.pop("log_probability") == pytest.approx(theirs.pop("log_probability"), 1e-5)
        assert ours == theirs
    same = found[1]["continuation"] == found[4]["continuation"]  # a prompt that stands there twice
    assert same == (way != ("--temperature=1",))


def test_a_file_goes_on_where_it_ended(launch, run, prompts, tmp_path):
    flags = (f"--input={prompts}", "--top_k=20", "--seed=3", f"--output={tmp_path / 'out.jsonl'}")
    predict(launch, run, *flags)
    whole = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").write_bytes(whole[: len(whole) // 2])
    predict(launch, run, *flags, "--resume")
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_one_text_is_shown_on_a_terminal(launch, run):
    (line,) = predict(launch, run, "--temperature=1", "the cat")
    ours, theirs = pty.openpty()
    flags = (f"--workdir={run}", "--max_new_tokens=8", "--temperature=1", "the cat")
    command = [sys.executable, "-m", "launch.predict", *flags]
    with subprocess.Popen(
        command, stdout=theirs, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment()
    ) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
    assert process.returncode == 0
    assert shown.decode().replace("\r\n", "\n") == f"the cat{line['continuation']}\n"


def _read(number: int) -> bytes:
    try:
        return os.read(number, 1000)
    except OSError:  # the other side is closed
        return b""


def test_scores_are_those_of_the_evaluation(launch, run):
    found = predict_scores(launch, run, run.parent / "test.jsonl")
    nll, tokens = (sum(line[name] for line in found) for name in ("nll", "tokens"))
    test = metrics(run)
    assert tokens == test["tokens"]
    assert math.exp(nll / tokens) == pytest.approx(test["perplexity"], rel=1e-5)
    for line in found:
        assert line["perplexity"] == pytest.approx(math.exp(line["nll"] / line["tokens"]), 1e-5)


def predict_scores(launch, run, path) -> list[dict]:
    ended = ok(launch(f"--workdir={run}", "--score", f"--input={path}", program="launch.predict"))
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_flags_without_effect_or_out_of_bounds(launch, run, finished):
    for flags, said in (
        (["--temperature=0"], "temperature=0 leaves nothing to draw"),
        (["--temperature=nan"], "temperature=nan must be a number from 0.001 to 1,000"),
        (["--temperature=1e-39"], "temperature=1e-39 must be a number from 0.001"),
        (["--top_p=1e-46"], "top_p=1e-46 must be a number from 1e-06 to 1"),
        (["--repetition_penalty=1e-46"], "repetition_penalty=1e-46 must be a number from 0.01"),
        (["--beams=2", "--top_p=0.5"], "beams search and do not draw"),
        (["--beams=999"], "beams=999 is more than the"),
        (["--max_new_tokens=24"], "max_new_tokens=24 leaves no room"),
        (["--max_new_tokens=20"], "text 0 has 5 tokens, which leaves room for 19 more"),
        (["--seed=1"], "--seed is of draws"),
        (["--n_best=3", "--beams=2"], "n_best=3 is more than beams=2"),
        (["--length_penalty=2"], "compare the texts of beams"),
        (["--score", "--top_k=3"], "--score writes no text"),
        (["--threshold=0.5"], "--threshold is for two classes"),
        (["--explain"], "--explain"),
    ):
        line = refused(
            launch, run, f"--workdir={run}", "the cat saw a", *flags, program="launch.predict"
        )
        assert said in line
    for flag in ("--score", "--top_k=3", "--stop=x", "--seed=1"):
        given = (f"--workdir={finished}", "a film", flag)
        line = refused(launch, finished, *given, program="launch.predict")
        kind = "language models" if flag == "--score" else "models that write"
        assert f"{flag.partition('=')[0]} is for {kind}, this is none" in line
