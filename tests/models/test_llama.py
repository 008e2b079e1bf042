"""Llama's own settings: what they make of the encoder, and which are refused."""

import numpy as np
import pretrained_folders as folders
import pytest
from test_hostile_models import refused_at_once
from test_pretrained import load, unused

from trainer.models.pretrained import open_pretrained


@pytest.fixture
def llama(tmp_path):
    """A Llama with grouped heads, wider than the width says, and biases."""
    return folders.copy("llama", tmp_path / "llama")


def shape_of(folder):
    return open_pretrained(str(folder)).architecture()


def test_its_config_is_the_architecture(llama, tmp_path):
    shape = shape_of(llama)
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.epsilon) == (4, 2, 6, 1e-3)
    assert (shape.positions, shape.rotary_theta) == ("rotary", 100.0)
    assert (shape.norm, shape.norm_kind, shape.causal, shape.activation) == (
        *("pre", "rms"),
        *(True, "silu"),
    )
    assert shape.gated_ffn
    assert shape.attention_biases
    assert shape.ffn_biases
    assert (shape.dropout, shape.attention_dropout, shape.embedding_dropout) == (0.0, 0.12, 0.0)
    small = shape_of(folders.copy("llama_base", tmp_path / "small"))  # without these settings
    assert (small.kv_heads, small.key_size, small.rotary_theta) == (1, (1, 4), 100.0)
    assert not small.attention_biases
    assert not small.ffn_biases


def test_of_a_file_that_predicts_words_the_encoder_is_taken(tmp_path):
    folder = folders.copy("llama_base", tmp_path / "llama")
    stored = folders.tensors(folder)
    frequencies = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": np.ones(2) for i in (0, 1)}
    folders.store(folder, stored | frequencies | {"lm_head.weight": np.ones([40, 16], np.float32)})
    said = load(folder)[1]
    assert unused(said) == ["lm_head.weight"]
    assert "start afresh: head/logits/kernel;" in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_scaling", {"rope_type": "llama3", "factor": 8.0}),
        ("rope_scaling", "linear"),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}),
        ("rope_parameters", {"rope_type": "default", "partial_rotary_factor": 0.5}),
        ("rope_parameters", []),
    ],
)
def test_scaled_positions_are_refused(llama, field, value):
    folders.change(llama, **{field: value})
    said = refused_at_once(llama)
    assert f"{field}={value!r} is not supported, only rotary positions without scaling" in said


def test_positions_that_say_that_they_are_not_scaled(llama):
    folders.change(llama, rope_scaling={"type": "default"}, rope_theta=7.0)
    assert shape_of(llama).rotary_theta == 100.0  # of rope_parameters
    folders.change(llama, rope_parameters=None)
    assert shape_of(llama).rotary_theta == 7.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_key_value_heads": 3}, "has num_key_value_heads=3 for 4 heads: it must divide them"),
        ({"num_key_value_heads": 0}, "num_key_value_heads=0, not an integer from 1 to 1024, or"),
        ({"num_key_value_heads": 4}, "k_proj.weight' has shape [12, 16], its config.json asks for"),
        ({"head_dim": 5}, "RoPE requires an even rotary dimension, but got `head_dim`=5"),
        ({"head_dim": "6"}, "head_dim='6', not an integer from 1 to 65536, or null,"),
        ({"num_attention_heads": 3}, "not a multiple of the number of attention heads"),
        ({"attention_bias": None}, "attention_bias=None, not true or false"),
        ({"mlp_bias": 1}, "mlp_bias=1, not true or false"),
        ({"rms_norm_eps": 0}, "rms_norm_eps=0, not a number from 1e-20 to 1"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta=0, not a number from 2 to 1000000000"),
        ({"rope_parameters": None, "rope_theta": "1"}, "rope_theta='1', not a number from 2"),
        ({"hidden_act": "relu2"}, "activation 'relu2' is not supported"),
    ],
)
def test_what_cannot_be(llama, changes, said):
    folders.change(llama, **changes)
    assert said in refused_at_once(llama)
