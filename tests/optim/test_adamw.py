"""AdamW and its averages against a float64 reference."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import Optimizer
from trainer.optim.adamw import AdamW

SHAPES = {"matrix": (4, 3), "bias": (3,), "table": (2, 2, 2)}
STEPS = 50


def _start():
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape) for name, shape in SHAPES.items()}


def _gradients(step):
    random = np.random.default_rng(1 + step)
    return {name: random.normal(0, 0.1, shape) for name, shape in SHAPES.items()}


def _rate(step):
    return 1e-2 * (1 + step % 7)


class Reference:
    """The algorithm as it is written in the paper, one parameter at a time, in float64."""

    def __init__(self, settings, value):
        self.settings, self.value = settings, value
        self.m = self.v = np.zeros_like(value)
        self.average, self.t = value, 0

    def update(self, gradient, rate):
        s = self.settings
        self.t += 1
        self.m = s.beta1 * self.m + (1 - s.beta1) * gradient
        self.v = s.beta2 * self.v + (1 - s.beta2) * gradient**2
        m_hat, v_hat = self.m / (1 - s.beta1**self.t), self.v / (1 - s.beta2**self.t)
        decay = s.weight_decay if self.value.ndim > 1 else 0
        old = self.value
        self.value = old - rate * (m_hat / (np.sqrt(v_hat) + s.epsilon) + decay * old)
        kept = min(s.ema, (1 + self.t) / (10 + self.t))
        self.average = kept * self.average + (1 - kept) * self.value
        return ((self.value - old) ** 2).sum()


def _make(strategy, settings, dtype):
    with strategy.scope():
        parameters = {
            name: tf.Variable(value, dtype=dtype, name=name) for name, value in _start().items()
        }
        optimizer = AdamW(settings, parameters)

    @tf.function
    def apply(gradients, rate):
        # Doubled, and halved by the factor.
        values, half = [2 * g for g in gradients.values()], tf.constant(0.5, tf.float64)
        return optimizer.apply(strategy, list(gradients), values, half, [rate] * len(gradients))

    def update(gradients, rate):
        gradients = {name: tf.constant(g, dtype) for name, g in gradients.items()}
        return apply(gradients, tf.constant(rate, tf.float64)).numpy()

    return optimizer, parameters, update


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_is_the_algorithm_of_the_paper(strategy_over, devices, dtype, tolerance):
    settings = Optimizer(weight_decay=0.1, ema=0.95, beta2=0.99, epsilon=1e-6)
    optimizer, parameters, update = _make(strategy_over(devices), settings, dtype)
    references = {name: Reference(settings, value) for name, value in _start().items()}
    for step in range(STEPS):
        squares = update(_gradients(step), _rate(step))
        expected = sum(
            references[name].update(gradient, _rate(step))
            for name, gradient in _gradients(step).items()
        )
        np.testing.assert_allclose(squares, expected, rtol=100 * tolerance)
    for name, reference in references.items():
        for ours, theirs in (
            (parameters, reference.value),
            (optimizer.first_moments, reference.m),
            (optimizer.second_moments, reference.v),
            (optimizer.averages, reference.average),
        ):
            np.testing.assert_allclose(ours[name].numpy(), theirs, rtol=tolerance, atol=tolerance)
        assert optimizer.updates[name].numpy() == STEPS


def test_matrices_decay_and_vectors_do_not(strategy_over):
    _, parameters, update = _make(strategy_over(1), Optimizer(weight_decay=0.5), "float64")
    zeros = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    update(zeros, 0.1)
    for name, value in _start().items():
        kept = 1.0 if name == "bias" else 1 - 0.1 * 0.5
        np.testing.assert_allclose(parameters[name].numpy(), kept * value, rtol=1e-14)


def test_each_parameter_counts_its_own_updates(strategy_over):
    settings = Optimizer(weight_decay=0.1, ema=0.9)
    optimizer, parameters, update = _make(strategy_over(1), settings, "float64")
    start = {name: v.numpy() for name, v in (parameters | optimizer.variables()).items()}
    for step in range(20):
        update({"matrix": _gradients(step)["matrix"]}, 1e-2)
    for name, variable in (parameters | optimizer.variables()).items():
        if "matrix" not in name:
            np.testing.assert_array_equal(variable.numpy(), start[name], name)  # bit for bit
    gradient = _gradients(20)
    update(gradient, 1e-2)
    # A fresh parameter's first update is the rate, in the direction of the gradient.
    change = parameters["bias"].numpy() - start["bias"]
    np.testing.assert_allclose(change, -1e-2 * np.sign(gradient["bias"]), rtol=1e-6)
    counts = {name: count.numpy() for name, count in optimizer.updates.items()}
    assert counts == {"matrix": 21, "bias": 1, "table": 1}


def test_rates_belong_to_parameters(strategy_over):
    strategy = strategy_over(1)
    optimizer, parameters, _ = _make(strategy, Optimizer(weight_decay=0.0), "float64")
    names = ["bias", "matrix"]
    gradients = [tf.ones(SHAPES[name], tf.float64) for name in names]
    rates = [tf.constant(rate, tf.float64) for rate in (0.1, 0.3)]
    squares = optimizer.apply(strategy, names, gradients, tf.ones([], tf.float64), rates)
    for name, rate in zip(names, (0.1, 0.3), strict=True):
        np.testing.assert_allclose(_start()[name] - parameters[name].numpy(), rate, rtol=1e-6)
    np.testing.assert_allclose(squares, 3 * 0.1**2 + 12 * 0.3**2, rtol=1e-6)


def test_all_slots_are_there_from_the_start(strategy_over):
    optimizer, parameters, _ = _make(strategy_over(2), Optimizer(ema=0.9), "float32")
    groups = ("first_moment", "second_moment", "average", "updates")
    assert list(optimizer.variables()) == [f"{g}/{name}" for g in groups for name in parameters]
    for name, value in parameters.items():
        np.testing.assert_array_equal(optimizer.averages[name].numpy(), value.numpy())
    plain, *_ = _make(strategy_over(1), Optimizer(), "float32")
    assert not any(name.startswith("average") for name in plain.variables())
