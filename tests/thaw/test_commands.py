"""Commands for a shell: begun as this process was begun."""

import shlex
import sys
from pathlib import Path

import pytest

from thaw import commands

OTHER = f"{shlex.quote(sys.executable)} -m launch.predict"


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        (["python", "-m", "launch.train", "--workdir=x"], "python -m launch.predict"),
        ([".venv/bin/python", "-P", "-m", "launch.train"], ".venv/bin/python -P -m launch.predict"),
        (["my python", "-m", "launch.train"], "'my python' -m launch.predict"),
        (["python", "/there/launch/train.py", "-m"], "python /there/launch/predict.py"),
        (["/usr/bin/python", "/no where/thaw", "train"], "'/no where/thaw' predict"),
        (["python", "-m", "pytest"], OTHER),
        (["python", "train_it.py", "--out", "thaw"], OTHER),
        (["python", "-mlaunch.train", "--config", "launch/a.py"], OTHER),
        (["python", "-c", "…", "-m"], OTHER),
        (["python", "-P", "-m"], OTHER),
        ([], OTHER),
        (["python"], OTHER),
    ],
)
def test_another_program_is_started_as_this_one_was(monkeypatch, typed, printed):
    monkeypatch.setattr(sys, "orig_argv", typed)
    assert commands.program("predict") == printed


def test_a_command_on_the_path_is_called_by_its_name(monkeypatch, tmp_path):
    python = tmp_path / "python"
    for name in ("python", "thaw", "tensorboard"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "orig_argv", [str(python), str(tmp_path / "thaw"), "train"])
    board = commands.tensorboard(Path("runs/a b"))
    assert commands.program("predict") == f"{tmp_path}/thaw predict"
    assert board == f"{tmp_path}/tensorboard --logdir='runs/a b'"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commands.program("predict") == "thaw predict"
    assert commands.tensorboard(Path("runs/a b")) == "tensorboard --logdir='runs/a b'"


@pytest.mark.parametrize("typed", [["python"], [""], []])
def test_without_its_program_tensorboard_is_a_module(monkeypatch, tmp_path, typed):
    monkeypatch.setattr(sys, "orig_argv", typed)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    expected = f"{tmp_path}/python -m tensorboard.main --logdir=runs"
    assert commands.tensorboard(Path("runs")) == expected
