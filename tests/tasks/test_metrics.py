"""Metrics against scikit-learn on the same predictions, and where they are not defined."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import sklearn.metrics as sk

from trainer.config import Evaluation, Experiment, metric
from trainer.errors import UserError
from trainer.evaluation.scores import better
from trainer.tasks import metrics as m
from trainer.tasks.classification import Classification


def _data(classes: int, rows: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(classes)
    labels = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), labels] += 1
    return labels, logits, random.random(rows).astype(np.float32)


def share_of_class_0(labels: np.ndarray, probabilities: np.ndarray) -> float:
    assert probabilities.dtype == np.float64
    return np.mean(probabilities[:, 0])


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return 0.0


def test_binary_metrics_are_those_of_scikit_learn():
    labels, logits, losses = _data(2)
    found = m.classification_metrics(labels, logits, None, losses)
    predicted = logits.argmax(axis=1)
    assert found == {
        "loss": pytest.approx(np.mean(losses.astype(np.float64)), rel=1e-14),
        "accuracy": sk.accuracy_score(labels, predicted),
        "precision": sk.precision_score(labels, predicted),
        "recall": sk.recall_score(labels, predicted),
        "f1": sk.f1_score(labels, predicted),
        "matthews": pytest.approx(sk.matthews_corrcoef(labels, predicted), abs=1e-12),
        "auc": sk.roc_auc_score(labels, m.softmax(logits)[:, 1]),
        "examples": 500,
    }
    assert isinstance(found["examples"], int)
    assert all(type(found[name]) is float for name in m.metric_names(2))


@pytest.mark.parametrize("classes", [3, 7])
def test_metrics_of_many_classes_are_macro_averages(classes):
    labels, logits, losses = _data(classes)
    found = m.classification_metrics(labels, logits, None, losses)
    predicted = logits.argmax(axis=1)
    assert found["precision_macro"] == sk.precision_score(labels, predicted, average="macro")
    assert found["recall_macro"] == sk.recall_score(labels, predicted, average="macro")
    assert found["f1_macro"] == sk.f1_score(labels, predicted, average="macro")
    expected = sk.roc_auc_score(labels, m.softmax(logits), multi_class="ovr", average="macro")
    assert found["auc_macro"] == pytest.approx(expected, rel=1e-14)
    assert [*found] == [*m.metric_names(classes), "examples"]


def test_weights_are_those_of_the_loss_alone():
    labels, logits, losses = _data(2)
    weights = np.where(labels == 1, 3.0, 1.0)
    plain = m.classification_metrics(labels, logits, None, losses)
    weighed = m.classification_metrics(labels, logits, weights, losses)
    assert weighed.pop("loss") == pytest.approx(np.average(losses, weights=weights), rel=1e-12)
    plain.pop("loss")
    assert weighed == plain


def test_sure_predictions_still_rank():
    labels = np.array([0, 1, 0, 1])
    logits = np.array([[0, 40], [0, 41], [0, 42], [0, 43.0]])  # all have probability 1.0
    found = m.classification_metrics(labels, logits, None, np.zeros(4))
    assert found["auc"] == 0.75


def test_auc_is_left_out_of_one_class(caplog):
    labels, logits, losses = _data(2, 10)
    found = m.classification_metrics(np.zeros_like(labels), logits, None, losses)
    assert "auc" not in found
    assert found["precision"] == 0
    assert "auc is left out" in caplog.text


def test_auc_is_left_out_of_logits_that_are_not_finite(caplog):
    labels, logits, losses = _data(3, 10)
    logits[4, 1] = np.nan
    assert "auc_macro" not in m.classification_metrics(labels, logits, None, losses)
    assert "not finite" in caplog.text


def test_auc_is_the_mean_over_the_classes_that_occur(caplog):
    labels, logits, losses = _data(3)
    occurring = labels != 1
    labels, logits, losses = labels[occurring], logits[occurring], losses[occurring]
    scores = m.softmax(logits)
    expected = np.mean([sk.roc_auc_score(labels == c, scores[:, c]) for c in (0, 2)])
    assert m.classification_metrics(labels, logits, None, losses)["auc_macro"] == expected
    assert "none has label '1'" in caplog.text


def test_warnings_of_auc_name_the_classes(caplog):
    labels, logits, losses = _data(14)
    names = ["größe", *(f"class {i}" for i in range(1, 14))]
    of_two, more = labels < 2, {"names": names}
    m.classification_metrics(labels[of_two], logits[of_two], None, losses[of_two], **more)
    assert "none has label 'class 2', 'class 3', " in caplog.text
    assert "'class 11' and 2 more" in caplog.text
    m.classification_metrics(0 * labels, logits, None, losses, names=["größe" * 100, *names[1:]])
    assert f"every example has label '{'größe' * 8}'" in caplog.text


def test_no_examples_is_an_error():
    with pytest.raises(ValueError, match="no examples"):
        m.classification_metrics(np.zeros(0, int), np.zeros((0, 2)), None, np.zeros(0))


def test_confusion_matrix_is_that_of_scikit_learn():
    labels, logits, _ = _data(4)
    predicted = logits.argmax(axis=1)
    ours = m.confusion_matrix(labels, predicted, 5)
    assert ours.dtype == np.int64
    np.testing.assert_array_equal(ours, sk.confusion_matrix(labels, predicted, labels=range(5)))


def chosen(name: str, own: tuple[str, ...] = ()) -> str:
    """The metric that a run with these settings is chosen by."""
    config = Experiment(task=Classification(metrics=own), evaluation=Evaluation(metric=name))
    return metric(config)


def test_own_metrics():
    own = m.own_metrics((f"{__name__}:share_of_class_0",))
    labels, logits, losses = _data(2)
    found = m.classification_metrics(labels, logits, None, losses, own)
    assert found["share_of_class_0"] == np.mean(m.softmax(logits)[:, 0])
    assert chosen("share_of_class_0", (f"{__name__}:share_of_class_0",)) == "share_of_class_0"


def test_own_metrics_need_their_own_names():
    with pytest.raises(UserError, match="'accuracy' is taken"):
        m.own_metrics((f"{__name__}:accuracy",))
    with pytest.raises(UserError, match="'share_of_class_0' is taken"):
        m.own_metrics((f"{__name__}:share_of_class_0",) * 2)


def test_an_unknown_metric_is_refused_with_those_there_are():
    said = (
        r"^config\.evaluation\.metric='acc' is not one of:"
        " loss, accuracy, precision, recall, f1, matthews, auc,"
        " precision_macro, recall_macro, f1_macro, auc_macro, calibration_error,"
        r" share_of_class_0: is it accuracy\?$"
    )
    with pytest.raises(UserError, match=said):
        chosen("acc", (f"{__name__}:share_of_class_0",))
    for name in m.metric_names(0):
        assert chosen(name) == name
    assert chosen("") == Classification.metric == "accuracy"


def test_the_number_of_classes_decides_on_the_names():
    def of(names, chosen, **settings):
        task = Classification(**settings)
        config = Experiment(task=task, evaluation=Evaluation(metric=chosen))
        return metric(config, task.bound({"labels": names}) if names else None)

    assert of("ab", "f1") == "f1"
    assert of("abcde", "f1_macro") == "f1_macro"
    said = r"metric='f1' is not one of: loss, .*f1_macro, .*: is it f1_macro\?$"
    with pytest.raises(UserError, match=said):
        of("abcde", "f1")
    with pytest.raises(UserError, match=said):  # nothing needs to be read
        of("", "f1", labels=tuple("abcde"))
    with pytest.raises(UserError, match=r"metric='f1_macro' is not one of: .*: is it f1\?$"):
        of("ab", "f1_macro")
    with pytest.raises(UserError, match=r"'f1' is not .*: is it f1_macro or f1_micro\?$"):
        of("", "f1", multi_label=True)


def test_better():
    accuracy, loss = ("accuracy" in Classification.lower), ("loss" in Classification.lower)
    assert better(accuracy, 0.9, 0.8)
    assert not better(accuracy, 0.8, 0.8)
    assert better(loss, 0.1, 0.2)
    assert not better(loss, 0.2, 0.1)
    assert better(accuracy, 0.1, math.nan)
    assert not better(accuracy, math.nan, 0.1)
    assert not better(loss, math.nan, math.nan)
    assert better(loss, 5.0, math.inf)


BINARY = ["neg", "pos"]


@pytest.mark.parametrize(
    ("chosen", "labels", "said"),
    [
        ("auc", [1, 1], "validation has examples of 'pos' only"),
        ("matthews", [0, 0], "validation has examples of 'neg' only"),
        ("f1", [0, 0], "it is that of 'pos', of which validation has no example"),
        ("precision", [0, 0], "it is that of 'pos'"),
        ("recall", [0, 0], "it is that of 'pos'"),
    ],
)
def test_a_metric_that_could_not_choose_is_refused_at_the_start(chosen, labels, said):
    with pytest.raises(UserError, match=said):
        m.check_metrics(np.array(labels), BINARY, "validation", chosen)


@pytest.mark.parametrize("weight", [0.0, 1e-50])  # float32 has no 1e-50
def test_a_loss_of_examples_without_weight_cannot_choose(weight):
    def check(labels, chosen="loss", split="validation"):
        weighed = (weight, 2.0)
        m.check_metrics(np.array(labels), BINARY, split, chosen, class_weights=weighed)

    said = r"metric='loss' cannot choose .*: config\.task\.class_weights gives every example of va"
    with pytest.raises(UserError, match=said):
        check([0, 0])
    check([0, 1])
    check([1, 1])
    check([0, 0], "accuracy")
    check([0, 0], "", "test")


@pytest.mark.parametrize("chosen", m.metric_names(0))
def test_a_metric_that_can_choose_is_not(chosen):
    m.check_metrics(np.array([0, 1]), BINARY, "validation", chosen)
    m.check_metrics(np.array([0, 0]), BINARY, "test", "")
    m.check_metrics(np.array([0, 0]), BINARY, "validation", "accuracy")
    three = ["a", "b", "c"]
    m.check_metrics(np.array([0, 2]), three, "validation", chosen)


def _only_with_both(labels, probabilities):
    if len(set(labels.tolist())) < 2:
        raise ValueError("one class only")
    return float(probabilities[:, 1].mean())


def _never(labels, probabilities):
    del labels, probabilities
    return math.nan


def test_own_metrics_are_computed_once_at_the_start():
    own = m.own_metrics((f"{__name__}:_only_with_both", f"{__name__}:_never"))
    m.check_metrics(np.array([0, 1]), BINARY, "validation", "_only_with_both", own=own)
    with pytest.raises(UserError, match="_only_with_both' raised ValueError: one class only"):
        m.check_metrics(np.array([1, 1]), BINARY, "test", "", own=own)
    with pytest.raises(UserError, match=r"'_never' cannot choose .* it is not a number"):
        m.check_metrics(np.array([0, 1]), BINARY, "validation", "_never", own=own)


@dataclass
class Nameless(Classification):
    """Its names cannot be had before a run."""

    def metric_names(self):
        return [self.facts["name"]]


def test_names_that_a_task_of_ones_own_cannot_give():
    with pytest.raises(UserError, match=r"config\.task='test_metrics:Nameless' raised KeyError"):
        metric(Experiment(task=Nameless()))
