"""Classification judges a whole set, on the host."""

import dataclasses

import numpy as np
import pytest
import sklearn.metrics as sk
import tensorflow as tf
import tiny

from trainer import config
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.storage import fields
from trainer.tasks.classification import Classification
from trainer.tasks.shown import Bars, Curve, Matrix, Note, Table
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


def test_a_temperature_that_could_not_be_fitted_is_not_called_so(task):
    right = {**GOLD, "label": PROBABILITIES.argmax(-1)}
    fitted = task.fit(7, right, SCORES)
    none = Examples(np.array([], int), [], [], [])
    shown = task.show(GOLD, SCORES, none, fitted)
    (note,) = [each for each in shown if isinstance(each, Note) and each.name == "calibration"]
    assert note.text.startswith("The expected calibration error here is 0.3300; no temperature")
    assert "fitted on validation" not in note.text
    metrics = task.judge(GOLD, SCORES)
    result = {"validation": metrics, "test": metrics, **task.results(fitted, GOLD, SCORES)}
    (_, said), (title, why) = task.summary(result)
    assert said.endswith("calibration error 0.3300")
    assert (title, why) == ("Calibration", fitted.note)


def test_metrics(task):
    found = task.judge(GOLD, SCORES)
    assert found["accuracy"] == 0.5
    assert found["examples"] == 4
    assert found["loss"] == pytest.approx(LOSSES.mean())
    # Three bins: 0.9 and wrong; 0.8 and right; 0.61 twice, half of them right.
    assert found["calibration_error"] == pytest.approx((0.9 + 0.2 + 2 * 0.11) / 4)


def test_metrics_of_each_label_are_those_of_scikit_learn(task):
    found = task.judge_groups(GOLD, SCORES)
    assert [*found] == ["a", "b", "c"]
    expected = sk.classification_report(
        GOLD["label"],
        PROBABILITIES.argmax(-1),
        target_names=NAMES,
        output_dict=True,
        zero_division=0,
    )
    for name, values in found.items():
        assert values.keys() == {*task.group_metrics, "support"}
        assert values["f1"] == expected[name].pop("f1-score")
        assert {key: values[key] for key in expected[name]} == expected[name]
    macro = np.mean([values["f1"] for values in found.values()])
    assert task.judge(GOLD, SCORES)["f1_macro"] == pytest.approx(macro)
    rare = {**GOLD, "label": np.array([2, 2, 2, 1])}
    assert task.judge_groups(rare, SCORES)["a"]["support"] == 0


def test_two_classes_have_the_metrics_of_the_second():
    made = tiny.classification(["neg", "pos"])
    gold = {**GOLD, "label": np.array([0, 1, 1, 0])}
    scores = dataclasses.replace(SCORES, answers={"logits": np.log(PROBABILITIES[:, :2])})
    found, of_label = made.judge(gold, scores), made.judge_groups(gold, scores)
    for name in made.group_metrics:
        assert found[name] == of_label["pos"][name]
    lines, _ = made.about({"train": gold}, cut=[])
    assert lines[-1] == "precision, recall, F1 and AUC are those of 'pos'"


def test_what_is_shown(task):
    mistakes = Examples(np.array([1, 3]), [17, 40], ["one", "two"], [["one"], ["two"]])
    matrix, *curves, bars, lengths, table = task.show(GOLD, SCORES, mistakes)
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
    assert lengths.name == "by length"
    assert sum(row[1] for row in lengths.rows) == 4


def test_two_classes_have_one_curve():
    scores = Scores({}, {}, {"logits": np.log(PROBABILITIES[:, :2])})
    gold, none = {**GOLD, "label": np.array([0, 1, 1, 0])}, Examples(np.array([], int), [], [], [])
    shown = tiny.classification(["neg", "pos"]).show(gold, scores, none)
    assert [each.name for each in shown if isinstance(each, Curve)] == ["pos"]
    assert not any(isinstance(each, Note) for each in shown)
    gold["label"] = np.zeros(4, int)
    shown = tiny.classification(["neg", "pos"]).show(gold, scores, none)
    assert not any(isinstance(each, Curve) for each in shown)
    (note,) = [each for each in shown if isinstance(each, Note)]
    assert note.text == "No curve for 1 of 2 labels: it has no row in this set."


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


def test_balanced_class_weights_are_those_of_the_training_rows():
    rows = [Row({"text": "t", "label": name}, i, "t") for i, name in enumerate("aaabbbbbbbbc")]
    task = Classification(class_weights="balanced")
    config.validate(tiny.experiment(task=task))
    assert task.class_weights == ("balanced",)
    for known in ({}, {"label": ["a", "b", "c", "none"]}):
        facts = task.learn(iter(rows), "t", known)
        assert facts["counts"] == [3, 8, 1, *([0] if known else [])]
        task.check_facts(facts)
        bound = task.bound(facts)
        labels = tf.constant([0, 1, 2])
        classes = len(facts["counts"])
        expected = np.float32([12 / (classes * count) for count in (3, 8, 1)])
        weights = bound.weights({"label": labels, "weight": tf.ones(3)})["loss"].numpy()
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
    for counts in ([3, 8], [3, 8, "1"], [3, 8, -1]):
        with pytest.raises(fields.Invalid, match="counts"):
            task.check_facts({"labels": ["a", "b", "c"], "counts": counts})


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("even", r"class_weights must be numbers, or 'balanced' alone, is 'even'"),
        (("balanced", 1.0), r"must be numbers, or 'balanced' alone"),
        (([1.0],), r"must be a tuple of float"),
    ],
)
def test_class_weights_that_are_no_numbers(weights, said):
    with pytest.raises(UserError, match=said):
        config.validate(tiny.experiment(task=Classification(class_weights=weights)))
