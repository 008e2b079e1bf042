"""Temperature scaling, calibration error and thresholds, against what is known of them."""

import math

import numpy as np
import pytest
from sealing import reseal

from trainer.errors import UserError
from trainer.storage import sealed
from trainer.tasks.calibration import (
    UNFITTED,
    Calibration,
    Reliability,
    fit_temperature,
    reliability,
    temperature_note,
    thresholds,
)
from trainer.tasks.metrics import softmax


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
    [([0, 1], [[1.0, 0.0], [0.0, 3.0]]), ([1], [[0.0, 3.0]])],
)
def test_without_a_minimum_nothing_is_fitted_and_that_is_said(labels, logits):
    found = Calibration.fit(7, np.array(labels), np.array(logits), 0.9)
    assert found.temperature == UNFITTED == 1.0
    assert found.note.startswith("no temperature could be fitted, as all of validation is right")
    labels, logits = drawn(2000, 1.0)
    assert Calibration.fit(7, labels, logits, 0.9).note == ""  # about 1, and fitted


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
    assert Calibration.load(tmp_path / "calibration.json", 2) is None
    made.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json", 2) == made
    assert made.note == ""


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_nothing_is_fitted_on_outputs_that_are_not_finite(odd):
    """A file of it could not be read: `before` and `after` would be null."""
    labels, logits = drawn(100, 2.0, classes=2)
    logits[3, 1] = odd
    assert Calibration.fit(7, labels, logits, 0.8) is None
    assert "outputs on validation are not all finite" in temperature_note(None)


def test_a_temperature_at_the_bound_of_its_search_is_said():
    """A model whose scores say nothing; and one whose scores are far too small."""
    labels, logits = drawn(2000, 1.0, classes=2)
    untrained = Calibration.fit(7, labels[::-1].copy(), 1000 * logits, 0.9)
    assert untrained.temperature == pytest.approx(math.exp(4), rel=1e-3)
    assert "no temperature fits validation: the search ended at its bound, 54.6" in untrained.note
    faint = Calibration.fit(7, labels, logits / 1000, 0.9)
    assert faint.temperature == pytest.approx(math.exp(-4), rel=1e-3)
    assert "at its bound, 0.01832" in faint.note


def _refused(path):
    with pytest.raises(UserError, match=r"cannot read .*calibration\.json: ") as caught:
        Calibration.load(path, 2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))
    return str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "5", '{"temperature": NaN}'])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    _refused(path)


def test_a_file_that_was_edited_is_refused(tmp_path):
    path = tmp_path / "calibration.json"
    MADE.save(path)
    path.write_text(path.read_text().replace('"temperature": ', '"temperature": -'))
    assert "its seal does not fit" in _refused(path)


MADE = Calibration.fit(7, *drawn(100, 2.0, classes=2), 0.8)
POINT = {"value": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}
TEMPERATURE = "temperature must be a number from 0.0183156 to 54.5982, is "


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *(("temperature", v, TEMPERATURE) for v in (-1.0, 0, None, 1e-320, 1e308, True, "1", [])),
        ("step", -1, "step must be a whole number from 0"),
        ("step", 1.0, "step must be a whole number from 0"),
        ("before", 1.1, "before must be a number from 0 to 1"),
        ("after", "x" * 10_000, "after must be a number from 0 to 1"),
        ("precision_target", -0.1, "precision_target must be a number from 0 to 1"),
        ("thresholds", [], r"thresholds must be an object, is []"),
        ("thresholds", None, "thresholds must be an object"),
        ("thresholds", {"f1": []}, "f1 must be an object"),
        ("thresholds", {"f1": {}}, "value is missing"),
        ("thresholds", {"f1": {**POINT, "value": 1.5}}, "value must be a number from 0 to 1"),
        ("thresholds", {"f1": {**POINT, "recall": None}}, "recall must be a number from 0 to 1"),
        ("thresholds", {"best": POINT}, "thresholds holds 'best'"),
    ],
)
def test_values_that_no_fit_gives_are_refused_under_any_seal(tmp_path, name, value, said):
    path = tmp_path / "calibration.json"
    MADE.save(path)
    reseal(path, lambda values: values.update({name: value}))
    assert said in _refused(path)


def test_thresholds_are_for_two_classes(tmp_path):
    MADE.save(tmp_path / "calibration.json")
    with pytest.raises(UserError, match="thresholds holds 'f1' for 3 classes"):
        Calibration.load(tmp_path / "calibration.json", 3)


def test_a_missing_value(tmp_path):
    path = tmp_path / "calibration.json"
    for name in ("step", "temperature", "thresholds", "before"):
        MADE.save(path)
        reseal(path, lambda values, name=name: values.pop(name))
        assert f"{name} is missing" in _refused(path)
    sealed.write(path, {})
    _refused(path)
