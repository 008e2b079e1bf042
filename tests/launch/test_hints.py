"""The commands that a run ends with: each is pasted into a shell as it stands."""

import re
import shutil
import subprocess
import sys

import pytest
from programs import ROOT, environment

from launch import hints
from trainer.tasks.classification import Classification
from trainer.tasks.tagging import Tagging


@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_runs_whatever_the_folder_is_called(smoke, finished, tmp_path):
    workdir = tmp_path / "it's $HOME's \"run\""
    shutil.copytree(finished, workdir)
    (workdir / "result.json").unlink()  # killed right before its end
    flags = ["--config.phases[0].steps=12", "--config.phases[1].steps=60", f"--workdir={workdir}"]

    def bash(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    ended = subprocess.run(
        [sys.executable, "-m", "launch.train", *smoke, *flags],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    titles = ("Look", "Evaluate", "Predict", "Report", "Export")
    printed = dict(re.findall(rf"^({'|'.join(titles)}): (.*)$", ended.stderr, re.M))
    assert tuple(printed) == titles
    assert re.search(r"^Best weights: step \d+ of 72, chosen by validation ", ended.stderr, re.M)
    printed["Look"] += " --inspect"  # which ends by itself
    done = {title: bash(command) for title, command in printed.items()}
    for title, each in done.items():
        assert each.returncode == 0, (printed[title], each.stderr)
    assert "train/loss" in done["Look"].stdout
    assert '"split": "test"' in done["Evaluate"].stdout
    assert '"label": ' in done["Predict"].stdout
    assert (workdir / "report.html").is_file()
    assert (workdir / "exported" / "README.md").is_file()


def test_a_model_of_pairs_is_given_a_row():
    task = Classification(text="question", text_pair="it's")
    command = hints._predict(task, "--workdir=runs/pairs")
    assert command.startswith("echo ")
    said = subprocess.run(
        ["bash", "-c", command.partition(" | ")[0]], capture_output=True, text=True, check=True
    )
    assert said.stdout == '{"question": "a text of your own", "it\'s": "a text of your own"}\n'
    assert command.endswith(" --workdir=runs/pairs --format=jsonl")
    words = hints._predict(Tagging(), "--workdir=runs/tags")
    assert words.endswith(" --workdir=runs/tags 'a text of your own'")
