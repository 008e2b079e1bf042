"""The picture of a run's TensorBoard page, and what the program says when there is none."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.monitor.tensorboard import TensorBoard

ROOT = Path(__file__).parents[2]
LEFTS = (340, 760, 1180)  # of the cards, in pixels
CURVE = (66, 80, 102)  # TensorBoard's colour of the first run
MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A run's folder, with the curves that the program puts on top of the page."""
    board = TensorBoard(tmp_path / "run" / "tensorboard", resume_step=0)
    for step in range(10, 410, 10):
        loss = 0.7 * math.exp(-step / 150) + 0.02 * math.sin(step)
        rate = min(step / 100, 1) * 1e-3
        speed = 9000 + 100 * math.cos(step)
        board.scalars(
            step,
            {"train/loss": loss, "train/learning_rate": rate, "train/tokens_per_second": speed},
        )
        if step % 50 == 0:
            values = {"loss": loss + 0.1, "accuracy": 0.9 - loss / 2, "auc": 0.95 - loss / 2}
            board.scalars(step, {f"validation/{name}": value for name, value in values.items()})
    board.close()
    return tmp_path / "run"


def take(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/screenshot_tensorboard.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


@pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}")
def test_the_picture_shows_six_curves(workdir, tmp_path):
    output = tmp_path / "page.png"
    done = take(f"--workdir={workdir}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {output} (")
    with Image.open(output) as picture:
        assert picture.format == "PNG"
        width, height = picture.size
        assert width == 1600
        assert 850 <= height <= 1060  # the browser takes some of it for itself
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    on_curve = np.abs(pixels - CURVE).max(axis=-1) < 8
    cards = [on_curve[top : top + 336, left : left + 420] for top in (165, 501) for left in LEFTS]
    # A curve is over much of its card's width: as many columns hold a pixel of it.
    columns = [card.any(axis=0).sum() for card in cards]
    assert min(columns) > 100, columns


@pytest.mark.parametrize("flags", [["--workdir=nowhere"], []])
def test_a_missing_workdir_is_one_line(flags, tmp_path):
    refused(take(*flags, f"--output={tmp_path / 'page.png'}"), "run's folder")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [[], ["chromium"]])
def test_a_missing_program_is_named(workdir, tmp_path, there):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in there:
        (tools / name).touch(0o755)
    done = take(
        f"--workdir={workdir}", f"--output={tmp_path / 'page.png'}", env={"PATH": str(tools)}
    )
    refused(done, "chromedriver is not on PATH" if there else "chromium is not on PATH")


def refused(done: subprocess.CompletedProcess, why: str) -> None:
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert why in line
    assert not done.stdout
