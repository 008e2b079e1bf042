"""How classification judges a whole set, on the host."""

import numpy as np
import pytest
import tiny

from trainer.tasks.classification import Classification
from trainer.tasks.shown import Bars, Curve, Matrix, Table
from trainer.tasks.task import Examples, Scores

GOLD = {
    "label": np.array([0, 1, 2, 0]),
    "rows": np.array([5, 17, 20, 40]),
    "lengths": np.array([3, 4, 5, 6]),
}
# Right, wrong and sure, right, wrong and less sure.
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.9, 0.05, 0.05], [0.2, 0.19, 0.61], [0.29, 0.1, 0.61]])
LOSSES = -np.log(PROBABILITIES[range(4), GOLD["label"]])
SCORES = Scores({"loss": LOSSES}, {"loss": np.ones(4)}, {"logits": np.log(PROBABILITIES)})
NAMES = ["a", "b", "c"]


@pytest.fixture
def task() -> Classification:
    return tiny.classification(NAMES)


def test_the_surest_mistakes_come_first(task):
    assert task.mistakes(GOLD, SCORES).tolist() == [1, 3]


def test_metrics(task):
    found = task.judge(GOLD, SCORES)
    assert found["accuracy"] == 0.5
    assert found["examples"] == 4
    assert found["loss"] == pytest.approx(LOSSES.mean())
    # Three bins: 0.9 and wrong; 0.8 and right; 0.61 twice, half of them right.
    assert found["calibration_error"] == pytest.approx((0.9 + 0.2 + 2 * 0.11) / 4)


def test_what_is_shown(task):
    mistakes = Examples(np.array([1, 3]), [17, 40], ["one", "two"], [["one"], ["two"]])
    matrix, *curves, bars, lengths, labels, table = task.show(GOLD, SCORES, mistakes)
    assert isinstance(table, Table)
    assert [row[:3] for row in table.rows] == [(17, "b", "a"), (40, "a", "c")]
    assert [row[3] for row in table.rows] == pytest.approx([0.9, 0.61])
    assert [row[4] for row in table.rows] == ["one", "two"]
    assert isinstance(matrix, Matrix)
    assert matrix.counts.tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert all(isinstance(curve, Curve) for curve in curves)
    assert [curve.name for curve in curves] == NAMES
    assert [curve.relevant.tolist() for curve in curves][2] == [False, False, True, False]
    assert isinstance(bars, Bars)
    assert bars.title == "calibration error 0.3300"
    assert bars.counts.sum() == 4
    assert [each.name for each in (lengths, labels)] == ["by length", "by label"]
    assert sum(row[1] for row in lengths.rows) == 4
    assert [row[:2] for row in labels.rows] == [("a", 2), ("b", 1), ("c", 1)]


def test_two_classes_have_one_curve():
    scores = Scores({}, {}, {"logits": np.log(PROBABILITIES[:, :2])})
    gold, none = {**GOLD, "label": np.array([0, 1, 1, 0])}, Examples(np.array([], int), [], [], [])
    curves = [
        each
        for each in tiny.classification(["neg", "pos"]).show(gold, scores, none)
        if isinstance(each, Curve)
    ]
    assert [curve.name for curve in curves] == ["pos"]


def test_what_is_fitted_and_what_it_gives(task):
    fitted = task.fit(7, GOLD, SCORES)
    assert fitted.step == 7
    found = task.results(fitted, GOLD, SCORES)
    assert found["temperature"] == fitted.temperature
    assert found["test_calibration_error"]["before"] == pytest.approx(0.33)
    assert found["test_calibration_error"]["after"] == fitted.after
    odd = Scores({}, {}, {"logits": np.full((4, 3), np.nan)})
    assert task.fit(7, GOLD, odd) is None
    assert task.results(None, GOLD, SCORES)["temperature"] is None
