"""Every page of TensorBoard, in a real browser, shows a real run's data; and pictures of them."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import ROOT, run
from screenshot_tensorboard import PAGES, visit

from trainer.evaluation.scores import Kept
from trainer.monitor.tensorboard import TensorBoard
from trainer.tasks.classification import Classification
from trainer.tasks.metrics import softmax

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {', '.join(MISSING)}")
LEFTS = (340, 760, 1180)  # of the cards, in pixels
CURVE = (66, 80, 102)  # TensorBoard's colour of the first run


@pytest.fixture(scope="module")
def runs(tmp_path_factory, smoke) -> Path:
    """A folder of two whole runs that differ in a setting; the first one was profiled."""
    folder = tmp_path_factory.mktemp("runs")
    few = ["--config.phases[0].steps=12", "--config.phases[1].steps=40"]
    everies = ["histograms_every_steps", "evaluation.every_steps", "save_every_steps"]
    for name, more in {
        "one": ["--config.runtime.profile_steps=(10,12)"],
        "two": ["--config.model.depth=2"],
    }.items():
        flags = [*few, *(f"--config.{every}=20" for every in everies), *more]
        done = run(*smoke, *flags, f"--workdir={folder / name}")
        assert done.status == 0, done.stderr
    return folder


@pytest.mark.browser
@needs_browser
def test_every_page_shows_the_runs(runs):
    result = json.loads((runs / "one" / "result.json").read_text())
    task = Classification().bound({"labels": ["neg", "pos"]})
    scores = runs / "one" / "scores" / "test.npz"
    kept = Kept.load(scores, result["sha256"]["scores/test.npz"], task)
    shown, images, colours = {}, [], []
    for name, page in visit(runs):
        shown[name] = page.run("return text();")
        if name == "images":
            images = page.run("return all('img').map(i => [i.naturalWidth, i.naturalHeight]);")
        if name == "projector":
            colours = page.run(
                "return all('vz-projector-data-panel')[0].colorOptions"
                ".filter(option => option.map).map(o => [o.name, o.items.map(i => i.label)]);"
            )
    assert shown.keys() == PAGES.keys()

    accuracy = result["test"]["accuracy"]
    assert f"{accuracy:.5g}" in shown["hparams"]
    assert "model.depth" in shown["hparams"]
    for run_ in ("one", "two"):
        for name in ("time_series", "custom_scalars", "pr_curves", "images", "histograms", "text"):
            assert f"{run_}/tensorboard" in shown[name], name
    for tag in (
        *("train/loss", "validation/loss", "test/accuracy", "validation/calibration_error"),
        *(f"time/{part}_ms" for part in ("input", "compute", "host", "logging", "evaluation")),
        "memory/host_mib",
    ):
        assert tag in shown["custom_scalars"]
    for tag in ("validation/pos/pr_curves", "test/pos/pr_curves"):
        assert f"tag: {tag}" in shown["pr_curves"]
    for tag in (
        "attention/validation text 0",
        "evaluation/test confusion matrix",
        "evaluation/test reliability",
    ):
        assert tag in shown["images"]
    assert len(images) >= 6
    assert all(width > 100 and height > 50 for width, height in images)
    for group in ("encoder/embeddings", "encoder/block_0", "head/logits"):
        assert f"gradients/{group}" in shown["histograms"]
        assert f"parameters/{group}" in shown["histograms"]
    worst = kept.mistakes[0]
    probability = softmax(kept.scores.answers["logits"])[worst.row].max()
    assert f"{worst.id} pos neg {probability:.4f}" in shown["text"].replace("neg pos", "pos neg")
    assert worst.text.split()[0] in shown["text"]
    width = np.loadtxt(runs / "one" / "tensorboard" / "validation_vectors.tsv").shape[1]
    assert f"pooled vectors, validation 500x{width}" in shown["projector"]
    assert {name: sorted(labels) for name, labels in colours}["label"] == ["neg", "pos"]
    assert "train.py" in shown["profile"]  # a thread of the trace, that of the host


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """A folder with the curves that the program puts on top of the first page."""
    board = TensorBoard(tmp_path / "logs" / "run", resume_step=0)
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
    return tmp_path / "logs"


def take(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/screenshot_tensorboard.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


@pytest.mark.browser
@needs_browser
def test_the_picture_shows_six_curves(curves, tmp_path):
    done = take(f"--logdir={curves}", f"--output={tmp_path}", "--pages=time_series")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {tmp_path}/tensorboard_time_series.png (")
    with Image.open(tmp_path / "tensorboard_time_series.png") as picture:
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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--logdir=nowhere"], "folder of runs"),
        ([], "--logdir is missing"),
        (["--logdir=.", "--pages=text,hparam"], "'hparam' is not one of: time_series"),
        (["--logdir=.", "--output=nowhere"], "no such folder"),
    ],
)
def test_a_mistake_is_one_line(flags, said, tmp_path):
    output = [] if any(flag.startswith("--output") for flag in flags) else [f"--output={tmp_path}"]
    refused(take(*output, *flags), said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [[], ["chromium"]])
def test_a_missing_program_is_named(curves, tmp_path, there):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in there:
        (tools / name).touch(0o755)
    done = take(f"--logdir={curves}", f"--output={tmp_path}", env={"PATH": str(tools)})
    refused(done, "chromedriver is not on PATH" if there else "chromium is not on PATH")


def refused(done: subprocess.CompletedProcess, why: str) -> None:
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert why in line
    assert not done.stdout
