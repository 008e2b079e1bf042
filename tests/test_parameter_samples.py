"""Evenly spaced numbers of each group of layers."""

import numpy as np
import tensorflow as tf

from trainer import parameter_samples
from trainer.parameter_samples import ParameterSamples


def test_small_parameters_are_taken_whole_by_group():
    values = {
        "encoder/block_0/a/kernel": np.arange(6.0).reshape(2, 3),
        "head/logits/bias": np.array([7.0]),
        "encoder/block_0/a/bias": np.array([8.0, 9.0]),
    }
    sampled = ParameterSamples({name: value.size for name, value in values.items()})
    taken = sampled.take({name: tf.constant(value) for name, value in values.items()})
    assert taken.shape == (sampled.count,) == (9,)
    groups = sampled.by_group(taken.numpy())
    assert {name: group.tolist() for name, group in groups.items()} == {
        "encoder/block_0": [0, 1, 2, 3, 4, 5, 8, 9],
        "head/logits": [7],
    }


def test_a_large_group_is_sampled_evenly(monkeypatch):
    monkeypatch.setattr(parameter_samples, "PER_GROUP", 10)
    values = {"a/b/large": np.arange(95.0), "a/b/small": np.arange(5.0)}
    sampled = ParameterSamples({name: value.size for name, value in values.items()})
    (group,) = sampled.by_group(
        sampled.take({name: tf.constant(value) for name, value in values.items()})
    ).values()
    assert group.tolist() == [*range(0, 95, 10), 0]
