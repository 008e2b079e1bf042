"""metrics.jsonl: every digit, and no doubled lines after a resume."""

import json
import math

import numpy as np
import pytest

from trainer.monitor.metrics_log import MetricsLog
from trainer.storage.plain import to_json


def _fill(path, resume_step, last_step):
    """A run that logs every 10 steps, evaluates every 20 and is killed after `last_step`."""
    log = MetricsLog(path, resume_step)
    began = log.wall_seconds
    for step in range(resume_step, last_step + 1, 10):
        wall = {"wall_seconds": began + step - resume_step}
        if step > resume_step:
            log.write(step, {"train/loss": 1 / step} | wall)
        if step and step % 20 == 0:  # at the step of the resume too, as the loop does
            log.write(step, {"validation/loss": 2 / step} | wall)
    log.close()  # a kill: what is in the file then is in the file now


def _read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _points(path):
    return [(line["step"], key) for line in _read(path) for key in line if "/" in key]


def test_a_killed_run_resumed_twice_has_each_point_once(tmp_path):
    undisturbed, path = tmp_path / "whole.jsonl", tmp_path / "metrics.jsonl"
    _fill(undisturbed, 0, 100)
    _fill(path, 0, 70)
    with path.open("a") as file:
        file.write('{"step": 80, "train/lo')  # the kill came while a line was written
    _fill(path, 40, 70)
    _fill(path, 50, 60)
    _fill(path, 60, 100)
    assert _points(path) == _points(undisturbed)
    assert _read(path)[-1]["wall_seconds"] >= 100


def test_an_evaluation_at_the_step_of_the_resume_is_done_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _fill(path, 0, 40)
    MetricsLog(path, 20).close()
    assert _points(path) == [(10, "train/loss"), (20, "train/loss")]


def test_wall_seconds_go_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _fill(path, 0, 50)
    for resume_step in (50, 30, 0):  # what dropped lines took was spent all the same
        log = MetricsLog(path, resume_step)
        assert log.wall_seconds == 50
        log.close()


def test_wall_seconds_of_kills_before_the_first_checkpoint_add_up(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for _ in range(3):
        _fill(path, 0, 20)
        MetricsLog(path, 0).close()  # killed before it logged anything
    log = MetricsLog(path, 0)
    assert log.wall_seconds == 60
    log.close()
    assert _points(path) == []
    assert all("step" in line for line in _read(path))


def test_every_digit(tmp_path):
    values = [0.1 + 0.2, np.float32(1 / 3), np.pi * 1e-30, np.int64(7), 2**60]
    log = MetricsLog(tmp_path / "m.jsonl", 0)
    log.write(np.int64(1), {f"train/{i}": value for i, value in enumerate(values)})
    log.close()
    read = _read(tmp_path / "m.jsonl")[0]
    assert [read[f"train/{i}"] for i in range(5)] == [float(value) for value in values]


def test_what_is_not_finite_is_null_in_strict_json():
    text = to_json({"a": math.nan, "b": [np.float32("inf"), 1.5], "c": np.array([1, 2])})
    assert text == '{"a": null, "b": [null, 1.5], "c": [1, 2]}'


def test_a_line_is_in_the_file_when_write_returns(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl", 0)
    log.write(1, {"train/loss": 1.0})
    assert len(_read(tmp_path / "m.jsonl")) == 1
    log.close()
    log.close()


GOOD = '{"step": 10, "train/loss": 1.5, "wall_seconds": 3.0}\n'


@pytest.mark.parametrize(
    "line",
    [
        *('{"step": "10", "train/loss": 1}', '{"step": 1.5}', '{"step": true}', '{"step": -1}'),
        *('{"train/loss": 1}', "5", "[]", "null", "", "{", '{"step": 1, "step": 2}', "\x00"),
        *('{"step": 10, "wall_seconds": "3"}', '{"step": 10, "wall_seconds": -3}'),
        *('{"step": 10, "train/loss": NaN}', '{"step": 10, "train/loss": 1e999}'),
        *('{"step": 10, "train/loss": [1]}', '{"step": 10, "train/loss": "high"}'),
        *("[" * 100_000, '{"step": ' + "9" * 5000 + "}", '{"step": 99999999999999999999}'),
        '{"step": 10, "text": "' + "x" * 2**21 + '"}',
    ],
    ids=lambda line: line[:40],
)
def test_a_resume_drops_what_is_no_record_and_says_so(tmp_path, caplog, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{GOOD}{line}\n{GOOD}")
    log = MetricsLog(path, 20)
    assert log.wall_seconds == 3
    log.write(30, {"train/loss": 0.5})
    log.close()
    assert [each["step"] for each in _read(path)] == [10, 10, 30]
    assert "metrics.jsonl: dropped what is no record: line 2: " in caplog.text
    assert len(caplog.text) < 500


def test_bytes_that_are_no_text_are_dropped(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'\xff\xfe{"step": 1}\n' + GOOD.encode() + b"\x80\n")
    MetricsLog(path, 20).close()
    assert path.read_text() == GOOD
    assert "line 1: not UTF-8 at byte 0, and 1 more" in caplog.text


def test_a_half_written_last_line_is_no_damage(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{GOOD}{{"step": 20, "tra')
    MetricsLog(path, 20).close()
    assert path.read_text() == GOOD
    assert caplog.text == ""
