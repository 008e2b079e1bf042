"""Evaluation: every example once, in the order of the data, on any number of devices."""

import numpy as np
import pytest
import tiny

from trainer.config import Objective
from trainer.evaluation import Evaluator, Interrupted, Scores
from trainer.objectives.losses import make_loss
from trainer.tasks.classification import Classification

EXAMPLES, ROWS = 11, 4


def _batches(order):
    """The examples in that order, in batches of ROWS, the last one padded."""
    split = tiny.batch(EXAMPLES)
    parts = [order[i : i + ROWS] for i in range(0, len(order), ROWS)]
    return [tiny.filled({key: value[part] for key, value in split.items()}, ROWS) for part in parts]


def _evaluator(strategy, objective=None):
    with strategy.scope():
        model = tiny.classifier(tiny.model_settings(depth=0))
    task = Classification(make_loss(objective or Objective(), tiny.CLASSES))
    return Evaluator(strategy, model, task)


def _run(evaluator, batches, examples=EXAMPLES, stop=lambda: False, advance=lambda _: None):
    dataset = tiny.distributed(evaluator.strategy, batches)
    return evaluator.run(dataset, len(batches), examples, stop, advance)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_every_example_once_in_the_order_of_the_data(strategy_over, devices):
    weights = (0.5, 1.0, 3.0)
    evaluator = _evaluator(strategy_over(devices), Objective(class_weights=weights))
    order = np.random.default_rng(0).permutation(EXAMPLES)
    advanced = []
    scores = _run(evaluator, _batches(order), advance=advanced.append)
    assert advanced == [4, 4, 3]

    split = tiny.batch(EXAMPLES)
    logits = evaluator.model(tiny.features(split)).numpy()
    np.testing.assert_array_equal(scores.ids, np.arange(EXAMPLES))
    np.testing.assert_array_equal(scores.labels, split["label"])
    np.testing.assert_allclose(scores.logits, logits, rtol=1e-5, atol=1e-7)
    losses = make_loss(Objective(), tiny.CLASSES).example_losses(split["label"], logits)
    np.testing.assert_allclose(scores.losses, losses, rtol=1e-5)
    np.testing.assert_array_equal(scores.weights, np.array(weights)[split["label"]])


def test_scores_the_present_weights_without_compiling_again(strategy_over):
    evaluator = _evaluator(strategy_over(1))
    batches = _batches(np.arange(EXAMPLES))
    before = _run(evaluator, batches)
    evaluator.model.head.logits.bias.assign_add([1.0, 0.0, 0.0])
    after = _run(evaluator, batches)
    np.testing.assert_allclose(after.logits - before.logits, [[1, 0, 0]] * EXAMPLES, atol=1e-6)
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


def test_predictions_and_probabilities():
    logits = np.array([[1.0, 1.0, 3.0], [1e4, -1e4, 0.0]], np.float32)
    empty = np.zeros(2)
    scores = Scores(empty, empty, logits, empty, empty)
    assert scores.predictions.tolist() == [2, 0]
    assert scores.probabilities.dtype == np.float64
    expected = np.exp([1.0, 1.0, 3.0]) / np.exp([1.0, 1.0, 3.0]).sum()
    np.testing.assert_allclose(scores.probabilities, [expected, [1, 0, 0]], rtol=1e-12)
