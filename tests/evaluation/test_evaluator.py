"""Evaluation: every example once, in the order of the data, on any number of devices."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.errors import Interrupted
from trainer.evaluation.evaluator import Evaluator
from trainer.tasks.classification import Classification
from trainer.tasks.losses import make_loss
from trainer.tasks.task import Task

EXAMPLES, ROWS = 11, 4


def _batches(order):
    """The examples in that order, in batches of ROWS, the last one padded."""
    split = tiny.batch(EXAMPLES)
    parts = [order[i : i + ROWS] for i in range(0, len(order), ROWS)]
    return [tiny.filled({key: value[part] for key, value in split.items()}, ROWS) for part in parts]


def _evaluator(strategy, task=None):
    with strategy.scope():
        model = tiny.classifier(tiny.model_settings(depth=0))
    return Evaluator(strategy, model, task or tiny.classification(), seed=0)


def _run(evaluator, batches, examples=EXAMPLES, stop=lambda: False, advance=lambda _: None):
    dataset = tiny.distributed(evaluator.strategy, batches)
    return evaluator.run(dataset, len(batches), examples, stop, advance)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_every_example_once_in_the_order_of_the_data(strategy_over, devices):
    weights = (0.5, 1.0, 3.0)
    evaluator = _evaluator(strategy_over(devices), tiny.classification(class_weights=weights))
    order = np.random.default_rng(0).permutation(EXAMPLES)
    advanced = []
    scores = _run(evaluator, _batches(order), advance=advanced.append)
    assert advanced == [4, 4, 3]

    split = tiny.batch(EXAMPLES)
    logits = evaluator.model(tiny.inputs(split)).numpy()
    np.testing.assert_allclose(scores.answers["logits"], logits, rtol=1e-5, atol=1e-7)
    assert scores.answers["logits"].dtype == np.float32
    losses = make_loss(Classification(), tiny.CLASSES).example_losses(split["label"], logits)
    np.testing.assert_allclose(scores.mean_losses("loss"), losses, rtol=1e-5)
    np.testing.assert_array_equal(scores.weights["loss"], np.array(weights)[split["label"]])


def test_scores_the_present_weights_without_compiling_again(strategy_over):
    evaluator = _evaluator(strategy_over(1))
    batches = _batches(np.arange(EXAMPLES))
    before = _run(evaluator, batches)
    evaluator.model.head.logits.bias.assign_add([1.0, 0.0, 0.0])
    after = _run(evaluator, batches)
    difference = after.answers["logits"] - before.answers["logits"]
    np.testing.assert_allclose(difference, [[1, 0, 0]] * EXAMPLES, atol=1e-6)
    assert evaluator._step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    ("order", "examples"),
    [(range(10), 11), ([*range(10), 9], 11), ([*range(11), 3], 11), (range(11), 10)],
    ids=["missing", "twice", "one too many", "more than there are"],
)
def test_an_example_that_is_missing_or_comes_twice_is_an_error(strategy_over, order, examples):
    with pytest.raises(RuntimeError, match="scored"):
        _run(_evaluator(strategy_over(1)), _batches(np.array(order)), examples)


def test_stops_between_batches(strategy_over):
    answers = iter([False, True])
    advanced = []
    with pytest.raises(Interrupted):
        _run(
            _evaluator(strategy_over(1)),
            _batches(np.arange(EXAMPLES)),
            stop=lambda: next(answers),
            advance=advanced.append,
        )
    assert advanced == [4]


class Tokens(Task):
    """Answers of every shape, and a loss of tokens."""

    def weights(self, batch):
        return {"tokens": batch["weight"][:, None] * tf.cast(batch["attention_mask"], tf.float32)}

    def losses(self, batch, outputs):
        return {"tokens": tf.cast(batch["input_ids"], tf.float32) + 0 * outputs[:, :1]}

    def answers(self, batch, outputs):
        ids = batch["input_ids"]
        return {"ids": ids, "first": ids[:, 0], "vectors": tf.cast(ids, tf.float32)[:, :, None] / 7}


@pytest.mark.parametrize("devices", [1, 2])
def test_answers_of_tokens_and_their_losses(strategy_over, devices):
    evaluator = _evaluator(strategy_over(devices), task=Tokens())
    split = tiny.batch(EXAMPLES)
    batches = [
        {k: v[:, : 3 + i] if v.ndim > 1 else v for k, v in batch.items()}
        for i, batch in enumerate(_batches(np.arange(EXAMPLES)))
    ]
    specs = {
        name: tf.TensorSpec([ROWS, *[None] * (value.ndim - 1)], value.dtype)
        for name, value in batches[0].items()
    }
    dataset = tf.data.Dataset.from_generator(lambda: batches, output_signature=specs)
    dataset = dataset.map(lambda batch: {**batch, "row_start": tf.constant(0, tf.int64)})
    scores = evaluator.run(dataset, len(batches), EXAMPLES, lambda: False, lambda _: None)
    expected = np.zeros((EXAMPLES, 5), np.int32)  # the longest batch is of 5
    for i in range(EXAMPLES):
        length = 3 + i // ROWS
        expected[i, :length] = split["input_ids"][i, :length]
    np.testing.assert_array_equal(scores.answers["ids"], expected)
    np.testing.assert_array_equal(scores.answers["first"], expected[:, 0])
    assert scores.answers["first"].dtype == np.int32
    np.testing.assert_allclose(scores.answers["vectors"], expected[:, :, None] / 7, rtol=1e-6)
    counted = [min(3 + i // ROWS, split["attention_mask"][i].sum()) for i in range(EXAMPLES)]
    np.testing.assert_array_equal(scores.weights["tokens"], counted)
    np.testing.assert_array_equal(scores.losses["tokens"], expected.sum(1))
