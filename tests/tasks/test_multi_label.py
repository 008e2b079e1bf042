"""Several labels a text: what is learned, judged and predicted."""

import json

import numpy as np
import pytest
import sklearn.metrics as sk
import tensorflow as tf

from trainer.config import Experiment, validate
from trainer.data.columns import LABELS, Row
from trainer.errors import UserError
from trainer.storage import fields
from trainer.tasks.classification import Classification
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.shown import Table
from trainer.tasks.task import Examples, Piece, Scores, weighted_sums

NAMES = ["billing", "login", "speed"]
GOLD = {
    "label": np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], np.uint8),
    "rows": np.arange(4),
    "lengths": np.full(4, 5, np.int32),
}
LOGITS = np.array([[2.0, -1.0, 0.5], [-3.0, -0.1, -1.0], [1.0, 2.0, -1.0], [1.0, -1.0, 3.0]])


def task(**settings) -> MultiLabel:
    made = Classification(multi_label=True, **settings).bound({"labels": NAMES})
    assert isinstance(made, MultiLabel)
    return made


def scores(logits: np.ndarray = LOGITS) -> Scores:
    rows = np.arange(len(logits), dtype=np.float32)
    return Scores({"loss": rows}, {"loss": np.ones_like(rows)}, {"logits": logits})


def test_labels_are_lists_and_become_a_number_a_class():
    made = task()
    (column,) = [column for column in made.columns() if column.key == "label"]
    assert column.kind == LABELS
    row = Row({"text": "a", "label": ["speed", "billing"]}, 0, "file a")
    piece = Piece(0, None, {})
    assert made.gold(row, piece)["label"].tolist() == [1, 0, 1]
    assert (
        made.gold(Row({"text": "a", "label": []}, 0, "file a"), piece)["label"].tolist() == [0] * 3
    )
    with pytest.raises(
        UserError, match=r"file a, row 3: label 'x' is not one of the labels of tra"
    ):
        made.gold(Row({"text": "a", "label": ["x"]}, 2, "file a"), piece)


def test_classes_are_learned_from_all_lists():
    rows = [
        Row({"text": "a", "label": each}, i, "f") for i, each in enumerate([["b", "a"], [], ["c"]])
    ]
    found = Classification(multi_label=True).learn(iter(rows), "f", {})
    assert found == {"labels": ["a", "b", "c"]}
    asked = Classification(multi_label=True, labels=("a", "b"))
    with pytest.raises(UserError, match=r"^f, row 3: label 'c' is not in config\.task\.labels"):
        asked.learn(iter(rows), "f", {})


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_binary_cross_entropy(smoothing):
    made = task(label_smoothing=smoothing)
    weights = np.array([1.0, 1.0, 0.0, 1.0])
    batch = {"label": tf.constant(GOLD["label"], tf.int32), "weight": tf.constant(weights)}
    ((total, weight),) = weighted_sums(made, batch, tf.constant(LOGITS))
    wanted = GOLD["label"] * (1 - smoothing) + smoothing / 2
    shares = 1 / (1 + np.exp(-LOGITS))
    losses = -(wanted * np.log(shares) + (1 - wanted) * np.log(1 - shares)).mean(-1)
    np.testing.assert_allclose(total, (losses * weights).sum(), rtol=1e-12)
    assert weight == 3


def test_metrics_are_those_of_scikit_learn():
    found = task().judge(GOLD, scores())
    labels, predicted = GOLD["label"], LOGITS > 0
    assert found["f1_micro"] == pytest.approx(sk.f1_score(labels, predicted, average="micro"))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    for score, name in ((sk.precision_score, "precision"), (sk.recall_score, "recall")):
        assert found[f"{name}_micro"] == pytest.approx(score(labels, predicted, average="micro"))
    assert found["accuracy"] == 0.5
    assert found["examples"] == 4
    assert set(task().metric_names()) == found.keys() - {"examples"}
    assert task().correct(GOLD, scores()).tolist() == [True, True, False, False]
    assert task().mistakes(GOLD, scores()).tolist() == [3, 2]  # the largest loss first


def test_metrics_of_each_label():
    found = task().judge_groups(GOLD, scores())
    columns = sk.precision_recall_fscore_support(GOLD["label"], LOGITS > 0, zero_division=0)
    expected = {name: [each[i] for each in columns] for i, name in enumerate(NAMES)}
    assert {name: [*values.values()] for name, values in found.items()} == expected
    assert [*found["speed"]] == ["precision", "recall", "f1", "support"]
    macro = np.mean([values["f1"] for values in found.values()])
    assert task().judge(GOLD, scores())["f1_macro"] == pytest.approx(macro)


def test_what_is_shown():
    mistakes = Examples(np.array([2]), [12], ["slow login"], [["slow", "login"]])
    shown = task().show(GOLD, scores(), mistakes)
    tables = {each.name: each for each in shown if isinstance(each, Table)}
    assert tables["wrong predictions"].rows == [(12, "login", "billing, login", "slow login")]


def test_a_prediction():
    made, row = task(), Row({"text": "a"}, 0, "--texts")
    line = made.line(row, [], {"logits": LOGITS[:1]}, made.rule(None, ""))
    assert line["labels"] == ["billing", "speed"]
    np.testing.assert_allclose(line["probabilities"], 1 / (1 + np.exp(-LOGITS[0])), rtol=1e-8)
    json.dumps(line)
    with pytest.raises(UserError, match="not finite"):
        made.line(row, [], {"logits": np.full((1, 3), np.nan)}, None)
    with pytest.raises(UserError, match="--threshold is for two classes"):
        made.rule(None, "0.3")


def test_a_label_is_given_from_a_half_on_wherever_it_is_counted():
    """Of a logit of -1e-17 the probability is a half, once it is rounded."""
    logits = np.array([[0.0, -1e-17, 5.0], [-1.0, 0.0, -5.0]])
    gold = {**GOLD, "label": np.array([[1, 0, 1], [0, 1, 0]], np.uint8), "rows": np.arange(2)}
    made = task()
    line = made.line(Row({"text": "a"}, 0, "f"), [], {"logits": logits[:1]}, None)
    assert line["labels"] == ["billing", "speed"]
    assert made.judge(gold, scores(logits))["f1_micro"] == 1.0
    assert made.correct(gold, scores(logits)).all()


def test_what_does_not_fit_is_refused():
    of_one_label = {
        **{"class_weights": (1.0, 2.0), "loss": "focal", "metrics": ("a:b",)},
        **{"focal_gamma": 3.0, "precision_target": 0.5},
    }
    for name, value in of_one_label.items():
        config = Experiment(task=Classification(multi_label=True, **{name: value}))
        with pytest.raises(UserError, match=rf"multi_label has .*: leave config\.task\.{name} out"):
            validate(config)
    empty = {**GOLD, "label": np.zeros((4, 3), np.uint8)}
    with pytest.raises(UserError, match="no row of validation has a label"):
        task().check(empty, "validation", "f1_micro")
    task().check(empty, "validation", "loss")
    task().check_kept(GOLD, scores())
    with pytest.raises(fields.Invalid, match="are needed"):
        task().check_kept(GOLD, scores(LOGITS[:, :2]))
