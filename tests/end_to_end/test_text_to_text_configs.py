"""Configs of text to text: several tasks at once, and spans that thaw into translation."""

import json
import random
import re

import pytest
from programs import assert_same_run, run
from task_runs import ok
from test_kills import killed_at

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]
SMALL = (
    *("--config.tokenizer.vocab_size=330", "--config.model.width=16", "--config.model.depth=1"),
    *("--config.model.heads=2", "--config.model.ffn_width=32"),
    *("--config.runtime.precision=float32", "--config.runtime.max_rows_per_device=4"),
    *("--config.phases[0].epochs=0", "--config.phases[0].steps=12", "--config.optimizer.ema=0"),
    *("--config.phases[0].warmup_steps=2", "--config.global_batch_size=8"),
    *("--config.evaluation.every_epochs=0", "--config.evaluation.every_steps=6"),
    *("--config.save_every_steps=4", "--config.log_every_steps=3"),
    "--config.evaluation.batch_size=8",
)
WRITING = ("--config.task.target_length=24", "--config.task.beams=2", "--config.data.buckets=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files as the three sets have them."""
    made, drawn = tmp_path_factory.mktemp("sets"), random.Random(0)

    def text() -> str:
        return " ".join(drawn.choices(("a", "red", "dog", "runs", "over", "sand"), k=6))

    for name in ("glue/SST-2", "glue/CoLA", "multi30k"):
        (made / name).mkdir(parents=True)
    for name, count in (("train", 80), ("dev", 12)):
        lines = [f"{text()}\t{i % 2}\n" for i in range(count)]
        (made / "glue" / "SST-2" / f"{name}.tsv").write_text(f"sentence\tlabel\n{''.join(lines)}")
        lines = [f"gj04\t{i % 2}\t\t{text()}.\n" for i in range(count)]
        (made / "glue" / "CoLA" / f"{name}.tsv").write_text("".join(lines))
    for name, count in (("train", 60), ("val", 8), ("test_2016_flickr", 8)):
        for language in ("en", "de"):
            lines = [f"{language} {text()}\n" for _ in range(count)]
            (made / "multi30k" / f"{name}.{language}").write_text("".join(lines))
    return made


@pytest.mark.slow
def test_three_tasks_are_one_run_whenever_it_is_killed(folder, cache, tmp_path):
    flags = (
        *("--config=configs/text_to_text/three_tasks.py", f"--config.data.data_dir={folder}"),
        *(*SMALL, *WRITING, cache),
    )
    calm, killed = (f"--workdir={tmp_path / name}" for name in ("calm", "killed"))
    ok(run(*flags, calm))
    for place in ("accumulation:5", "evaluation:2"):
        killed_at(place, (*flags, killed))
    ok(run(*flags, killed))
    assert_same_run(tmp_path / "calm", tmp_path / "killed")
    result = json.loads((tmp_path / "calm" / "result.json").read_text())
    assert {"mean", "sst2_accuracy", "cola_matthews", "multi30k_bleu"} <= result[
        "validation"
    ].keys()
    tests = result["more_tests"]
    assert {name: each["examples"] for name, each in tests.items()} == {
        "sst2": 12, "cola": 12, "multi30k": 8,
    }  # fmt: skip
    assert "accuracy" in tests["sst2"]
    assert "matthews" in tests["cola"]
    assert "bleu" in tests["multi30k"]


def test_spans_thaw_into_translation(folder, cache, tmp_path):
    where = f"--config.data.data_dir={folder / 'multi30k'}"
    spans = (
        *("--config=configs/text_to_text/span_corruption.py", where, *SMALL, cache),
        "--config.data.max_length=64",
    )
    first, killed = (f"--workdir={tmp_path / name}" for name in ("first", "killed"))
    ok(run(*spans, first))
    killed_at("accumulation:5", (*spans, killed))
    ok(run(*spans, killed))
    assert_same_run(tmp_path / "first", tmp_path / "killed")
    ended = ok(
        run(
            "--config=configs/translation/multi30k_en_de.py",
            *(where, *SMALL, *WRITING, cache, f"--workdir={tmp_path / 'thawed'}"),
            f"--config.model.initial_run={tmp_path / 'first'}",
            "--config.model.initial_patterns=('encoder/.*','decoder/.*')",
        )
    )
    said = re.search(r"(\d+) parameters start from .*; (\d+) start afresh: none", ended.stderr)
    assert said, ended.stderr
    assert int(said[1]) > 20
    result = json.loads((tmp_path / "thawed" / "result.json").read_text())
    assert "bleu" in result["test"]
