"""Settings of generation that are refused, in words that say what to do."""

import math

import numpy as np
import pytest
import tensorflow as tf
from toys import Toy

from trainer.errors import UserError
from trainer.models.generate import generate
from trainer.models.writing import (
    LENGTH_PENALTIES,
    PENALTIES,
    TEMPERATURES,
    TOP_PS,
    Writing,
    writing_for,
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, r"temperature=0 leaves nothing to draw: .* \(greedy\)"),
        ({"temperature": 0.0}, "temperature=0 leaves nothing"),
        ({"temperature": -1.0}, "temperature=-1.0 must be a number from 0.001 to 1,000"),
        ({"temperature": 1e-39}, "temperature=1e-39 must be a number from 0.001"),
        ({"temperature": 10**400}, "temperature=1000.* must be a number from 0.001"),
        ({"temperature": math.nan}, "temperature=nan must be"),
        ({"temperature": math.inf}, "temperature=inf must be"),
        ({"temperature": False}, "temperature=False must be"),
        ({"top_k": 0}, "top_k=0 must be a whole number from 1"),
        ({"top_k": 2.5}, "top_k=2.5 must be a whole number"),
        ({"top_p": 0.0}, "top_p=0.0 must be a number from 1e-06 to 1"),
        ({"top_p": 1e-46}, "top_p=1e-46 must be"),
        ({"top_p": 1.1}, "top_p=1.1 must be"),
        ({"top_p": math.nan}, "top_p=nan must be"),
        ({"top_p": "a"}, "top_p='a' must be"),
        ({"repetition_penalty": 1e-46}, "repetition_penalty=1e-46 must be .* from 0.01 to 100"),
        ({"repetition_penalty": 1e30}, r"repetition_penalty=1e\+30 must be .* from 0.01 to 100"),
        ({"length_penalty": math.inf}, "length_penalty=inf must be a number from -5 to 5"),
        ({"length_penalty": 400.0}, "length_penalty=400.0 must be"),
        ({"beams": 0}, "beams=0 must be a whole number from 1"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be a whole number from 1"),
        ({"max_new_tokens": 10**9}, "max_new_tokens=1000000000 must be"),
        ({"beams": 2, "n_best": 3}, "n_best=3 is more than beams=2, which find .*: give beams=3"),
        ({"beams": 2, "length_norm": "gmnt"}, "length_norm='gmnt' must be one of: power, gnmt"),
        ({"length_norm": "gnmt"}, "length_penalty and length_norm compare the texts of beams"),
        ({"beams": 2, "top_p": 0.5}, "beams search and do not draw: leave temperature"),
        ({"stop": ("",)}, r"stop=\('',\) must be a text, or a list of texts, of at least one char"),
        ({"stop": ""}, r"stop=\('',\) must be a text"),
        ({"stop": ["x", 5]}, r"stop=\('x', 5\) must be a text"),
        ({"stop": 5}, "stop=5 must be a text"),
    ],
)
def test_a_setting_that_makes_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        writing_for(16, **settings)


@pytest.mark.parametrize("stop", ["ab", ["ab"], ("ab",)])
def test_a_stop_text_may_come_alone_or_in_a_list(stop):
    assert writing_for(16, stop=stop).stop == ("ab",)


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperature": each} for each in TEMPERATURES),
        *({"top_p": each} for each in TOP_PS),
        *({"repetition_penalty": each, "temperature": 1.0} for each in PENALTIES),
        *({"length_penalty": each, "beams": 3} for each in LENGTH_PENALTIES),
    ],
)
def test_at_the_bounds_float32_computes_what_float64_does(settings):
    made, writing = [], Writing(max_new_tokens=4, **settings)
    prompt, mask, row = tf.constant([[3]]), tf.constant([[1]]), tf.constant([2], tf.int64)
    for dtype in (tf.float32, tf.float64):
        found = generate(Wide(dtype), prompt, mask, writing, 0, row)
        assert np.isfinite(found.log_probs_BN).all()
        made.append(found.ids_BN.numpy().tolist())
    assert made[0] == made[1]


class Wide:
    """The toy's logits, larger than any model's, in a precision."""

    continues = True

    def __init__(self, dtype):
        self.toy, self.dtype = Toy(size=100), dtype

    def prefill(self, *inputs):
        logits, *kept = self.toy.prefill(*inputs)
        return tf.cast(logits, self.dtype), *kept

    def step(self, *inputs):
        logits, cache = self.toy.step(*inputs)
        return tf.cast(logits, self.dtype), cache


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 41}, "top_k=41 is more than the 40 tokens of the vocabulary"),
        ({"beams": 41}, "beams=41 is more than the 40 tokens of the vocabulary"),
        ({"max_new_tokens": 16}, "max_new_tokens=16 leaves no room .* 16 positions: .* most 15"),
    ],
)
def test_a_setting_that_does_not_fit_the_model(settings, message):
    with pytest.raises(UserError, match=message):
        Writing(**settings).check_model(40, 16)


def test_the_largest_settings_that_fit():
    Writing(max_new_tokens=15, top_k=40).check_model(40, 16)
    Writing(max_new_tokens=15, beams=40).check_model(40, 16)
    Writing(max_new_tokens=15).check_prompt(1, 16, "text 0")


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0, "text 3 has no token to go on from"),
        (16, "text 3 has 16 tokens, and the model 16 positions: shorten it"),
        (10, "text 3 has 10 tokens, which leaves room for 6 more .* give max_new_tokens=6"),
    ],
)
def test_a_prompt_that_does_not_fit(length, message):
    with pytest.raises(UserError, match=message):
        Writing(max_new_tokens=7).check_prompt(length, 16, "text 3")


@pytest.mark.parametrize("settings", [{"temperature": 1.0}, {"top_k": 1}, {"top_p": 1.0}])
def test_any_setting_of_draws_asks_for_draws(settings):
    assert Writing(**settings).samples
    assert not Writing(beams=2, repetition_penalty=2.0).samples
