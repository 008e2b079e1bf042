"""RMSNorm, rotary positions, gates, grouped heads, no biases: blocks against a NumPy reference."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.models import attention, block
from trainer.models.random import random_scope

B, T, D, H, F = 2, 5, 8, 4, 12
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
THETA, EPSILON = 20.0, 1e-2
ALL = {
    **{"norm_kind": "rms", "rotary_theta": THETA, "gated_ffn": True, "activation": "silu"},
    **{"kv_heads": 2, "attention_biases": False, "ffn_biases": False, "causal": True},
}
SETTINGS = {
    "rms": {"norm_kind": "rms"},
    "rotary": {"rotary_theta": THETA},
    "gated": {"gated_ffn": True, "activation": "silu"},
    "unbiased": {"attention_biases": False, "ffn_biases": False},
    "grouped": {"kv_heads": 2},
    "one key": {"kv_heads": 1, "causal": True, "window": 2},
    "wide heads": {"head_dim": 6, "rotary_theta": THETA},
    "unscaled": {"attention_scale": False, "head_dim": 6},
    "all": ALL,
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def made(dtype="float64", **settings) -> block.TransformerBlock:
    """A block with weights that hide nothing: no bias is 0, no scale is 1."""
    layer = block.TransformerBlock(H, F, epsilon=EPSILON, dtype=dtype, **settings)
    layer.build((B, T, D))
    for i, weight in enumerate(layer.weights):
        weight.assign(normal(*weight.shape, seed=i))
    return layer


# The reference: a head at a time.


def weights_of(layer) -> dict[str, np.ndarray]:
    """By the names that they have in checkpoints."""
    return {each.path.partition("/")[2]: each.numpy() for each in layer.weights}


def linear(weights, name, x):
    return x @ weights[f"{name}/kernel"] + weights.get(f"{name}/bias", 0)


def norm(weights, name, x):
    if f"{name}/beta" in weights:
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON)
    return x * weights[f"{name}/gamma"] + weights.get(f"{name}/beta", 0)


def turned(x_TK, positions_T, theta=THETA):
    """Each pair as a complex number, times e^(i position theta^(-2k/K))."""
    half = x_TK.shape[-1] // 2
    angles = np.array(
        [[t * theta ** (-2 * k / (2 * half)) for k in range(half)] for t in positions_T]
    )
    pairs = (x_TK[:, :half] + 1j * x_TK[:, half:]) * np.exp(1j * angles)
    return np.concatenate([pairs.real, pairs.imag], -1)


def mixed(weights, x_TD, seen_TT, settings):
    kv_heads = settings.get("kv_heads", H)
    width = settings.get("head_dim", D // H)
    query, key, value = (
        linear(weights, f"attention/{name}", x_TD) for name in ("query", "key", "value")
    )
    heads = []
    for h in range(H):
        g = h // (H // kv_heads)
        q, k, v = (
            part[:, i * width : (i + 1) * width] for part, i in ((query, h), (key, g), (value, g))
        )
        if settings.get("rotary_theta"):
            q, k = turned(q, range(T)), turned(k, range(T))
        scale = 1 / np.sqrt(width) if settings.get("attention_scale", True) else 1
        scores = np.exp(q @ k.T * scale) * seen_TT
        heads.append(scores / scores.sum(-1, keepdims=True) @ v)
    return linear(weights, "attention/output_projection", np.concatenate(heads, -1))


def fed_forward(weights, x, settings):
    def activated(h):
        if settings.get("activation") == "silu":
            return h / (1 + np.exp(-h))
        return h * 0.5 * (1 + tf.math.erf(h / np.sqrt(2)).numpy())

    hidden = linear(weights, "ffn_in", x)
    if settings.get("gated_ffn"):
        hidden = hidden * activated(linear(weights, "ffn_gate", x))
    else:
        hidden = activated(hidden)
    return linear(weights, "ffn_out", hidden)


def reference(weights, x_BTD, settings, pre):
    """The block by its formulas: [B, T, D]."""
    places, rows = np.arange(T), []
    for x, mask in zip(x_BTD, MASK, strict=True):
        seen = np.tile(mask, (T, 1))
        if settings.get("causal"):
            seen = seen * (places <= places[:, None])
        if settings.get("window"):
            seen = seen * (places >= places[:, None] - settings["window"])
        if pre:
            x = x + mixed(weights, norm(weights, "attention_norm", x), seen, settings)
            x = x + fed_forward(weights, norm(weights, "ffn_norm", x), settings)
        else:
            x = norm(weights, "attention_norm", x + mixed(weights, x, seen, settings))
            x = norm(weights, "ffn_norm", x + fed_forward(weights, x, settings))
        rows.append(x)
    return np.stack(rows)


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("name", SETTINGS)
def test_block_and_its_gradients_are_those_of_the_reference(name, order):
    """Gradients along a random direction of each tensor, against central differences."""
    settings, pre = SETTINGS[name], order == "pre"
    layer, x, upstream = made(norm=order, **settings), normal(B, T, D, seed=50), normal(B, T, D)
    variables = layer.trainable_variables
    with tf.GradientTape() as tape:
        given = tf.constant(x)
        tape.watch(given)
        output = layer(given, MASK)
        total = tf.reduce_sum(output * upstream)
    weights = weights_of(layer)
    real = MASK.astype(bool)
    expected = reference(weights, x, settings, pre)
    np.testing.assert_allclose(output.numpy()[real], expected[real], rtol=1e-11, atol=1e-11)

    whole = {"x": x, **weights}
    found = tape.gradient(total, [given, *variables])
    for (tensor, value), gradient in zip(whole.items(), found, strict=True):
        direction = normal(*value.shape, seed=60)

        def at(step, tensor=tensor, value=value, direction=direction):
            changed = whole | {tensor: value + step * direction}
            return (reference(changed, changed["x"], settings, pre) * upstream).sum()

        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        np.testing.assert_allclose(
            np.sum(gradient * direction), slope, rtol=1e-6, atol=1e-6, err_msg=tensor
        )


def test_names_and_shapes_of_its_parameters():
    shapes = {name: value.shape for name, value in weights_of(made(**ALL)).items()}
    assert shapes == {
        "attention/query/kernel": (D, D),
        "attention/key/kernel": (D, D // 2),
        "attention/value/kernel": (D, D // 2),
        "attention/output_projection/kernel": (D, D),
        "attention_norm/gamma": (D,),
        "ffn_in/kernel": (D, F),
        "ffn_gate/kernel": (D, F),
        "ffn_norm/gamma": (D,),
        "ffn_out/kernel": (F, D),
    }


@pytest.mark.parametrize(("dtype", "order"), [("mixed_float16", "post"), ("mixed_bfloat16", "pre")])
def test_in_half_precision_it_is_near_and_masked_rows_are_finite(dtype, order):
    layer, exact = made(dtype, norm=order, **ALL), made("float32", norm=order, **ALL)
    for one in (layer, exact):
        for weight in one.weights:
            weight.assign(weight * 0.3)
    mask = MASK * [[1], [0]]
    x = tf.constant(normal(B, T, D), "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, mask)
        total = tf.reduce_sum(tf.cast(output, tf.float32))
    assert output.dtype == dtype.removeprefix("mixed_")
    np.testing.assert_allclose(tf.cast(output, tf.float32), exact(x, mask), rtol=0.05, atol=0.05)
    for value in tape.gradient(total, [x, *layer.trainable_variables]):
        assert np.isfinite(value).all()


def test_rotary_positions_say_distances_only():
    layer, x = made(rotary_theta=THETA), normal(B, T, D)
    positions = np.tile(np.arange(T), (B, 1))
    here = layer(x, MASK, positions_BT=positions)
    np.testing.assert_array_equal(here, layer(x, MASK))
    np.testing.assert_allclose(layer(x, MASK, positions_BT=positions + 7), here, atol=1e-12)
    assert np.abs(layer(x, MASK, positions_BT=2 * positions) - here).max() > 0.01


def test_angles_of_late_positions_are_exact_in_half_precision():
    """bfloat16 holds no integer between 4,096 and 4,112."""
    x = tf.ones([1, 1, 1, 4], tf.bfloat16)
    late = attention.rotate(x, tf.constant([[4099]]), 10_000.0)
    expected = turned(np.ones([1, 4]), [4099], 10_000.0)
    np.testing.assert_allclose(tf.cast(late, tf.float64)[0, 0], expected, atol=0.01)


@pytest.mark.long
def test_recomputed_it_has_the_same_gradients():
    layer = made(norm="pre", attention_dropout=0.2, ffn_output_dropout=0.2, **ALL)
    x, zero = tf.constant(normal(B, T, D)), tf.constant(0, tf.int64)

    @tf.function(autograph=False)
    def gradients(again):
        with random_scope(0, zero, zero), tf.GradientTape() as tape:
            tape.watch(x)
            if again:
                output = block.recomputed(layer, x, attention_mask=MASK)
            else:
                output = layer(x, MASK, training=True)
            return tape.gradient(output, [x, *layer.trainable_variables])

    for ours, plain in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-10, atol=1e-10)
