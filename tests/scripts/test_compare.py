"""The table of scripts/compare.py: runs that are made or reused, its text and its plot."""

import json
import subprocess
import sys
from pathlib import Path

import compare
import nb_lr
import numpy as np
import pytest
from PIL import Image

from configs import bilstm, lstm, quickstart
from trainer.config import validate
from trainer.errors import UserError
from trainer.storage import sealed

ROOT = Path(__file__).parents[2]
CONFIG = """
from trainer.config import *

def get_config():
    return Experiment(
        data=Data(name="imdb_sample", data_dir="data", train="train[:160]", test="{test}",
                  max_length=32, buckets=1),
        tokenizer=Tokenizer(vocab_size=300),
        model=Model(factory="trainer.models.recurrent:lstm", width={width}),
        phases=[Phase(steps=2)],
    )
"""


def row(title: str, accuracy: float, seconds: float) -> dict:
    scores = {"accuracy": accuracy, "f1": accuracy, "auc": None, "examples": 5000}
    return {"title": title, **scores, "parameters": 1156098, "wall_seconds": seconds}


ROWS = [row("LSTM", 0.9054, 118.4), row("NB-LR", 0.9124, 21.0), row("MiniLM, tuned", 0.9, 1200.0)]


def test_table_is_aligned():
    assert compare.table(ROWS).splitlines() == [
        "               test accuracy      F1  AUC  parameters  wall time",
        "LSTM                  0.9054  0.9054    -   1,156,098      118 s",
        "NB-LR                 0.9124  0.9124    -   1,156,098       21 s",
        "MiniLM, tuned         0.9000  0.9000    -   1,156,098    1,200 s",
    ]


def test_plot_shows_each_row(tmp_path):
    compare.draw(ROWS, tmp_path / "plot.png")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]
    with Image.open(tmp_path / "plot.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (600, 1050, 3)
    blue = np.abs(pixels - (0x1F, 0x4E, 0x79)).max(axis=-1) < 8
    columns = np.flatnonzero(blue.any(axis=0))
    points = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    assert len(points) == 3
    # A logarithmic axis: as far apart as the logarithms of their times are.
    centres = [each.mean() for each in points]
    logs = np.log([21.0, 118.4, 1200.0])
    assert np.isclose(
        (centres[1] - centres[0]) / (centres[2] - centres[0]),
        (logs[1] - logs[0]) / (logs[2] - logs[0]),
        atol=0.01,
    )


def test_labels_cover_no_other_and_no_point():
    from matplotlib.figure import Figure

    axes = Figure(figsize=(7, 4), dpi=150).add_subplot()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    xs, ys = [5.0, 5.3, 5.0, 9.5], [5.0, 5.0, 5.6, 5.0]
    boxes = compare.label_points(axes, xs, ys, ["Transformer"] * 4)
    places = axes.transData.transform(list(zip(xs, ys, strict=True)))
    for i, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:i] + boxes[i + 1 :])
        assert not any(box.contains(*place) for place in places)
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1


@pytest.fixture
def systems(tmp_path):
    """An LSTM of 4 numbers a token and the linear model, both on a slice of the sample."""
    write_config(tmp_path)
    config = str(tmp_path / "config.py")
    return [
        compare.System("LSTM", "lstm", config),
        compare.System("NB-LR", "nb_lr", config, "scripts/nb_lr.py"),
    ]


def write_config(folder: Path, width: int = 4, test: str = "test[:80]") -> None:
    (folder / "config.py").write_text(CONFIG.format(width=width, test=test))


@pytest.mark.long
@pytest.mark.end_to_end
def test_trains_what_is_missing_and_reuses_what_is_there(systems, tmp_path, monkeypatch, capfd):
    runs, plot = tmp_path / "runs", tmp_path / "runs" / "compare" / "plot.png"
    assert compare.compare(systems, runs, plot) == 0
    printed = capfd.readouterr().out
    assert sorted(path.name for path in runs.iterdir()) == ["compare", "lstm", "nb_lr"]
    assert sorted(path.name for path in (runs / "compare").iterdir()) == ["plot.png", "table.json"]
    stored = json.loads((runs / "compare" / "table.json").read_text())
    assert printed == compare.table(stored) + "\n"
    for system, line in zip(systems, stored, strict=True):
        result = json.loads((runs / system.folder / "result.json").read_text())
        assert line["title"] == system.title
        assert line["examples"] == 80
        for name in ("accuracy", "f1", "auc"):
            assert line[name] == result["test"][name]
        assert line["parameters"] == result["parameters"] > 300
        assert 0 < line["wall_seconds"] == result["wall_seconds"]
    assert plot.read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(subprocess, "Popen", None)  # nothing is started from here on
    assert compare.compare(systems, runs, None) == 0
    assert capfd.readouterr().out == printed

    # The linear model was tested elsewhere; then it learned from something else.
    file = runs / "nb_lr" / "result.json"
    result = sealed.read(file)
    prints = result["data_fingerprint"]
    sealed.write(file, {**result, "data_fingerprint": {**prints, "test": "0"}})
    with pytest.raises(UserError, match="runs nb_lr and lstm were tested on different examples"):
        compare.compare(systems, runs, None)
    sealed.write(file, {**result, "data_fingerprint": {**prints, "train": "0"}})
    assert compare.compare(systems, runs, None) == 0
    assert "NB-LR learned from other examples than LSTM" in capfd.readouterr().out

    write_config(tmp_path, width=8)
    with pytest.raises(UserError, match=r"config.model.width: 4 -> 8"):
        compare.compare(systems[:1], runs, None)


@pytest.mark.long
@pytest.mark.end_to_end
def test_a_run_that_fails_ends_it(systems, tmp_path, capfd):
    write_config(tmp_path, test="nowhere")
    assert compare.compare(systems[1:], tmp_path / "runs", None) == 2
    said = capfd.readouterr()
    assert not said.out
    assert [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert not list((tmp_path / "runs" / "compare").iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--only=lstm,gru"], "--only=gru is not one of: lstm, bilstm, transformer, nb_lr, minilm"),
        (["--plot=plot.jpg"], "plot.jpg must end in .png"),
        (["--plot=nowhere/plot.png"], "there is no folder"),
        (["lstm"], "unknown argument 'lstm'"),
        (["--onyl=lstm"], "unknown flag --onyl: is it --only?"),
    ],
)
def test_mistakes_are_one_line(flags, said, tmp_path):
    command = [sys.executable, "scripts/compare.py", f"--runs={tmp_path}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not done.stdout


def test_a_missing_config_is_told_before_anything_is_trained(tmp_path):
    systems = [compare.System("LSTM", "lstm", "nowhere.py")]
    with pytest.raises(UserError, match=r"nowhere\.py is missing: leave LSTM out"):
        compare.compare(systems, tmp_path / "runs", None)
    assert not list(tmp_path.iterdir())


def test_all_from_scratch_learn_from_the_same_tokens():
    reference = quickstart.get_config()
    for module in (lstm, bilstm):
        config = module.get_config()
        validate(config)
        assert (config.data, config.tokenizer) == (reference.data, reference.tokenizer)


# The linear model


def test_log_count_ratio_is_that_of_the_paper():
    counts = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]])
    ratio = nb_lr.log_count_ratio(counts, np.array([1, 1, 0]))
    expected = np.log([(3 / 6) / (1 / 5), (2 / 6) / (2 / 5), (1 / 6) / (2 / 5)])
    np.testing.assert_allclose(ratio, expected, rtol=1e-12)


def reviews(*counts: int) -> list[nb_lr.Split]:
    """Texts that say "not good" or "so good" among noise; the pair tells, no word does alone."""
    random = np.random.default_rng(0)
    splits = []
    for count in counts:
        labels = random.integers(0, 2, count)
        noise = random.choice(list("abcdefgh"), (count, 6))
        openings = [["so bad not good", "not bad so good"][label] for label in labels]
        texts = [" ".join([o, *n]) for o, n in zip(openings, noise, strict=True)]
        splits.append(nb_lr.Split(texts, labels))
    return splits


def test_the_linear_model_learns_pairs_of_words():
    train, validation, test = reviews(80, 40, 40)
    result = nb_lr.learn(train, validation, test)
    assert result["test"]["accuracy"] == result["test"]["auc"] == 1
    assert result["test"]["examples"] == 40
    assert result["test"]["loss"] < 0.1


def test_validation_chooses_the_regularisation():
    train, validation, test = reviews(80, 40, 40)
    lies = nb_lr.Split(validation.texts, 1 - validation.labels)
    chosen = [nb_lr.learn(train, other, test)["strength"] for other in (validation, lies)]
    assert chosen == [max(nb_lr.STRENGTHS), min(nb_lr.STRENGTHS)]


def test_the_linear_model_refuses_what_it_cannot_learn():
    train, validation, test = reviews(20, 10, 10)
    three = nb_lr.Split(train.texts, np.arange(20) % 3)
    with pytest.raises(UserError, match="two classes, the training texts have 3"):
        nb_lr.learn(three, validation, test)
    mute = nb_lr.Split([""] * 20, train.labels)
    with pytest.raises(UserError, match="no word stands in 2 training texts"):
        nb_lr.learn(mute, validation, test)
