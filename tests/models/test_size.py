"""Sizes of models, against those that are built, and the least memory that they need."""

import dataclasses

import pytest

from trainer.config import Data, Experiment, Model, Optimizer, Runtime
from trainer.errors import UserError
from trainer.models import size
from trainer.models.parameters import build_model, named_parameters
from trainer.tasks.classification import Classification

GIB = 2**30


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 64, "depth": 2, "ffn_width": 128},
        {"positions": "learned", "head": "mean", "head_width": 32},
        {"norm": "pre", "depth": 0, "embedding_norm": False},
        {
            **{"norm": "pre", "norm_kind": "rms", "positions": "rotary", "kv_heads": 2},
            **{"gated_ffn": True, "biases": False},
        },
        {"positions": "relative", "relative_buckets": 16, "attention_scale": False},
        {"factory": "trainer.models.recurrent:bilstm", "width": 32, "depth": 2, "head_width": 8},
        {"factory": "trainer.models.recurrent:lstm", "head": "last", "vocab_size": 400},
    ],
)
@pytest.mark.parametrize("pair", ["", "other"])
def test_shapes_are_those_of_the_model_that_is_built(changes, pair):
    model = Model(**{"width": 32, "heads": 4, "ffn_width": 64, **changes})
    config = Experiment(model=model, task=Classification(text_pair=pair))
    built = named_parameters(build_model(config, 300, 3))
    assert size.shapes(config, 300, 3, None) == {n: tuple(v.shape) for n, v in built.items()}


@pytest.mark.parametrize("changes", [{}, {"head": "mean+max", "head_width": 12}])
def test_shapes_of_a_model_for_tokens(changes):
    config = Experiment(model=Model(**{"width": 32, "heads": 4, "ffn_width": 64, **changes}))
    built = named_parameters(build_model(config, 300, 3, kind="tokens"))
    found = size.shapes(config, 300, 3, None, "tokens")
    assert found == {n: tuple(v.shape) for n, v in built.items()}
    assert found["head/logits/kernel"] == (changes.get("head_width", 32), 3)
    size.check(config, 300, 3, None, kind="tokens", there=GIB)


def test_sinusoids_count():
    """They are no parameters, and are made in float64."""
    model = Model(width=65_536, heads=8, depth=0)
    config = Experiment(model=model, data=Data(max_length=65_536))
    with pytest.raises(UserError, match=r"they need 112 GiB, .*: use a machine that has more"):
        size.check(config, 100, 2, None, there=16 * GIB, trains=False)
    config.model.positions = "none"
    size.check(config, 100, 2, None, there=16 * GIB, trains=False)


@pytest.mark.parametrize("changes", [{}, {"factory": "trainer.models.recurrent:lstm"}])
def test_a_model_that_does_not_fit_is_refused(changes):
    config = Experiment(model=Model(width=65536, heads=8, **changes))
    with pytest.raises(UserError, match=r"parameters: 3 numbers for each .* has 16 GiB: make"):
        size.check(config, 8000, 2, None, there=16 * GIB)
    size.check(config, 8000, 2, None, there=10_000 * GIB)
    small = dataclasses.replace(config, model=Model(**changes))
    size.check(small, 8000, 2, None, there=GIB)


def test_precision_and_averages_count():
    config = Experiment(model=Model(width=1024, ffn_width=4096, depth=20))
    fits = 4 * GIB
    size.check(config, 8000, 2, None, there=fits)
    config.optimizer = Optimizer(ema=0.9)
    config.runtime = Runtime(precision="float64")
    with pytest.raises(UserError, match="4 numbers for each"):
        size.check(config, 8000, 2, None, there=fits)


def test_a_factory_of_ones_own_is_not_judged():
    config = Experiment(model=Model(factory="my_parts:build", width=65536))
    size.check(config, 8000, 2, None, there=1)
