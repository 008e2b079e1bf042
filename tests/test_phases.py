"""Parameters that train, at what rate, for how long."""

import numpy as np
import pytest

from trainer.config import Phase
from trainer.errors import UserError
from trainer.phases import frozen_levels, layer_depths, match, plan_phases

NAMES = [
    "encoder/embeddings/tokens/embeddings",
    "encoder/block_0/ffn_in/kernel",
    "encoder/block_1/ffn_in/kernel",
    "encoder/block_10/ffn_in/kernel",
    "encoder/final_norm/gamma",
    "head/kernel",
    "head/bias",
]


def _plan(steps_per_epoch=10, names=NAMES, **settings):
    return plan_phases([Phase(**settings)], names, steps_per_epoch)[0]


def test_a_warm_up_is_a_number_of_steps_or_a_share_of_the_phase():
    assert _plan(steps=19, warmup_share=0.1).warmup_steps == 1
    assert _plan(epochs=2, warmup_share=0.25).warmup_steps == 5
    assert _plan(steps=19, warmup_steps=3).warmup_steps == 3
    assert _plan(steps=3, warmup_share=0.1).warmup_steps == 0


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ((".*",), NAMES),
        (("head/.*",), NAMES[-2:]),
        (("head/(kernel|b)",), [NAMES[-2]]),
        (("head/.*", "encoder/block_1/.*"), [NAMES[2], *NAMES[-2:]]),  # not block_10
        ((".*bias", "head/.*"), NAMES[-2:]),  # matched twice, trained once
        ((r"encoder/block_(1|10)/.*",), NAMES[2:4]),
    ],
)
def test_patterns_match_whole_names_in_the_order_of_the_model(patterns, found):
    assert match(patterns, NAMES, "field") == found
    assert list(_plan(steps=1, train=patterns).factors) == found


@pytest.mark.parametrize("pattern", ["head", "ffn_in", "ead/.*", "block_2/.*", "HEAD/.*"])
def test_a_pattern_that_matches_nothing_is_refused_with_what_there_is(pattern):
    with pytest.raises(UserError) as caught:
        plan_phases([Phase(steps=1), Phase(steps=1, train=("head/.*", pattern))], NAMES, 10)
    said = str(caught.value)
    assert said.startswith(f"config.phases[1].train: '{pattern}' matches no parameter; there are: ")
    assert "encoder/block_0, encoder/block_1, " in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ({"steps": 7}, 7),
        ({"epochs": 1}, 10),
        ({"epochs": 2.5}, 25),
        ({"epochs": 0.26}, 3),
        ({"epochs": 0.01}, 1),
    ],
)
def test_a_length_in_steps_or_epochs(length, steps):
    assert _plan(**length).total_steps == steps


def test_warm_up_must_be_shorter_than_the_phase():
    assert _plan(steps=5, warmup_steps=4).total_steps == 5
    for length in ({"steps": 5}, {"epochs": 0.5}):
        with pytest.raises(UserError, match=r"config.phases\[0\].warmup_steps=5 .*\(5 steps\)"):
            _plan(warmup_steps=5, **length)


def test_layer_decay_falls_with_depth():
    names = [name for name in NAMES if "block_10" not in name]
    factors = _plan(steps=1, layer_decay=0.5, names=names).factors
    assert factors == dict(zip(names, [0.125, 0.25, 0.5, 1, 1, 1], strict=True))
    frozen_top = _plan(steps=1, layer_decay=0.5, names=names, train=("encoder/.*",)).factors
    assert frozen_top == {name: factors[name] for name in names[:4]}  # depth is the model's
    assert set(_plan(steps=1, names=names).factors.values()) == {1.0}


def test_depths():
    assert list(layer_depths(NAMES).values()) == [0, 1, 2, 11, 12, 12, 12]


def test_the_bias_of_relative_positions_stands_where_it_first_acts():
    """Else a phase that trains it alone would run the blocks without dropout, as if frozen."""
    names = [*NAMES, "encoder/relative_bias/embeddings"]
    assert layer_depths(names)[names[-1]] == 1
    assert frozen_levels(names, names[-1:]) == 1


def test_layer_decay_without_layers_is_refused():
    with pytest.raises(UserError, match=r"layer_decay has no effect"):
        _plan(steps=1, layer_decay=0.5, names=["tokens/embeddings", "head/kernel"])


def test_describe_says_what_trains_and_at_what_rate():
    names = [name for name in NAMES if "block_10" not in name]
    plan = _plan(
        steps=20, name="top", layer_decay=0.5, learning_rate=1e-3, names=names,
        train=("head/.*", "encoder/block_1/.*", "encoder/block_0/.*"),
    )  # fmt: skip
    shapes = {name: (1000, 2) if name.endswith("kernel") else (5,) for name in names}
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    assert plan.describe(shapes).splitlines() == [
        f"Phase 'top': 20 steps, 4 of 6 parameters train (6,005 of {total:,} numbers)",
        "  peak rate 0.001: 2 in head/bias, head/kernel",
        "  peak rate 0.0005: 1 in encoder/block_1",
        "  peak rate 0.00025: 1 in encoder/block_0",
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 20, "warmup_steps": 11}, "warms up for 11 of its 20 steps: config.phases[0].w"),
        ({"steps": 20, "warmup_steps": 10}, ""),
        (
            {"steps": 20, "learning_rate": 2e-3},
            "learning_rate=0.002 is high for pretrained weights",
        ),
        ({"steps": 20, "learning_rate": 2e-3, "train": ("head/.*",)}, ""),
        ({"steps": 9, "cache_features": True}, "computes more than it saves in a phase of less"),
        ({"epochs": 1, "cache_features": True}, ""),
    ],
)
def test_settings_that_hurt_are_noted(settings, said):
    notes = _plan(**settings).notes(10, pretrained=True)
    assert [said in note for note in notes] == ([True] if said else [])
    assert not _plan(steps=20, learning_rate=2e-3).notes(10, pretrained=False)
