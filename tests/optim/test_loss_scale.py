"""The loss scale: halves at once, doubles with patience, stays within its bounds."""

import pytest
import tensorflow as tf

from trainer.config import Optimizer
from trainer.optim.loss_scale import LARGEST, LossScale


def _scale(initial=64.0, growth_steps=3, dynamic=True):
    settings = Optimizer(initial_loss_scale=initial, loss_scale_growth_steps=growth_steps)
    return LossScale(settings, dynamic)


def _after(scale, *finite):
    values = []
    for step in finite:
        scale.update(tf.constant(step))
        values.append(float(scale.scale.numpy()))
    return values


def test_doubles_after_a_number_of_finite_steps():
    assert _after(_scale(), *[True] * 7) == [64, 64, 128, 128, 128, 256, 256]


def test_halves_on_each_overflow_and_starts_counting_anew():
    steps = [True, True, False, False, True, True, True]
    assert _after(_scale(), *steps) == [64, 64, 32, 16, 16, 16, 32]


def test_stays_within_its_bounds():
    scale = _scale(initial=2.0)
    assert scale.can_shrink()
    assert _after(scale, False, False) == [1, 1]
    assert not scale.can_shrink()
    assert _after(_scale(initial=LARGEST, growth_steps=1), True) == [LARGEST]


@pytest.mark.parametrize("finite", [True, False])
def test_fixed_at_1_where_it_is_not_dynamic(finite):
    scale = _scale(dynamic=False, growth_steps=1)
    assert _after(scale, finite, finite) == [1, 1]
    assert not scale.can_shrink()


def test_a_checkpoint_holds_the_count_too():
    scale = _scale()
    _after(scale, True, True)
    again = _scale(initial=2.0)
    for name, variable in again.variables().items():
        variable.assign(scale.variables()[name])
    assert _after(again, True) == [128]
