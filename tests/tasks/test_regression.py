"""Regression: squared errors, correlations, and what is said of scores."""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from trainer.data.columns import Row
from trainer.data.encode import Encoded
from trainer.errors import UserError
from trainer.storage.fields import Invalid
from trainer.tasks import shown
from trainer.tasks.regression import Regression
from trainer.tasks.task import Examples, Piece, Scores, weighted_sums

PIECE = Piece(0, Encoded(np.zeros(1, np.int64), 1, cut=False), {})
NONE = Examples(np.zeros(0, int), (), (), ())


def task(**settings) -> Regression:
    return Regression(**settings).bound({}, None)


def judged(labels, found) -> tuple[dict, Scores]:
    labels, found = np.array(labels, np.float32), np.array(found, np.float32)
    count = len(labels)
    gold = {
        "score": labels,
        "rows": np.arange(count, dtype=np.int64),
        "lengths": np.full(count, 4, np.int32),
    }
    losses = (labels - found).astype(np.float64) ** 2
    return gold, Scores({"loss": losses}, {"loss": np.ones(count)}, {"score": found})


@pytest.fixture(scope="module")
def drawn() -> tuple[dict, Scores]:
    """Labels in whole and half numbers, so that there are ties, and answers near them."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 11, 60) / 2
    return judged(labels, labels + random.normal(size=60))


# Labels


def test_labels_are_the_scores_of_rows():
    row = Row({"text": "a", "score": 2.5}, 0, "file a.csv")
    assert task().gold(row, PIECE) == {"score": 2.5}
    assert task(bounds=(0.0, 2.5)).gold(row, PIECE) == {"score": 2.5}


@pytest.mark.parametrize("score", [-0.001, 5.5, 1e30])
def test_a_score_outside_of_the_bounds_is_refused(score):
    row = Row({"text": "a", "score": score}, 6, "file a.csv")
    with pytest.raises(UserError, match=r"file a\.csv, row 7: 'score' is .* outside of config"):
        task(bounds=(0.0, 5.0)).gold(row, PIECE)


@pytest.mark.parametrize("bounds", [(5.0, 0.0), (1.0, 1.0), (1.0,)])
def test_bounds_are_the_lowest_and_the_highest(bounds):
    with pytest.raises(UserError, match="must be the lowest and the highest score, as"):
        Regression(bounds=bounds).validate()
    Regression(bounds=(0.0, 5.0)).validate()
    Regression().validate()


# In the graph


def test_the_loss_is_the_mean_squared_error_of_real_rows():
    random = np.random.default_rng(0)
    labels, outputs = random.normal(size=6), random.normal(size=(6, 1))
    weights = np.array([1, 1, 0, 1, 1, 0], np.float32)
    batch = {"score": tf.constant(labels, tf.float32), "weight": tf.constant(weights)}
    ((total, weight),) = weighted_sums(task(), batch, tf.constant(outputs))
    errors = (outputs[:, 0] - labels.astype(np.float32)) ** 2
    np.testing.assert_allclose(total, (weights * errors).sum(), rtol=1e-13)
    assert weight == 4
    assert total.dtype == tf.float64


def test_the_loss_of_half_precision_is_in_float32():
    batch = {"score": tf.constant([0.001]), "weight": tf.ones(1)}
    made = task().losses(batch, tf.constant([[1000.0]], tf.bfloat16))["loss"]
    assert made.dtype == tf.float32
    assert made.shape == (1,)


@pytest.mark.parametrize(("bounds", "expected"), [((), [-3, 2, 9]), ((0.0, 5.0), [0, 2, 5])])
def test_answers_are_cut_to_the_bounds(bounds, expected):
    outputs = tf.constant([[-3.0], [2.0], [9.0]])
    assert task(bounds=bounds).answers({}, outputs)["score"].numpy().tolist() == expected


def test_the_loss_is_of_what_the_model_says_and_not_of_what_is_cut():
    batch = {"score": tf.constant([5.0]), "weight": tf.ones(1)}
    made = task(bounds=(0.0, 5.0)).losses(batch, tf.constant([[9.0]]))["loss"]
    assert made.numpy().tolist() == [16]


# The judgement of a set


def test_metrics_are_those_of_scipy(drawn):
    gold, scores = drawn
    labels, found = (each.astype(np.float64) for each in (gold["score"], scores.answers["score"]))
    made = task().judge(gold, scores)
    assert made["pearson"] == pytest.approx(np.corrcoef(labels, found)[0, 1], abs=1e-12)
    assert made["pearson"] == pytest.approx(scipy.stats.pearsonr(labels, found)[0], abs=1e-12)
    ranks = [scipy.stats.rankdata(each) for each in (labels, found)]  # ties share their mean
    assert made["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)
    assert made["rmse"] == pytest.approx(np.sqrt(((labels - found) ** 2).mean()), rel=1e-12)
    assert made["mae"] == pytest.approx(np.abs(labels - found).mean(), rel=1e-12)
    assert made["loss"] == pytest.approx(made["rmse"] ** 2)
    assert made["examples"] == 60
    assert {*made} == {*task().metric_names(), "examples"}


@pytest.mark.parametrize(
    ("labels", "found"),
    [([1, 2, 3], [2, 2, 2]), ([2, 2, 2], [1, 2, 3]), ([1], [2]), ([1, 2], [np.nan, 2])],
)
def test_there_is_no_correlation_of_constants(labels, found):
    made = task().judge(*judged(labels, found))
    assert math.isnan(made["pearson"])
    assert math.isnan(made["spearman"])
    assert {"rmse", "mae", "loss", "examples"} <= made.keys()


def test_far_from_zero_a_correlation_is_exact():
    labels = np.arange(20)
    assert task().judge(*judged(labels + 1e6, labels + 1e6))["pearson"] == pytest.approx(1)


def test_a_set_of_one_score_cannot_choose_by_correlation():
    gold, _ = judged([2, 2, 2], [1, 2, 3])
    for metric in ("pearson", "spearman"):
        with pytest.raises(UserError, match=f"metric='{metric}' cannot choose .* of test are the"):
            task().check(gold, "test", metric)
    for metric in ("rmse", "loss", ""):
        task().check(gold, "test", metric)
    task().check(judged([1, 2], [0, 0])[0], "test", "pearson")


def test_the_largest_errors_come_first():
    assert task().mistakes(*judged([1, 2, 3, 4], [1, 5, 1, 4.5])).tolist() == [1, 2, 3, 0]


def test_no_row_is_right_or_wrong(drawn):
    assert task().correct(*drawn) is None


def test_what_is_shown(drawn):
    gold, scores = drawn
    wrong = Examples(np.array([3, 5]), [30, 50], ["one", "two"], [["one"], ["two"]])
    points, by_label, largest = task().show(gold, scores, wrong)
    assert isinstance(points, shown.Points)
    np.testing.assert_array_equal(points.x, gold["score"])
    np.testing.assert_array_equal(points.y, scores.answers["score"])
    assert isinstance(largest, shown.Table)
    assert largest.rows[1] == (
        50,
        float(gold["score"][5]),
        float(scores.answers["score"][5]),
        "two",
    )
    assert [row[1] for row in by_label.rows] == [
        int(((gold["score"] >= low) & (gold["score"] <= high)).sum())
        for low, high in (map(float, row[0].split(" to ")) for row in by_label.rows)
    ]
    assert sum(row[1] for row in by_label.rows) == 60
    error = (scores.answers["score"] - gold["score"]).astype(float)
    squares = sum(row[1] * row[2] ** 2 for row in by_label.rows)
    assert squares == pytest.approx((error**2).sum(), rel=1e-5)
    assert sum(row[1] * row[3] for row in by_label.rows) == pytest.approx(error.sum(), rel=1e-5)


@pytest.mark.parametrize("labels", [[2, 2, 2], [1, 1, 5], [3], [0, 0, 0, 0, 0, 0, 1]])
def test_few_different_labels_are_shown_in_few_parts(labels):
    _, by_label, _ = task().show(*judged(labels, np.arange(len(labels))), NONE)
    assert sum(row[1] for row in by_label.rows) == len(labels)
    assert len(by_label.rows) <= len(set(labels))


def test_captions():
    found = task().captions({"score": np.array([1.0])}, {"score": np.array([1.23456])})
    assert found == {"label": ["1.000"], "prediction": ["1.235"]}


def test_what_is_said_of_the_sets():
    gold, _ = judged([0, 1, 5], [0, 0, 0])
    (line,), notes = task().about({"train": gold}, cut=False)
    assert line == "train: score from 0 to 5, mean 2, standard deviation 2.16"
    assert notes == []


def test_an_export_says_what_it_is():
    made = task().native_config()
    assert made["problem_type"] == "regression"
    assert made["id2label"] == {"0": "LABEL_0"}


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"score": np.zeros((3, 1), np.float32)},
        {"score": np.zeros(2, np.float32)},
        {"score": np.zeros(3, np.int32)},
        {"logits": np.zeros(3, np.float32)},
    ],
)
def test_damaged_scores_are_noticed(answers):
    gold, scores = judged([1, 2, 3], [1, 2, 3])
    task().check_kept(gold, scores)
    with pytest.raises(Invalid, match="a score a row is needed"):
        task().check_kept(gold, Scores(scores.losses, scores.weights, answers))


# Predictions


def test_a_prediction_is_a_number():
    row = Row({"text": "a"}, 0, "file a.txt")
    line = task().line(row, [PIECE], {"score": np.array([1 / 3], np.float32)}, None)
    assert line == {"score": pytest.approx(1 / 3, rel=1e-7)}
    assert type(line["score"]) is float


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(score):
    row = Row({"text": "a"}, 4, "file a.txt")
    with pytest.raises(
        UserError, match=r"the model's outputs for file a\.txt, row 5 are not finite"
    ):
        task().line(row, [PIECE], {"score": np.array([score], np.float32)}, None)


def test_a_threshold_is_for_classes():
    with pytest.raises(UserError, match="--threshold is for two classes"):
        task().rule(None, "0.5")


# Scores far from 0 and 1


PRICES = [100.0, 300.0, 200.0, 400.0]


def standardized(**settings) -> Regression:
    made = Regression(standardized=True, **settings)
    rows = [Row({"text": "a", "score": price}, i, "rows") for i, price in enumerate(PRICES)]
    return made.bound(made.learn(iter(rows), "file a.csv", {}))


def test_standardized_scores_are_learned_and_the_answers_are_scores():
    made = standardized(bounds=(0.0, 420.0))
    assert made.facts == {"mean": 250.0, "deviation": pytest.approx(np.std(PRICES))}
    outputs = tf.constant([[0.0], [1.0], [-1.0], [9.0]], tf.float64)
    expected = [250, 250 + np.std(PRICES), 250 - np.std(PRICES), 420]
    np.testing.assert_allclose(made.answers({}, outputs)["score"], expected)
    batch = {"score": tf.constant(PRICES), "weight": tf.ones(4)}
    wanted = (np.array(PRICES) - 250) / np.std(PRICES)
    losses = made.losses(batch, outputs)["loss"]
    np.testing.assert_allclose(losses, (outputs[:, 0] - wanted) ** 2, rtol=1e-12)
    assert made.answers({}, tf.constant([[1.0]], tf.bfloat16))["score"].dtype == tf.float32


def test_the_outputs_of_a_standardized_model_are_explained_and_no_scores_of_transformers():
    assert standardized().output_unit == "a score is an output times 111.803399, plus 250"
    assert standardized().native_config() is None
    assert task().output_unit == ""


def test_a_note_names_the_setting_where_scores_are_far_from_0():
    sets = {"train": {"score": np.array(PRICES)}}
    _, (note,) = task().about(sets, cut=False)
    assert note.startswith("score is far from 0, where outputs begin: config.task.standardized=tr")
    assert standardized().about(sets, cut=False)[1] == []


def test_scores_that_are_all_the_same_cannot_be_standardized():
    rows = [Row({"text": "a", "score": 3.0}, i, "rows") for i in range(3)]
    with pytest.raises(UserError, match=r"file a\.csv: all of 'score' are the same: nothing could"):
        Regression(standardized=True).learn(iter(rows), "file a.csv", {})


@pytest.mark.parametrize(
    "facts",
    [{}, {"mean": 1.0}, {"mean": 1.0, "deviation": 0.0}, {"mean": None, "deviation": 1.0}],
)
def test_damaged_facts_are_noticed(facts):
    Regression().check_facts(facts)
    with pytest.raises(Invalid):
        Regression(standardized=True).check_facts(facts)
