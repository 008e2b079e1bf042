"""The learning rate at the ends of warm-up and phase, for each kind."""

import math

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import SCHEDULES
from trainer.optim.schedules import learning_rate

PEAK, WARMUP, TOTAL = 0.4, 10, 110


def _rates(schedule, warmup=WARMUP, total=TOTAL):
    steps = range(total)
    return np.array([learning_rate(tf.constant(s, tf.int64), schedule, PEAK, warmup, total)
                     for s in steps])  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_linearly_to_the_peak(schedule):
    rates = _rates(schedule)
    assert rates.dtype == np.float64
    np.testing.assert_allclose(rates[:WARMUP], PEAK * np.arange(1, 11) / 10, rtol=1e-15)
    assert rates.argmax() == WARMUP - 1
    assert (np.diff(rates[WARMUP - 1 :]) <= 0).all()
    assert (rates > 0).all()


@pytest.mark.parametrize(
    ("schedule", "after", "middle", "last"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 1.0, 0.5, 0.01),
        ("cosine", 1.0, 0.5, 0.5 * (1 + math.cos(math.pi * 0.99))),
        ("inverse_sqrt", (10 / 11) ** 0.5, (10 / 61) ** 0.5, (10 / 110) ** 0.5),
    ],
)
def test_after_warm_up(schedule, after, middle, last):
    rates = _rates(schedule)[[WARMUP, 60, TOTAL - 1]] / PEAK
    np.testing.assert_allclose(rates, [after, middle, last], rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_first_step_is_at_the_peak(schedule):
    rates = _rates(schedule, warmup=0, total=5)
    assert rates[0] == PEAK
    assert rates[-1] > 0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_phase_of_one_step(schedule):
    assert _rates(schedule, warmup=0, total=1).tolist() == [PEAK]


def test_the_step_after_the_last_would_have_rate_0():
    for schedule in ("linear", "cosine"):
        after = learning_rate(tf.constant(TOTAL, tf.int64), schedule, PEAK, WARMUP, TOTAL)
        np.testing.assert_allclose(after, 0, atol=1e-16)
