"""The whole monitor: its files, a resume, and workers that write nothing."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer import config
from trainer.errors import UserError
from trainer.evaluation.report import Report
from trainer.monitor.monitor import Monitor
from trainer.monitor.projector import Vectors
from trainer.monitor.tensorboard import TensorBoard
from trainer.monitor.versions import versions
from trainer.storage import sealed
from trainer.storage.contents import PROJECTOR
from trainer.storage.disk import sha256_of
from trainer.tasks.classification import Classification
from trainer.tasks.shown import Matrix
from trainer.tasks.task import Examples

TASK = Classification().bound({"labels": ["neg", "pos"]})
CAPTIONS = {"label": ["x"] * 2, "prediction": ["y"] * 2}
VECTORS = Vectors(np.eye(2), ["a", "b"], [0, 1], CAPTIONS)


def _monitor(workdir, resume_step=0, writes=True):
    return Monitor(workdir, config.Experiment(), TASK, resume_step, 40, writes=writes)


def _report():
    metrics = {"accuracy": 0.5, "examples": 4}
    confusion = Matrix("confusion", np.array([[1, 1], [1, 1]]), ["neg", "pos"])
    return Report(
        "validation", metrics, Examples(np.array([2]), [3], ["fine"], [["fine"]]), [confusion]
    )


def _train(monitor, first, last, resumed=False):
    for step in range(first, last + 1, 10):
        if not (resumed and step == first):  # logged before the checkpoint
            monitor.throughput.add(90, 100, 4, 10)
            monitor.training(step, "all", 0, {"train/loss": 1 / step})
        if step % 20 == 0:
            monitor.evaluation(step, _report())
    monitor.histograms(last, {"encoder/w": np.ones(3)})
    monitor.message("trained")


def _lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_reads_like_one_run(tmp_path, capsys):
    killed = _monitor(tmp_path)
    _train(killed, 10, 40)
    killed.close()
    resumed = _monitor(tmp_path, 20)
    kept = _lines(tmp_path)[-1]["wall_seconds"]
    assert kept > 0
    assert kept <= resumed.wall_seconds
    _train(resumed, 20, 40, resumed=True)
    resumed.flush()
    resumed.vectors("validation", VECTORS)
    metrics = {"accuracy": np.float32(0.5), "auc": float("nan")}
    resumed.finish({"test": metrics, "steps": 40, "sha256": {"scores/test.npz": "0"}})
    resumed.summary([("Test", "fine"), ("Best weights", "of step 20")], [("Look", "there")])
    resumed.close()
    resumed.close()

    lines = _lines(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 20, 20, 30, 40, 40]
    assert lines[0]["train/loss"] == 0.1
    assert lines[0]["train/phase"] == 0
    assert {"time/input_ms", "time/logging_ms", "memory/host_mib"} <= lines[0].keys()
    assert abs(lines[0]["train/padding"] - 0.1) < 1e-12
    assert lines[2].keys() == {"step", "wall_seconds"}  # spent on what was dropped
    assert lines[3]["validation/accuracy"] == 0.5
    walls = [line["wall_seconds"] for line in lines]
    assert walls == sorted(walls)

    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in read.Tensors("train/loss")] == [10, 20, 30, 40]
    assert [event.step for event in read.Tensors("validation/accuracy")] == [20, 40]
    assert [event.step for event in read.Tensors("evaluation/validation confusion")] == [20, 40]

    result = sealed.read(tmp_path / "result.json")
    digest = sha256_of(tmp_path / "metrics.jsonl")
    assert result["sha256"] == {"scores/test.npz": "0", "metrics.jsonl": digest}
    assert result["test"] == {"accuracy": 0.5, "auc": None}
    assert result["wall_seconds"] >= walls[-1]
    assert result["versions"] == versions()
    assert result["seconds"]["host"] > 0
    assert [event.step for event in read.Tensors("final/test/accuracy")] == [40]
    assert (tmp_path / PROJECTOR[0]).read_text() == "1\t0\n0\t1\n"
    assert (tmp_path / PROJECTOR[1]).read_text().splitlines() == [
        "label\tprediction\tid\ttext",
        "x\ty\t0\ta",
        "x\ty\t1\tb",
    ]
    assert all((tmp_path / name).is_file() for name in PROJECTOR)
    said = capsys.readouterr().err
    assert "step 40/40 validation: accuracy 0.5000, examples 4" in said
    ending = said.splitlines()[-4:]
    assert [line.split(": ")[0] for line in ending] == ["Test", "Best weights", "Time", "Look"]
    assert "logging" in ending[2]


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space\nleft"),
    ],
)
def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch, failure):
    monitor = _monitor(tmp_path)

    def fail(*_):
        raise failure

    monkeypatch.setattr(TensorBoard, "scalars", fail)
    with pytest.raises(
        UserError, match=r"cannot write the logs in .*No space left.*same command"
    ) as caught:
        monitor.training(10, "all", 0, {"train/loss": 1.0})
    assert "\n" not in str(caught.value)
    monitor.close()


def test_a_worker_that_is_not_the_chief_writes_nothing(tmp_path, capsys):
    monitor = _monitor(tmp_path, writes=False)
    _train(monitor, 10, 40)
    monitor.vectors("validation", VECTORS)
    monitor.finish({"steps": 40})
    monitor.summary([("Test", "fine")], [])
    monitor.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")
    assert monitor.wall_seconds > 0


def test_versions_of_what_a_result_depends_on():
    found = versions()
    assert found["tensorflow"].startswith("2.21")
    assert {"python", "keras", "numpy", "transformers", "tokenizers"} <= found.keys()
