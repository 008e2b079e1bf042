"""The least memory that a model needs, against models as they are built."""

import dataclasses

import pytest

from trainer.config import Experiment, Model, Optimizer, Runtime
from trainer.errors import UserError
from trainer.models import size
from trainer.models.architecture import from_scratch
from trainer.models.parameters import build_model

GIB = 2**30


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 64, "depth": 2, "ffn_width": 128},
        {"positions": "learned", "head": "mean", "head_width": 32},
        {"factory": "trainer.models.recurrent:bilstm", "width": 32},
    ],
)
def test_the_estimate_is_near_and_not_over(changes):
    """Within a tenth of the model that is built, by its matrices."""
    model = Model(**{"width": 32, "heads": 4, "ffn_width": 64, **changes})
    config = Experiment(model=model)
    built = build_model(config, 300, 3)
    count = sum(v.numpy().size for v in built.variables if len(v.shape) > 1)
    if model.positions == "sinusoidal" and "factory" not in changes:
        count += config.data.max_length * model.width  # of which the table is no variable
    if "factory" in changes:
        estimate = size.recurrent_parameters(model, 300)
    else:
        estimate = size.parameters(from_scratch(model, 300, 384, False), 3)
    assert 0.4 * count < estimate < 1.01 * count


@pytest.mark.parametrize("changes", [{}, {"factory": "trainer.models.recurrent:lstm"}])
def test_a_model_that_does_not_fit_is_refused(changes):
    config = Experiment(model=Model(width=65536, heads=8, **changes))
    with pytest.raises(UserError, match=r"parameters: 3 numbers for each .* has 16 GiB: make"):
        size.check(config, 8000, 2, None, 16 * GIB)
    size.check(config, 8000, 2, None, 10_000 * GIB)
    small = dataclasses.replace(config, model=Model(**changes))
    size.check(small, 8000, 2, None, GIB)


def test_precision_and_averages_count():
    config = Experiment(model=Model(width=1024, ffn_width=4096, depth=20))
    fits = 4 * GIB
    size.check(config, 8000, 2, None, fits)
    config.optimizer = Optimizer(ema=0.9)
    config.runtime = Runtime(precision="float64")
    with pytest.raises(UserError, match="4 numbers for each"):
        size.check(config, 8000, 2, None, fits)


def test_a_factory_of_ones_own_is_not_judged():
    config = Experiment(model=Model(factory="my_parts:build", width=65536))
    size.check(config, 8000, 2, None, 1)
