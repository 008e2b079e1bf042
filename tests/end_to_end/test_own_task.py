"""A user's own task: the page docs/own_task.md, line by line."""

import json
import random
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs import ROOT, assert_same_run, environment, losses

pytestmark = pytest.mark.end_to_end
PAGE = (ROOT / "docs" / "own_task.md").read_text()
TASK, CONFIG = re.findall(r"```python\n(.*?)```", PAGE, re.S)
(BLOCK,) = re.findall(r"```\n(python -m launch.*?)```", PAGE, re.S)
COMMANDS = [shlex.split(line) for line in BLOCK.splitlines()]
GOOD, BAD = ["kind", "quick", "sure", "clear", "warm"], ["rude", "slow", "vague", "odd", "cold"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page, and answers of which the one with better words wins."""
    (tmp_path / "my_ranking.py").write_text(TASK)
    (tmp_path / "my_ranking_config.py").write_text(CONFIG)
    drawn = random.Random(0)
    for name, count in (("train", 400), ("test", 100), ("new", 5)):
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            for i in range(count):
                texts = [
                    " ".join(drawn.choices(words, k=4)) + f" answer {name} {i}"
                    for words in (GOOD, BAD)
                ]
                first = drawn.random() < 0.5
                row = dict(zip(("first", "second"), texts if first else texts[::-1], strict=True))
                row |= {"winner": "first" if first else "second"}
                file.write(json.dumps(row) + "\n")
    return tmp_path


def _run(folder: Path, words: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    # In the user's folder, as the page has it.
    return subprocess.run(
        [sys.executable, *words[1:], *more],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_task_is_short():
    assert len(TASK.splitlines()) < 60


@pytest.mark.long
def test_it_is_trained_killed_resumed_evaluated_and_predicted_with(folder):
    train, _, evaluate, predict = COMMANDS
    caches = f"--cache_dir={folder / 'cache'}", "--config.save_every_steps=10"
    killer = [sys.executable, ROOT / "tests" / "end_to_end" / "kill_at.py", "saving:2"]
    killed = subprocess.run(
        [*killer, *train[3:], *caches], cwd=folder, env=environment(), check=False
    )
    assert killed.returncode == -signal.SIGKILL
    resumed = _run(folder, train, *caches)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming at step 6" in resumed.stderr
    assert ".cc:" not in resumed.stderr  # TensorFlow, which the config imports, is quiet
    whole = [word.replace("runs/ranking", "runs/whole") for word in train]
    assert _run(folder, whole, *caches).returncode == 0
    assert_same_run(folder / "runs" / "ranking", folder / "runs" / "whole")

    evaluated = _run(folder, evaluate, caches[0])
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(evaluated.stdout)
    assert found["accuracy"] > 0.9
    assert found["examples"] == 100
    predicted = _run(folder, predict)
    assert predicted.returncode == 0, predicted.stderr
    lines = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [line["winner"] for line in lines] == [
        json.loads(row)["winner"] for row in (folder / "new.jsonl").read_text().splitlines()
    ]


@pytest.mark.slow
def test_two_devices_give_the_losses_of_one(folder):
    train = COMMANDS[0]
    flags = f"--cache_dir={folder / 'cache'}", "--config.max_steps=6", "--config.log_every_steps=1"
    for name, devices in (("one", "--cpu_devices=1"), ("two", "--cpu_devices=2")):
        words = [word.replace("runs/ranking", f"runs/{name}") for word in train]
        ended = _run(folder, words, *flags, devices)
        assert ended.returncode == 0, ended.stderr
    one, two = (losses(folder / "runs" / name) for name in ("one", "two"))
    assert len(one) == 6
    assert list(two) == list(one)
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-4)


@pytest.mark.long
def test_another_margin_is_another_run(folder):
    train, wide, *_ = COMMANDS
    flags = f"--cache_dir={folder / 'cache'}", "--config.max_steps=6"
    assert _run(folder, wide, *flags).returncode == 0
    other = [word.replace("runs/ranking", "runs/wide") for word in train]
    refused = _run(folder, other, *flags)
    assert refused.returncode == 2
    assert "config.task.margin: 0.2 -> 0.5" in refused.stderr


@pytest.mark.long
def test_programs_import_it_only_where_it_is_trusted(folder):
    train, _, evaluate, predict = COMMANDS
    flags = f"--cache_dir={folder / 'cache'}", "--config.max_steps=6"
    assert _run(folder, train, *flags).returncode == 0
    for words in (evaluate, predict):
        refused = _run(folder, [word for word in words if not word.startswith("--trust")])
        assert refused.returncode == 2
        assert "--trust=my_ranking" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('{"loss": tf.nn.relu(self.margin)}', "losses"),
        ('{"other": tf.nn.relu(self.margin - batch["sign"] * lead)}', "the same names"),
        ('{"loss": tf.reduce_mean(lead)}', "has shape ()"),
        ('{"loss": lead if lead[0] > 0 else -lead}', "raised OperatorNotAllowedInGraphError"),
    ],
)
def test_a_wrong_loss_is_told_before_the_first_step(folder, wrong, said):
    right = 'return {"loss": tf.nn.relu(self.margin - batch["sign"] * lead)}'
    assert right in TASK
    (folder / "my_ranking.py").write_text(TASK.replace(right, f"return {wrong}"))
    ended = _run(folder, COMMANDS[0], f"--cache_dir={folder / 'cache'}")
    assert ended.returncode == 2, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert said in last
    assert "config.task='my_ranking:Ranking'" in last
    assert "Traceback" not in ended.stderr
    assert not (folder / "runs" / "ranking" / "config.json").exists()
