"""A corpus that is neither validated nor tested: the weights of the last step are kept."""

import json
import re

import pytest
from programs import ROOT, assert_same_run, newest, weights
from task_runs import ok, refused

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]
CONFIG = f"--config={ROOT / 'tests' / 'helpers' / 'one_text.py'}"


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(2):
        lines = (f"line {j} of {i} {'more ' * (j % 7)}" for j in range(100))
        (folder / f"{i}.txt").write_text("\n".join(lines))
    return folder


def test_it_trains_to_the_last_step_resumes_and_says_so(launch, corpus, tmp_path, cache):
    data = (CONFIG, f"--config.data.train={corpus}", "--config.optimizer.ema=0.5", cache)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    said = ok(launch(*data, f"--workdir={whole}")).stderr
    assert "Note: there is no validation: the weights of the last step are kept\n" in said
    assert "12 steps; there is no set to score" in said
    ok(launch(*data, f"--workdir={stopped}", "--config.max_steps=8"))
    result = json.loads((stopped / "result.json").read_text())
    assert (result["steps"], result["best_step"], result["finished"]) == (8, 8, False)
    ok(launch(*data, f"--workdir={stopped}", "--config.max_steps=0"))
    result = json.loads((whole / "result.json").read_text())
    assert (result["steps"], result["best_step"], result["finished"]) == (12, 12, True)
    assert not {"validation", "test", "more_tests"} & result.keys()
    best, last = (weights(newest(whole / store)) for store in ("best", "checkpoints"))
    averaged = {name: value for name, value in last.items() if "average" in name}
    assert averaged
    assert any((best[name] != last[name]).any() for name in best if name in last)
    assert_same_run(whole, stopped)


def test_it_can_be_used(launch, corpus, tmp_path, cache):
    workdir = tmp_path / "run"
    data = (CONFIG, f"--config.data.train={corpus}", cache)
    ok(launch(*data, f"--workdir={workdir}"))
    where = (f"--workdir={workdir}", "--trust=tests")
    found = json.loads(ok(launch(*where, cache, program="launch.evaluate")).stdout)
    assert (found["split"], found["step"], found["examples"]) == ("train", 12, 200)
    flags = ("--format=keras", f"--output={tmp_path / 'out'}")
    ok(launch(*where, *flags, program="launch.export"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Nothing was scored: there was no validation and no test split." in card


def test_a_mixture_resumes_as_if_nothing_had_happened(launch, corpus, tmp_path, cache):
    train, other = (f"--config.data.{name}" for name in ("train", "mixture"))
    data = (CONFIG, f"{train}={corpus / '0.txt'}", f"{other}=('{corpus / '1.txt'}',)", cache)
    weights = "--config.data.weights=(1,3)"
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    said = ok(launch(*data, weights, f"--workdir={whole}")).stderr
    assert re.search(r"1\.txt: 100 rows, 75\.00% of the batches, 1\.56 times an epoch\n", said)
    ok(launch(*data, weights, f"--workdir={stopped}", "--config.max_steps=7"))
    ok(launch(*data, weights, f"--workdir={stopped}", "--config.max_steps=0"))
    assert_same_run(whole, stopped)
    changed = "--config.data.weights=(1,2)"
    assert "config.data.weights: (1, 3) -> (1, 2)" in refused(
        launch, stopped, *data, changed, f"--workdir={stopped}"
    )
