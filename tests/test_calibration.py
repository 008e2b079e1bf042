"""Temperature scaling, calibration error and thresholds, against what is known of them."""

import json

import numpy as np
import pytest

from trainer.calibration import (
    Calibration,
    Reliability,
    fit_temperature,
    reliability,
    thresholds,
)
from trainer.errors import UserError
from trainer.objectives.metrics import softmax


def drawn(count: int, temperature: float, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits / temperature), and the logits."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(count, classes)) * 4
    sums = softmax(logits / temperature).cumsum(-1)
    return (random.random((count, 1)) > sums).sum(-1), logits


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_that_the_labels_were_drawn_with(temperature):
    labels, logits = drawn(20000, temperature)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.05)


def test_changes_no_prediction_and_lowers_the_error():
    labels, logits = drawn(5000, 3.0)
    found = Calibration.fit(7, labels, logits, 0.9)
    assert found.after < 0.03 < found.before
    assert found.before == reliability(labels, softmax(logits)).error
    assert found.thresholds == {}  # three classes


@pytest.mark.parametrize(
    ("labels", "logits"),
    [([0, 1], [[1.0, 0.0], [0.0, 3.0]]), ([0, 1], [[1.0, 0.0], [np.inf, 3.0]])],
)
def test_no_minimum_is_temperature_1(labels, logits):
    assert fit_temperature(np.array(labels), np.array(logits)) == 1.0


def test_the_reliability_diagram_of_four_predictions():
    probabilities = np.array([[0.4, 0.6], [0.9, 0.1], [0.95, 0.05], [1.0, 0.0]])
    bins = reliability(np.array([1, 1, 0, 0]), probabilities)
    assert bins.counts.tolist() == [0] * 8 + [1] + [0] * 4 + [1, 2]
    assert bins.accuracy[[8, 13, 14]].tolist() == [1, 0, 1]
    assert bins.confidence[[8, 13, 14]] == pytest.approx([0.6, 0.9, 0.975])
    assert bins.error == pytest.approx((0.4 + 0.9 + 2 * 0.025) / 4)


def test_no_predictions_are_no_error():
    assert Reliability(np.zeros(15), np.zeros(15), np.zeros(15)).error == 0


def test_thresholds_by_f1_and_by_precision():
    labels = np.array([0, 0, 1, 0, 1, 1])
    probabilities = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
    found = thresholds(labels, probabilities, 1.0)
    assert found["f1"].value == 0.3
    assert found["f1"].f1 == pytest.approx(2 * 0.75 / 1.75)
    assert (found["precision"].value, found["precision"].recall) == (0.8, pytest.approx(2 / 3))


def test_a_precision_that_no_threshold_reaches_is_left_out():
    found = thresholds(np.array([1, 0, 1, 0]), np.array([0.1, 0.9, 0.2, 0.8]), 0.9)
    assert set(found) == {"f1"}
    assert thresholds(np.array([1, 1]), np.array([0.1, 0.9]), 0.9) == {}


def test_reads_what_it_wrote(tmp_path):
    labels, logits = drawn(100, 2.0, classes=2)
    made = Calibration.fit(7, labels, logits, 0.8)
    assert Calibration.load(tmp_path / "calibration.json") is None
    made.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == made


@pytest.mark.parametrize("content", ["", "{}", "[1]", json.dumps({"thresholds": {"f1": {"x": 1}}})])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"cannot read .*calibration\.json") as caught:
        Calibration.load(path)
    assert "\n" not in str(caught.value)
