"""Event files: what TensorBoard reads, and no doubled points whenever the run was killed."""

import html
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata

from trainer.evaluation import groups
from trainer.evaluation.report import Report
from trainer.monitor import plugins, tensorboard
from trainer.monitor.figures import Attention
from trainer.monitor.tensorboard import TensorBoard
from trainer.tasks.classification import Classification
from trainer.tasks.shown import Curve
from trainer.tasks.task import Examples, Scores

TASK = Classification().bound({"labels": ["neg", "pos"]})
GOLD = {"label": np.array([0, 1, 1, 0]), "rows": np.arange(4), "lengths": np.array([3, 3, 9, 9])}
PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
SCORES = Scores({}, {}, {"logits": np.log(PROBABILITIES)})
MISTAKES = Examples(np.array([3]), [3], ["a"], [["a"]])


class Killed(BaseException):
    """A way to end the process."""


def _run(folder, resume_step, last_step):
    """A run that logs every 10 steps, evaluates every 20, and is killed after `last_step`."""
    board = TensorBoard(folder, resume_step)
    board.begin({"seed": 1, "resumed": resume_step}, {"seed": 1, "model.head": "cls"}, TASK)
    for step in range(resume_step, last_step + 1, 10):
        if step > resume_step:
            board.scalars(step, {"train/loss": 1 / step, "train/rate": 0.1})
            board.histograms(step, {"encoder/w": np.arange(5) * step})
        if step and step % 20 == 0:  # at the step of the resume too, as the loop does
            board.scalars(step, {"validation/loss": 2 / step})
            board.evaluation(step, _report())
    return board


def _report(split="validation"):
    """Four examples, one of them wrong."""
    found = groups.judged(TASK, GOLD, SCORES)
    shown = [*groups.tables(TASK, found), *TASK.show(GOLD, SCORES, MISTAKES)]
    return Report(split, {}, MISTAKES, shown, found, TASK.group_metrics)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*tfevents*"))


def _points(folder: Path) -> list[tuple[int, str]]:
    """(step, tag) of everything in all event files; a truncated tail ends a file."""
    found = []
    for path in _files(folder):
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = Event.FromString(record)
                found += [(event.step, value.tag) for value in event.summary.value]
        except tf.errors.DataLossError:
            pass
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list[tuple[int, str]]:
    folder = tmp_path_factory.mktemp("whole")
    _run(folder, 0, 60)
    return sorted(_points(folder))


def test_tensorboard_reads_what_was_written(tmp_path):
    _run(tmp_path, 0, 40)
    read = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    tags = read.Tags()["tensors"]
    assert set(tags) == {
        *("config", "train/loss", "train/rate", "encoder/w", "validation/loss"),
        *(
            "evaluation/validation confusion",
            "evaluation/validation wrong predictions",
            "evaluation/validation by length",
            "evaluation/validation by label",
            "validation/pos/pr_curves",
        ),
        *(
            f"groups/validation/{metric}/{label}"
            for metric in ("precision", "recall", "f1")
            for label in ("neg", "pos")
        ),
        *("evaluation/validation confusion matrix", "evaluation/validation reliability"),
        *("_hparams_/session_start_info", "custom_scalars__config__"),
    }
    loss = [(e.step, tf.make_ndarray(e.tensor_proto).item()) for e in read.Tensors("train/loss")]
    assert loss == [(s, np.float32(1 / s)) for s in (10, 20, 30, 40)]
    shown_by = {t: read.SummaryMetadata(t).plugin_data.plugin_name for t in tags}
    assert shown_by["train/loss"] == "scalars"
    assert shown_by["encoder/w"] == "histograms"
    assert shown_by["config"] == shown_by["evaluation/validation confusion"] == "text"
    assert shown_by["evaluation/validation by length"] == "text"
    assert shown_by["evaluation/validation by label"] == "text"
    assert shown_by["evaluation/validation reliability"] == "images"
    assert shown_by["evaluation/validation confusion matrix"] == "images"
    assert shown_by["validation/pos/pr_curves"] == "pr_curves"
    assert shown_by["custom_scalars__config__"] == "custom_scalars"
    config = tf.make_ndarray(read.Tensors("config")[0].tensor_proto).item().decode()
    assert '    "seed": 1' in config


def test_histograms_count_the_finite_values(tmp_path):
    array = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    array[3, 4], array[0, 0] = np.nan, np.inf
    board = TensorBoard(tmp_path, 0)
    board.histograms(1, {"w": array, "none": np.full(3, np.nan), "same": np.ones(7),
                         "narrow": tf.constant([1, 2], tf.bfloat16)})  # fmt: skip
    read = EventAccumulator(str(tmp_path)).Reload()
    rows = {tag: tf.make_ndarray(read.Tensors(tag)[0].tensor_proto) for tag in
            ("w", "none", "same", "narrow")}  # fmt: skip
    assert {tag: row[:, 2].sum() for tag, row in rows.items()} == {
        "w": 1998, "none": 0, "same": 7, "narrow": 2,
    }  # fmt: skip
    finite = array[np.isfinite(array)]
    assert rows["w"][0, 0] == finite.min()
    assert rows["w"][-1, 1] == finite.max()


@pytest.mark.parametrize("resume", [0, 20, 30])
def test_a_resumed_run_has_each_point_once(tmp_path, undisturbed, resume):
    _run(tmp_path, 0, 50)
    board = TensorBoard(tmp_path, resume)
    kept = _points(tmp_path)
    assert max(step for step, _ in kept or [(0, "")]) <= resume
    assert ((20, "validation/loss") in kept) is (resume > 20)
    board.close()
    _run(tmp_path, resume, 60)
    assert sorted(_points(tmp_path)) == undisturbed
    assert len(_files(tmp_path)) == 1


def test_the_config_is_that_of_the_last_start(tmp_path):
    _run(tmp_path, 0, 20).end(20, {"test/accuracy": 0.5})
    _run(tmp_path, 20, 40).end(40, {"test/accuracy": 0.75})
    read = EventAccumulator(str(tmp_path)).Reload()
    for tag in ("config", "_hparams_/session_start_info", "_hparams_/session_end_info"):
        assert len(read.Tensors(tag)) == 1
    (config,) = read.Tensors("config")
    assert '"resumed": 20' in tf.make_ndarray(config.tensor_proto).item().decode()
    finals = [event.step for event in read.Tensors("final/test/accuracy")]
    assert finals == [40]


def test_the_hparams_page_knows_the_settings(tmp_path):
    folder = tmp_path / "sweep" / "trial" / "tensorboard"
    _run(folder, 0, 10)
    read = EventAccumulator(str(folder)).Reload()
    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    session = hparams_metadata.parse_session_start_info_plugin_data(content)
    assert session.hparams["seed"].number_value == 1
    assert session.hparams["model.head"].string_value == "cls"
    assert session.group_name == "sweep/trial"


def test_training_and_validation_lie_on_one_chart():
    (value,) = plugins.layout(["loss", "rmse"]).value
    layout = layout_pb2.Layout.FromString(tf.make_ndarray(value.tensor).item())
    charts = {c.title: list(c.multiline.tag) for each in layout.category for c in each.chart}
    assert {"^train/loss$", "^validation/loss$"} <= set(charts["loss"])
    assert charts["rmse"] == ["^train/rmse$", "^validation/rmse$", "^test/rmse$"]


def test_a_chart_holds_a_metric_of_all_labels(tmp_path):
    (value,) = plugins.layout(["loss"], "label", ["precision", "f1"]).value
    layout = layout_pb2.Layout.FromString(tf.make_ndarray(value.tensor).item())
    (category,) = [each for each in layout.category if each.title.startswith("by label")]
    charts = {chart.title: list(chart.multiline.tag) for chart in category.chart}
    assert [*charts] == ["validation precision", "validation f1"]
    _run(tmp_path, 0, 40)
    read = EventAccumulator(str(tmp_path)).Reload()
    (pattern,) = charts["validation f1"]
    assert [t for t in read.Tags()["tensors"] if re.match(pattern, t)] == [
        "groups/validation/f1/neg", "groups/validation/f1/pos"
    ]  # fmt: skip
    points = read.Tensors("groups/validation/f1/pos")
    assert [event.step for event in points] == [20, 40]
    assert tf.make_ndarray(points[0].tensor_proto) == np.float32(0.8)  # 2 of 3, both of 2


def test_of_many_labels_the_most_frequent_have_curves_and_the_others_a_word(tmp_path):
    board = TensorBoard(tmp_path, 0)
    many = {f"c{i:03}": {"f1": i / 200, "own": 3, "support": 200 - i} for i in range(101)}
    few = dict(list(many.items())[:30])
    board.evaluation(3, Report("test", {}, MISTAKES, [], many, ["f1"]))
    board.evaluation(3, Report("validation", {}, MISTAKES, [], few, ["f1"]))
    read = EventAccumulator(str(tmp_path)).Reload()
    tags = read.Tags()["tensors"]
    curves = [tag for tag in tags if tag.startswith("groups/test/f1/")]
    assert curves == [f"groups/test/f1/c{i:03}" for i in range(30)]
    assert not [tag for tag in tags if "/own/" in tag or "/support/" in tag]
    assert [tag for tag in tags if "curves" in tag] == ["evaluation/test curves"]
    (word,) = read.Tensors("evaluation/test curves")
    said = html.unescape(tf.make_ndarray(word.tensor_proto).item().decode())
    assert said.startswith("The 30 most frequent of 101 have curves: c000, c001, ")
    assert "c030" not in said


def test_pr_curve():
    summary = plugins.pr_curve("test", Curve("pos", GOLD["label"] == 1, PROBABILITIES[:, 1]))
    assert summary.value[0].tag == "test/pos/pr_curves"
    positives, *_, precision, recall = tf.make_ndarray(summary.value[0].tensor)
    assert positives[0] == 2
    at = 65  # of 101 thresholds: 0.65
    assert (precision[at], recall[at]) == (0.5, 0.5)


def test_attention_is_among_the_pictures(tmp_path):
    scores = np.full((2, 3, 4, 4), 0.25)
    seen = Attention(["[CLS]", "$x", "##y", "[SEP]"], scores, {"label": "pos", "prediction": "neg"})
    board = TensorBoard(tmp_path, 0)
    board.evaluation(3, _report("test"), [seen, seen])
    read = EventAccumulator(str(tmp_path)).Reload()
    width, height, png = tf.make_ndarray(read.Tensors("attention/test text 1")[0].tensor_proto)
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == (int(width), int(height))


@pytest.mark.slow
def test_a_file_cut_anywhere_is_read_up_to_there(tmp_path):
    _run(tmp_path, 0, 20)
    whole, points = _files(tmp_path)[0].read_bytes(), _points(tmp_path)
    for length in range(0, len(whole), 97):
        for path in _files(tmp_path):
            path.unlink()
        (tmp_path / "events.out.tfevents.000001").write_bytes(whole[:length])
        TensorBoard(tmp_path, 20).close()
        kept = _points(tmp_path)
        expected = [(s, tag) for s, tag in points if s and not (s == 20 and "validation" in tag)]
        assert kept == expected[: len(kept)]


@pytest.mark.long
def test_a_kill_at_any_instant_of_the_rewriting(tmp_path, undisturbed, monkeypatch):
    """Stops before the n-th thing that the rewriting does on the disk, for every n."""
    calls, limit = 0, 10**9

    def count(function):
        def counted(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls > limit:
                raise Killed
            return function(*args, **kwargs)

        return counted

    open_writer = tf.io.TFRecordWriter

    class Writer:
        def __init__(self, path):
            self._file = open_writer(path)
            self.write = count(self._file.write)
            self.flush = count(self._file.flush)
            self.close = self._file.close

    _run(tmp_path, 0, 50).close()
    with monkeypatch.context() as patch:
        patch.setattr(tf.io, "TFRecordWriter", count(Writer))
        patch.setattr(tensorboard, "sync", count(tensorboard.sync))
        patch.setattr(Path, "replace", count(Path.replace))
        patch.setattr(Path, "rename", count(Path.rename))
        finished = False
        for limit in range(60):  # noqa: B007 - read by `counted`
            calls = 0
            try:
                TensorBoard(tmp_path, 50).close()
                finished = True
            except Killed:
                pass
            assert max(Counter(_points(tmp_path)).values()) == 1
            assert {p for p in undisturbed if 0 < p[0] <= 50} <= set(_points(tmp_path))
            if finished:
                break
        assert finished
        assert limit > 10
    _run(tmp_path, 40, 60)
    assert sorted(_points(tmp_path)) == undisturbed
    assert [p.name for p in tmp_path.iterdir() if "tfevents" not in p.name] == []


def test_a_record_that_is_no_event_is_passed_over(tmp_path, caplog):
    _run(tmp_path, 0, 20).close()
    points, (path,) = _points(tmp_path), _files(tmp_path)
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as file:
        for record in (records[0], b"\xff\xff", *records[1:], b"no event"):
            file.write(record)
    board = TensorBoard(tmp_path, 30)
    assert _points(tmp_path) == [(step, tag) for step, tag in points if step]
    assert f"{path}: dropped record 2, which is no event" in caplog.text
    board.close()


def test_a_record_that_says_it_has_a_petabyte_is_one_that_was_cut(tmp_path):
    """TensorFlow would end the process."""
    _run(tmp_path, 0, 20).close()
    points, (path,) = _points(tmp_path), _files(tmp_path)
    length = (2**50).to_bytes(8, "little")
    with path.open("ab") as file:
        file.write(length + masked_crc32c(length).to_bytes(4, "little") + b"x" * 100)
    TensorBoard(tmp_path, 30).close()
    assert _points(tmp_path) == [(step, tag) for step, tag in points if step]


def test_leaves_files_of_others_alone(tmp_path):
    other = tmp_path / "events.out.tfevents.1700000000.host.profile-empty"
    other.write_bytes(b"")
    _run(tmp_path, 0, 20)
    _run(tmp_path, 20, 40)
    assert other.exists()
    assert len(_files(tmp_path)) == 2


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "rewriting.tmp").symlink_to(mine)
    TensorBoard(tmp_path / "board", 0).close()
    assert mine.read_text() == "precious"
