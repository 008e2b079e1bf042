"""Typical mistakes: what is typed, and the one line that is printed, in a second or less."""

import os
import subprocess
import sys
import time

import pytest
from programs import ROOT, environment

QUICK = ("--config=configs/quickstart.py", "--workdir=no")
FILES = ("--config=configs/files.py", "--workdir=no")
# What is typed behind `python -m launch.train`, and what is printed.
TRAIN = [
    (("--config=configs/quickstart.py",), "give --workdir=…"),
    (("--config=configs/quikstart.py", "--workdir=no"), "is it configs/quickstart.py?"),
    (("--workdir=no",), "--config"),
    (("--config=configs/quickstart", "--workdir=no"), "is it configs/quickstart.py?"),
    (("--config=quickstart.py", "--workdir=no"), "No such file"),
    (("configs/quickstart.py", "--workdir=no"), "--config"),
    ((*QUICK, "--batch_size=16"), "is it --config.global_batch_size?"),
    ((*QUICK, "--config.batch_size=16"), "is it --config.global_batch_size?"),
    ((*QUICK, "--config.lr=1e-3"), "is it --config.phases[0].learning_rate?"),
    ((*QUICK, "--lr=1e-3"), "is it --config.phases[0].learning_rate?"),
    (("--workdir=no", "--learning-rate=1"), "is it --config.phases[0].learning_rate?"),
    ((*QUICK, "--config.epochs=2"), "is it --config.phases[0].epochs?"),
    ((*QUICK, "--num_train_epochs=2"), "is it --config.phases[0].epochs?"),
    ((*QUICK, "--config.output_dir=a"), "config has no field 'output_dir': it is --workdir"),
    ((*QUICK[:1], "--output_dir=a"), "is it --workdir?"),
    ((*QUICK[:1], "--model_dir=a"), "is it --workdir?"),
    ((*QUICK, "--config.seq_length=9"), "is it --config.data.max_length?"),
    ((*QUICK, "--config.data.max_len=9"), "is it --config.data.max_length?"),
    ((*QUICK, "--config.optimizer.name=sgd"), "AdamW is the only optimizer"),
    ((*QUICK, "--config.optimizer.learning_rate=1"), "rates belong to phases: --config.phases[0]"),
    ((*QUICK, "--config.num_labels=3"), "classes are counted in the data"),
    ((*QUICK, "--config.model.hidden_size=64"), "is it --config.model.width?"),
    ((*QUICK, "--config.model.num_layers=2"), "is it --config.model.depth?"),
    ((*QUICK, "--config.model.widht=2"), "is it width?"),
    ((*QUICK, "--config.dropout=0.1"), "is it --config.model.dropout?"),
    ((*QUICK, "--config.weight_decay=0.1"), "is it --config.optimizer.weight_decay?"),
    ((*QUICK, "--fp16"), "is it --config.runtime.precision?"),
    ((*QUICK, "--config.warmup_steps=9"), "is it --config.phases[0].warmup_steps?"),
    ((*QUICK, "--config.phases.0.epochs=2"), "is it --config.phases[0].epochs? In a shell, put it"),
    ((*QUICK, "--config.phases[1].epochs=2"), "the index is over 0, of the last one"),
    ((*QUICK, "--config.phases=2"), "is a group of settings: give one of them"),
    ((*QUICK, "--config.model=bert"), "is a group of settings: give one of them"),
    ((*QUICK, "--config.seed=1.5"), "; --print_config shows what it may be"),
    ((*QUICK, "--config.model.width=wide"), "'wide' is no whole number; --print_config shows"),
    ((*QUICK, "--config.model.dropout=some"), "'some' is no number; --print_config shows"),
    ((*QUICK, "--config.model.activation=foo"), "is not one of: gelu, relu"),
    ((*QUICK, "--config.evaluation.metric=acc"), "is it accuracy?"),
    ((*QUICK, "--workdir=other"), "--workdir is given twice: give it once"),
    ((*QUICK, "--config.seed=1", "--config.seed=2"), "--config.seed is given twice"),
    (("--workdir=no", "--config.seed=1"), "file too, as --config=configs/quickstart.py"),
    (("--config.data.train=a.csv", "--workdir=no"), "file too, as --config=configs/files.py"),
    ((*QUICK, "--wrokdir=a"), "is it --workdir?"),
    ((*QUICK, "--cpu_devices=0"), "; --help lists the flags"),
    ((*QUICK, "stray"), "unknown argument 'stray': flags begin with --"),
    ((*FILES, "--config.data.train=REDME.csv"), "no such file or folder: is it 'README.md'?"),
    (("--config=configs/files.py:tags", "--workdir=no"), "is none of classification, labels,"),
]
OTHERS = [
    ("launch.slurm", QUICK, "the flags of launch.train stand behind --"),
    ("launch.kubernetes", QUICK, "the flags of launch.train stand behind --"),
    ("launch.local", ("--workers=2", *QUICK), "the flags of launch.train stand behind --"),
    ("launch.report", ("runs/a", "runs/b"), "give --workdir=…"),
    ("launch.slurm", ("--nodes=2", "--", *QUICK, "--config.lr=1"), "is it --config.phases[0].lear"),
    (
        "launch.kubernetes",
        ("--name=a", "--image=b", "--volume=c", "--", *QUICK, "--config.lr=1"),
        "is it --config.phases[0].learning_rate?",
    ),
    (
        "launch.slurm",
        ("--nodes=2", "--", *QUICK, "--config.global_batch_size=abc"),
        "'abc' is no whole number; launch.train --print_config shows what it may be",
    ),
    (
        "launch.kubernetes",
        ("--name=a", "--image=b", "--volume=c", "--", *QUICK, "--config.phases[3].steps=1"),
        "the index is over 0, of the last one",
    ),
    (
        "launch.local",
        ("--workers=2", "--", *QUICK, "--config.model.activation=foo"),
        "config.model.activation='foo' is not one of: gelu, relu",
    ),
    ("launch.predict", ("--workdir=no", "--file=a.csv"), "unknown flag --file"),
    ("launch.command", ("trian",), "thaw has no command 'trian': is it train?"),
]
FINE = [  # the same name twice, and no mistake
    ("--config.data.max_length", "-1", "--config.global_batch_size", "-1", "--print_config"),
    ("--config.task.metrics=a:b", "--config.task.metrics=c:d", "--print_config=true"),
]
SECONDS = 1.0  # on a quiet machine; here others test beside us


def line_of(program, arguments, cwd=ROOT, python=sys.executable):
    """The one line that a program prints, and the seconds that its process computed."""
    before = os.times()
    done = subprocess.run(
        [python, "-m", program, *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    after = os.times()
    assert done.returncode == 2, done.stderr
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    spent = sum(after[2:4]) - sum(before[2:4])
    return line, spent


@pytest.mark.long
@pytest.mark.parametrize(("arguments", "said"), TRAIN)
def test_flags_of_training(arguments, said):
    line, seconds = line_of("launch.train", arguments)
    assert said in line
    assert seconds < 2 * SECONDS


@pytest.mark.parametrize(("program", "arguments", "said"), OTHERS)
def test_flags_of_other_programs(program, arguments, said):
    if program == "launch.command":
        code = "from launch.command import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            **{"cwd": ROOT, "env": environment(), "capture_output": True, "text": True},
            check=False,
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
        return
    assert said in line_of(program, arguments)[0]


@pytest.mark.long
@pytest.mark.parametrize("arguments", FINE)
def test_values_that_look_like_flags_and_values_that_add_up(arguments):
    command = [sys.executable, "-m", "launch.train", "--config=configs/files.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_python_without_the_packages(tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    line, _ = line_of("launch.train", QUICK, python=bare / "bin" / "python")
    assert "has none of the packages: " in line


@pytest.mark.long
@pytest.mark.parametrize("name", ["train", "predict", "evaluate", "export", "tokenize", "local"])
def test_a_program_as_a_file(name, tmp_path):
    """`python launch/train.py` searches launch/ first, in which lies a tokenize.py."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, ROOT / "launch" / f"{name}.py", "--help"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
    assert time.monotonic() - began < 60
