"""A task of the user's own is tried before the first step: what is wrong with it is one line."""

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from sklearn.metrics import roc_auc_score

from trainer.batch import ID, MASK, WEIGHT
from trainer.data.encode import Encoded
from trainer.data.table import Table
from trainer.errors import UserError
from trainer.models.architecture import from_scratch
from trainer.models.network import Network
from trainer.models.random import keep_mask
from trainer.tasks import probe
from trainer.tasks.regression import Regression
from trainer.tasks.task import Array, Piece, Scores, Task


@dataclass
class Right(Task):
    """Says nothing wrong: two losses, one of rows and one of tokens, and random masks."""

    kind = "tokens"

    def arrays(self):
        return {"number": Array("float32"), "place": Array("int32", "input", -1)}

    def prepare(self, batch, training):
        kept = keep_mask(tf.shape(batch["input_ids"]), 0.5)
        return {**batch, "kept": tf.cast(kept, tf.float32)}

    def weights(self, batch):
        real = tf.cast(batch[MASK], tf.float32)
        return {"row": batch[WEIGHT], "token": batch[WEIGHT][:, None] * real * batch["kept"]}

    def losses(self, batch, outputs):
        first = outputs[:, 0, 0]
        return {"row": tf.square(first - batch["number"]), "token": tf.square(outputs[..., 0])}

    def answers(self, batch, outputs):
        assert "kept" not in batch  # as in evaluation
        return {"first": outputs[:, 0, 0]}

    def correct(self, gold, scores):
        return scores.answers["first"] > gold["number"]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    shape = from_scratch(tiny.no_dropout(depth=0), tiny.VOCAB, tiny.LENGTH, False, "tokens")
    return Network(shape, 1)


@pytest.fixture(scope="module")
def table() -> Table:
    pieces = [
        Piece(
            i,
            Encoded(np.arange(5, 5 + length), length, cut=False),
            {"number": 0.5, "place": np.arange(length)},
        )
        for i, length in enumerate((3, 6, 2))
    ]
    return Table.of(pieces, Right().arrays(), 0)


def check(task: Task, model, table, metric: str = "accuracy") -> None:
    probe.check(task, model, table, metric)


def test_a_right_task_passes(model, table):
    check(Right(), model, table)
    check(Right(), model, table, "loss")


class Shifted(Right):
    """As a row is cut into pieces: an answer a piece, a judgement a row."""

    def correct(self, gold, scores):
        return np.ones(len(np.unique(gold["rows"])), bool)


class FirstWrong(Right):
    def correct(self, gold, scores):
        return np.array([False, True])


class LastWrong(Right):
    def correct(self, gold, scores):
        return np.array([True, False])


def test_a_judgement_is_of_rows_where_a_row_is_several_pieces(model, table):
    pieces = [
        Piece(row, Encoded(np.arange(5, 9), 4, cut=False), {"number": 0.5, "place": np.arange(4)})
        for row in (0, 0, 1)
    ]
    windows = Table.of(pieces, Right().arrays(), 0)
    check(Shifted(), model, windows)
    gold, answers = windows.gold, {"first": np.zeros(3)}
    scores = Scores({"row": np.arange(3.0)}, {"row": np.ones(3)}, answers)
    assert FirstWrong().judge(gold, scores) == {"loss": 1.0, "accuracy": 0.5, "examples": 2}
    assert FirstWrong().mistakes(gold, scores).tolist() == [1, 0]  # pieces, by their loss
    assert LastWrong().mistakes(gold, scores).tolist() == [2]
    with pytest.raises(UserError, match=r"correct returned bool of shape \(3,\): it must be bool"):
        check(Right(), model, windows)


class InFloat64(Right):
    def losses(self, batch, outputs):
        return {n: tf.cast(v, tf.float64) for n, v in super().losses(batch, outputs).items()}

    def weights(self, batch):
        return {name: tf.cast(v, tf.int32) for name, v in super().weights(batch).items()}


class Halves(Right):
    def losses(self, batch, outputs):
        made = super().losses(batch, outputs)
        return {name: tf.cast(loss, tf.bfloat16) for name, loss in made.items()}


@pytest.mark.parametrize("kind", [InFloat64, Halves])
def test_weights_and_losses_may_be_of_other_types(model, table, kind):
    with pytest.raises(UserError, match="f1"):  # all else is right
        check(kind(), model, table, "f1")


class RankedByClass(Right):
    def judge(self, gold, scores):
        area = roc_auc_score(gold["number"] > 1, scores.answers["first"])
        return {**super().judge(gold, scores), "area": area}


def test_a_metric_that_two_rows_may_not_define_is_asked_of_more(model):
    """Sorted by class, too."""
    encoded = Encoded(np.arange(3), 3, cut=False)

    def of(*numbers: float) -> Table:
        pieces = [
            Piece(i, encoded, {"number": n, "place": np.arange(3)}) for i, n in enumerate(numbers)
        ]
        return Table.of(pieces, Right().arrays(), 0)

    check(RankedByClass(), model, of(*[0.0] * 40, *[2.0] * 40), "area")


def test_one_row_is_enough(model, table):
    one = Table.of(
        [Piece(0, Encoded(np.arange(3), 3, cut=False), {"number": 1.0, "place": np.arange(3)})],
        Right().arrays(),
        0,
    )
    check(Right(), model, one)


def test_tasks_of_this_library_are_not_tried():
    probe.check(Regression(), None, None, "pearson")


def said(task: Task, model, table, metric: str = "accuracy") -> str:
    with pytest.raises(UserError) as caught:
        check(task, model, table, metric)
    line = str(caught.value)
    assert "\n" not in line
    assert "config.task" in line
    assert type(task).__name__ in line
    return line


class Nameless(Right):
    def losses(self, batch, outputs):
        return {}

    def weights(self, batch):
        return {}


class OtherNames(Right):
    def weights(self, batch):
        return {"row": batch[WEIGHT]}


class Scalar(Right):
    def losses(self, batch, outputs):
        made = super().losses(batch, outputs)
        return {**made, "row": tf.reduce_mean(made["row"])}


class OtherWeights(Right):
    def weights(self, batch):
        return {**super().weights(batch), "row": batch[WEIGHT][:, None]}


class TooWide(Right):
    def losses(self, batch, outputs):
        return {**super().losses(batch, outputs), "token": outputs}


class Transposed(Right):
    def answers(self, batch, outputs):
        return {"first": tf.transpose(outputs[..., 0])}


class OneAnswer(Right):
    def answers(self, batch, outputs):
        return {"first": tf.reduce_mean(outputs)}


class RaisesInTheGraph(Right):
    def losses(self, batch, outputs):
        return {"row": batch["nothing"]}


class AsksATensor(Right):
    def prepare(self, batch, training):
        return batch if batch["number"][0] > 0 else {}


class LooksAtLabels(Right):
    def answers(self, batch, outputs):
        return {"first": batch["number"]}


class LooksAtWeights(Right):
    def answers(self, batch, outputs):
        return {"first": batch[WEIGHT]}


class LooksAtIds(Right):
    def prepare(self, batch, training):
        return {**super().prepare(batch, training), "number": tf.cast(batch[ID], tf.float32)}


class Words(Right):
    def answers(self, batch, outputs):
        return {"first": tf.strings.as_string(outputs[:, 0, 0])}


class Wide(Right):
    def answers(self, batch, outputs):
        return {"first": tf.cast(outputs[:, 0, 0], tf.uint16)}


class Squares(Right):
    def answers(self, batch, outputs):
        return {"first": outputs * tf.transpose(outputs, [0, 2, 1])}


class Picked(Right):
    def answers(self, batch, outputs):
        return {"first": outputs[:, : tf.shape(outputs)[1] // 2, 0]}


class Cubes(Right):
    def answers(self, batch, outputs):
        return {"first": outputs[..., None]}


class RaisesInJudgement(Right):
    def correct(self, gold, scores):
        return gold["nothing"]


class Floats(Right):
    def correct(self, gold, scores):
        return scores.answers["first"]


class OneForAll(Right):
    def correct(self, gold, scores):
        return np.ones(1, bool)


class FloatPlaces(Right):
    def mistakes(self, gold, scores):
        return np.zeros(1)


class OfPaddingRows(Right):
    def weights(self, batch):
        return {**super().weights(batch), "row": tf.ones_like(batch[WEIGHT])}


class OfPadding(Right):
    def weights(self, batch):
        return {**super().weights(batch), "token": batch[WEIGHT][:, None] * batch["kept"]}


class BoolWeights(Right):
    def weights(self, batch):
        return {**super().weights(batch), "row": batch[WEIGHT] > 0}


class ArrayMetric(Right):
    def judge(self, gold, scores):
        return {**super().judge(gold, scores), "accuracy": np.ones(2)}


class HalfAnExample(Right):
    def judge(self, gold, scores):
        return {**super().judge(gold, scores), "examples": 2.0}


class WithoutExamples(Right):
    def judge(self, gold, scores):
        return {"loss": 1.0, "accuracy": 1.0}


class WithoutLoss(Right):
    def judge(self, gold, scores):
        return {"examples": 2, "accuracy": 1.0}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Nameless, "losses has the names none, weights none: give both the same names"),
        (OtherNames, "losses has the names 'row', 'token', weights 'row'"),
        (Scalar, r"losses['row'] has shape (), weights['row'] (4,), for 4 rows of 6 tokens: both"),
        (OtherWeights, r"losses['row'] has shape (4,), weights['row'] (4, 1), for 4 rows"),
        (TooWide, r"losses['token'] has shape (4, 6, 1), weights['token'] (4, 6)"),
        (Transposed, r"answers['first'] has shape (6, 4) for 4 rows: its first axis must be 4"),
        (OneAnswer, r"answers['first'] has shape () for 4 rows"),
        (RaisesInTheGraph, "raised KeyError"),
        (AsksATensor, "raised OperatorNotAllowedInGraphError"),
        (RaisesInJudgement, "raised KeyError"),
        (LooksAtLabels, "raised KeyError: 'number'"),
        (LooksAtWeights, "raised KeyError: 'weight'"),
        (LooksAtIds, "raised KeyError: 'id'"),
        (Words, "answers['first'] is string: make it a float, or bool, int8, uint8, int32, int64"),
        (Wide, "answers['first'] is uint16: make it a float, or bool"),
        (Squares, "answers['first'] has shape (None, None, None): an axis of unknown length"),
        (Picked, "answers['first'] has shape (None, None): an axis of unknown length must be"),
        (Cubes, "answers['first'] has shape (4, 6, 1, 1): at most 3 axes"),
        (Floats, "correct returned float32 of shape (3,): it must be bool [3]"),
        (OneForAll, "correct returned bool of shape (1,): it must be bool [3]"),
        (FloatPlaces, "mistakes must return places of rows, int [K]"),
        (OfPaddingRows, "weights['row'] is not 0 at padding: multiply it by batch['weight']"),
        (OfPadding, "weights['token'] is not 0 at padding"),
        (BoolWeights, "weights['row'] is bool: make it a float"),
        (ArrayMetric, "judge gives float64 of shape (2,) as 'accuracy': give a number"),
        (HalfAnExample, "judge gives a float as 'examples': give a whole number"),
        (WithoutExamples, "judge gives no 'examples', which is always shown"),
        (WithoutLoss, "judge gives no 'loss', which is always shown"),
    ],
)
def test_what_is_wrong_is_said(model, table, kind, expected):
    assert expected in said(kind(), model, table)


def test_a_metric_that_is_not_given_cannot_choose(model, table):
    assert "judge gives 'loss', 'accuracy', 'examples', not 'f1', which chooses the best" in said(
        Right(), model, table, "f1"
    )


class Wrong:
    """Values of wrong types, as one writes them in a hurry."""

    class List(Right):
        def answers(self, batch, outputs):
            return [outputs[:, 0, 0]]

    class Tensor(Right):
        def losses(self, batch, outputs):
            return outputs[:, 0, 0]

    class Nothing(Right):
        def losses(self, batch, outputs):
            return None

    class Number(Right):
        def losses(self, batch, outputs):
            return {**super().losses(batch, outputs), "row": 0.0}

    class Metrics(Right):
        def judge(self, gold, scores):
            return [1.0, 2]

    class Shares(Right):
        def correct(self, gold, scores):
            return [True, False]

    class Places(Right):
        def mistakes(self, gold, scores):
            return [0]

    class Integers(Right):
        def losses(self, batch, outputs):
            return {
                name: tf.cast(v, tf.int32) for name, v in super().losses(batch, outputs).items()
            }

    class NoBatch(Right):
        def prepare(self, batch, training):
            return None


class Grouped(Right):
    """Judges groups, each by `found`."""

    group, group_metrics = "genre", ("f1",)
    found: ClassVar = {"drama": {"f1": 1.0, "support": 3}}

    def judge_groups(self, gold, scores):
        return self.found


@pytest.mark.parametrize(
    ("found", "of"),
    [
        ({"drama": {"f1": 1.0}}, "'drama'"),
        ({"drama": {"support": 1}}, "'drama'"),
        ({3: {"f1": 1.0, "support": 3}}, "3"),
        ({"drama": {"f1": "1", "support": 3}}, "'drama'"),
        ({"drama": 1.0}, "'drama'"),
        ([1.0], "a list"),
    ],
)
def test_metrics_of_groups_are_tried_too(model, table, found, of):
    check(Grouped(), model, table, "loss")
    wrong = Grouped()
    wrong.found = found
    line = said(wrong, model, table)
    assert line.endswith(f"judge_groups must give f1, support of each genre: it gives {of}")


@pytest.mark.parametrize("name", [name for name in vars(Wrong) if name[0] != "_"])
def test_values_of_wrong_types_are_one_line_too(model, table, name):
    said(getattr(Wrong, name)(), model, table)
