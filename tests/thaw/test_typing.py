"""Types: a program that uses thaw passes mypy --strict."""

import subprocess
import sys

import pytest
from programs import ROOT

PROGRAM = """
from pathlib import Path

import thaw


def main(file: Path) -> float:
    config: thaw.Experiment = thaw.read_config("configs/files.py")
    config.data.train = str(file)
    config.task = thaw.Classification(text="message", label="queue", class_weights="balanced")
    config.phases = [thaw.Phase(epochs=2, learning_rate=1e-3)]
    result: thaw.Result = thaw.train(config, workdir=file.parent / "run", cpu_devices=2)
    model = thaw.load(result.workdir, trust=["mine"])
    rows = model.predict(["a text", {"message": "another"}], threshold="f1")
    labels: list[str] = [str(row["label"]) for row in rows]
    print(labels, model.evaluate("test", batch_size=4), model.export("made", format="keras"))
    print(thaw.report([result.workdir, "runs/other"], "page.html"))
    return result.test["accuracy"] + result.groups["test"]["billing"]["f1"]
"""


@pytest.mark.long
def test_a_program_passes_mypy_strict(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(
        "import thaw\nthaw.train('a', 3)\nthaw.load('a').predict(7)\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    command += ["--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    for name, status in (("program.py", 0), ("wrong.py", 1)):
        done = subprocess.run(
            [*command, tmp_path / name], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout
    assert done.stdout.count("error: Argument") == 3
