"""Layers against Keras, NumPy and their limits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.models import attention, block, layers
from trainer.models.random import random_scope

B, T, S, D, H = 3, 6, 5, 8, 2
K = D // H
LENGTHS = np.array([6, 4, 1])


def _normal(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def _mask(length):
    """[B, length], 1 at real tokens; the last row has one."""
    return (np.arange(length) < LENGTHS[:, None]).astype(np.int32)


def _pair(causal=False, cross=False, window=0):
    """Our attention and Keras's, with the same random weights."""
    ours = attention.MultiHeadAttention(H, causal=causal, window=window)
    ours.build((B, T, D), (B, S, D) if cross else None)
    theirs = keras.layers.MultiHeadAttention(H, K)
    theirs.build((B, T, D), (B, S, D) if cross else (B, T, D))
    for i, weight in enumerate(ours.weights):
        weight.assign(_normal(*weight.shape, seed=10 + i))
    shapes = {"query": (D, H, K), "key": (D, H, K), "value": (D, H, K)}
    for name, shape in shapes.items():
        kernel, bias = getattr(ours, name).get_weights()
        inner = getattr(theirs, f"{name}_dense")
        inner.set_weights([kernel.reshape(shape), bias.reshape(H, K)])
    kernel, bias = ours.output_projection.get_weights()
    theirs.output_dense.set_weights([kernel.reshape(H, K, D), bias])
    return ours, theirs


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_self_attention_is_that_of_keras(causal, padded):
    ours, theirs = _pair(causal)
    x = _normal(B, T, D)
    mask = _mask(T) if padded else None
    output, scores = ours(x, attention_mask=mask, return_scores=True)
    theirs_mask = None if mask is None else np.repeat(mask[:, None, :], T, 1)
    expected = theirs(
        x, x, attention_mask=theirs_mask, use_causal_mask=causal, return_attention_scores=True
    )
    np.testing.assert_allclose(output, expected[0], atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)
    np.testing.assert_allclose(np.sum(scores, -1), 1, rtol=1e-6)
    if causal:
        assert not np.triu(scores, 1).any()
    if padded:
        assert not np.any(np.where(mask[:, None, None, :] == 0, scores, 0))
    np.testing.assert_array_equal(ours(x, attention_mask=mask), output)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 2])
def test_a_window_is_a_mask_of_keras(causal, window):
    ours, theirs = _pair(causal, window=window)
    x, place = _normal(B, T, D), np.arange(T)
    near = np.abs(place[:, None] - place) <= window
    assert 0 < near.sum() < T * T
    expected = theirs(x, x, attention_mask=near[None], use_causal_mask=causal)
    np.testing.assert_allclose(ours(x), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_cross_attention_is_that_of_keras(padded):
    ours, theirs = _pair(cross=True)
    x, memory = _normal(B, T, D), _normal(B, S, D, seed=1)
    mask = _mask(S) if padded else None
    output, scores = ours(x, memory, attention_mask=mask, return_scores=True)
    theirs_mask = None if mask is None else np.repeat(mask[:, None, :], T, 1)
    expected = theirs(x, memory, attention_mask=theirs_mask, return_attention_scores=True)
    assert scores.shape == (B, H, T, S)
    np.testing.assert_allclose(output, expected[0], atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)


def test_a_boolean_mask_is_the_mask_of_0_and_1():
    ours, _ = _pair()
    x = _normal(B, T, D)
    np.testing.assert_array_equal(
        ours(x, attention_mask=_mask(T) > 0), ours(x, attention_mask=_mask(T))
    )


def test_scores_are_those_before_dropout():
    ours = attention.MultiHeadAttention(H, dropout=0.5)
    x = _normal(B, T, D)
    with random_scope(0, tf.constant(0), tf.constant(0)):
        output, scores = ours(x, training=True, return_scores=True)
    plain, plain_scores = ours(x, return_scores=True)
    np.testing.assert_array_equal(scores, plain_scores)
    assert not np.allclose(output, plain)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_masked_rows_are_finite_forward_and_backward(dtype, norm):
    """A row without a single real token too: nothing may become NaN."""
    policy = dtype if dtype in ("float32", "float64") else f"mixed_{dtype}"
    layer = block.TransformerBlock(H, 16, norm=norm, causal=True, dtype=policy)
    mask = _mask(T)
    mask[2] = 0
    x = tf.constant(100 * _normal(B, T, D), dtype)
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, mask)
        pooled = [layers.Pooling(kind, dtype=policy)(output, mask) for kind in ("mean+max", "cls")]
        total = tf.add_n([tf.reduce_sum(tf.cast(p, tf.float32)) for p in pooled])
    assert output.dtype == dtype
    for value in (output, *pooled, *tape.gradient(total, [x, *layer.trainable_variables])):
        assert np.isfinite(tf.cast(value, tf.float64)).all()


def _norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
def test_block_is_its_formula(norm, activation):
    layer = block.TransformerBlock(H, 16, activation, norm, dtype="float64")
    x = _normal(B, T, D, dtype="float64")
    layer.build(x.shape)
    for i, weight in enumerate(layer.weights):
        if "norm" not in weight.path:
            weight.assign(_normal(*weight.shape, seed=i))

    def feed_forward(y):
        kernel, bias = layer.ffn_in.get_weights()
        hidden = y @ kernel + bias
        act = {
            "relu": lambda h: np.maximum(h, 0),
            "gelu": lambda h: h * 0.5 * (1 + tf.math.erf(h / np.sqrt(2)).numpy()),
            "gelu_tanh": lambda h: (
                0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
            ),
            "silu": lambda h: h / (1 + np.exp(-h)),
        }[activation]
        kernel, bias = layer.ffn_out.get_weights()
        return act(hidden) @ kernel + bias

    def attend(y):
        return layer.attention(y, attention_mask=_mask(T)).numpy()

    if norm == "post":
        middle = _norm(x + attend(x))
        expected = _norm(middle + feed_forward(middle))
    else:
        middle = x + attend(_norm(x))
        expected = middle + feed_forward(_norm(middle))
    output, scores = layer(x, _mask(T), return_scores=True)
    np.testing.assert_allclose(output, expected, rtol=1e-12, atol=1e-12)
    assert scores.shape == (B, H, T, T)


# Embeddings


def test_sinusoids_are_their_formula():
    table = layers.sinusoids(50, 12)
    assert table.dtype == np.float64
    for t in (0, 1, 7, 49):
        for i in range(6):
            angle = t / 10000 ** (2 * i / 12)
            np.testing.assert_allclose(table[t, 2 * i], np.sin(angle), atol=1e-12)
            np.testing.assert_allclose(table[t, 2 * i + 1], np.cos(angle), atol=1e-12)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "none"])
def test_embedding_adds_token_and_position(positions):
    layer = layers.TokenAndPositionEmbedding(20, 9, D, positions, position_scale=3.0)
    ids = np.array([[3, 3, 5], [5, 0, 3]])
    x = layer(ids).numpy()
    at = {
        # Of the size of new token vectors: a sinusoid's root mean square is 1/sqrt(2).
        "sinusoidal": lambda: layers.sinusoids(9, D) * np.sqrt(2) * layers.TOKEN_DEVIATION * 3,
        "learned": lambda: layer.positions.get_weights()[0],
        "none": lambda: np.zeros((9, D)),
    }[positions]()
    expected = layer.tokens.get_weights()[0][ids] + at[:3]
    np.testing.assert_allclose(x, expected, atol=1e-6)
    assert (positions == "learned") == any("positions" in w.path for w in layer.trainable_weights)


def test_embedding_adds_token_types_and_normalises():
    layer = layers.TokenAndPositionEmbedding(20, 9, D, "none", token_types=2, norm="layer")
    ids, types = np.array([[3, 3, 5]]), np.array([[0, 1, 1]])
    x = layer(ids, types).numpy()
    expected = layer.tokens.get_weights()[0][ids] + layer.types.get_weights()[0][types]
    np.testing.assert_allclose(x, _norm(expected.astype(np.float64)), rtol=1e-3, atol=1e-4)


def test_a_position_beyond_the_table_is_an_error():
    layer = layers.TokenAndPositionEmbedding(20, 4, D, "learned")
    layer.build((1, 4))
    with pytest.raises(tf.errors.InvalidArgumentError):
        layer(np.zeros((1, 5), np.int32))


# Pooling


def test_pooling_sees_only_real_tokens():
    x, mask = _normal(B, T, D), _mask(T)
    rows = [x[i, :length] for i, length in enumerate(LENGTHS)]
    mean = np.stack([row.mean(0) for row in rows])
    largest = np.stack([row.max(0) for row in rows])
    expected = {
        "mean": mean,
        "max": largest,
        "mean+max": np.concatenate([mean, largest], -1),
        "cls": x[:, 0],
    }
    for kind, value in expected.items():
        pooling = layers.Pooling(kind)
        np.testing.assert_allclose(pooling(x, mask), value, rtol=1e-5, atol=1e-6)
        hidden = np.where(mask[..., None] == 0, 1e4, x)  # what stands there does not matter
        np.testing.assert_array_equal(pooling(hidden, mask), pooling(x, mask))


@pytest.mark.parametrize("kind", ["mean", "max", "mean+max", "cls"])
def test_a_row_of_one_token_is_that_token(kind):
    x = _normal(1, T, D)
    pooled = layers.Pooling(kind)(x, np.array([[1] + [0] * (T - 1)])).numpy()
    np.testing.assert_allclose(pooled, np.tile(x[:, 0], 2 if kind == "mean+max" else 1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "max", "mean+max"])
def test_a_row_without_a_token_is_zero(kind):
    pooled = layers.Pooling(kind)(_normal(1, T, D), np.zeros((1, T), np.int32))
    assert not np.any(pooled)


def test_tokens_are_not_pooled():
    x = _normal(B, T, D)
    np.testing.assert_array_equal(layers.Pooling("tokens")(x, _mask(T)), x)
    assert layers.Pooling("tokens").parts == 1


def test_max_pooling_of_negative_numbers():
    x = np.full((1, 3, D), -5.0, np.float32)
    np.testing.assert_array_equal(layers.Pooling("max")(x, np.array([[1, 1, 0]])), x[:, 0])


@pytest.mark.long
def test_xla_does_not_undo_the_recomputation():
    """As its control dependencies would let it: both times it computes, and draws, the same."""
    one = block.TransformerBlock(H, 2 * D, attention_dropout=0.1, ffn_output_dropout=0.1)
    x, mask = tf.constant(_normal(B, T, D)), tf.constant(_mask(T))
    one(x, attention_mask=mask)

    def operations(apply) -> tuple[int, int]:
        @tf.function(jit_compile=True)
        def gradients(x, mask, step):
            values = [each.value for each in one.trainable_variables]
            with random_scope(0, step, tf.constant(0, tf.int64)), tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(apply(x, mask) ** 2)
                return tape.gradient(loss, [x, *values])

        step = tf.constant(1, tf.int64)
        hlo = gradients.experimental_get_compiler_ir(x, mask, step)(stage="optimized_hlo")
        return hlo.count(" dot(") + hlo.count("__onednn$matmul"), hlo.count(" xor(")

    kept, drawn = operations(lambda x, mask: one(x, attention_mask=mask, training=True))
    again, drawn_again = operations(lambda x, mask: block.recomputed(one, x, attention_mask=mask))
    assert again == kept + 6 + 2 * 2  # and two sums in each norm
    assert drawn_again == 2 * drawn > 0  # Philox consists of them
