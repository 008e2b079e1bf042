"""Relative positions: buckets, the stack's learned bias, and its gradient, in T5's encoder."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.models import relative
from trainer.models.architecture import Architecture, Head
from trainer.models.encoder import Encoder
from trainer.models.random import random_scope

VOCAB, D, H, K, F, T = 20, 8, 2, 6, 12, 9  # heads x K is not D
BUCKETS, DISTANCE, EPSILON = 8, 6, 1e-3
IDS = np.random.default_rng(0).integers(1, VOCAB, [4, T])
MASK = (np.arange(T) >= [[0], [3], [0], [1]]) & (np.arange(T) < [[9], [9], [4], [8]])
T5 = {
    **{"vocab_size": VOCAB, "max_length": T, "width": D, "depth": 2, "heads": H, "head_dim": K},
    **{"ffn_width": F, "head": Head("mean"), "activation": "relu", "norm": "pre"},
    **{"norm_kind": "rms", "epsilon": EPSILON, "embedding_norm": False, "positions": "relative"},
    **{"relative_buckets": BUCKETS, "relative_distance": DISTANCE, "attention_scale": False},
    **{"attention_biases": False, "ffn_biases": False},
    **{"dropout": 0.0, "attention_dropout": 0.0, "embedding_dropout": 0.0},
}


def made(dtype="float64", **changes) -> Encoder:
    """An encoder with weights that hide nothing."""
    encoder = Encoder(Architecture(**{**T5, **changes}), name="encoder", dtype=dtype)
    encoder.build((None, None))
    for i, weight in enumerate(encoder.weights):
        weight.assign(0.5 * np.random.default_rng(i).normal(size=weight.shape))
    return encoder


def plain(weights, causal: bool):
    """T5's encoder (or a decoder without memory) by its formulas, and its probabilities."""
    apart = np.arange(T) - np.arange(T)[:, None]
    buckets = [[bucket(int(n), causal) for n in row] for row in apart]
    bias_HTT = tf.transpose(tf.gather(weights["relative_bias/embeddings"], buckets), [2, 0, 1])
    unseen = np.where(MASK[:, None, None] & ((apart <= 0) if causal else True), 0, -1e9)

    def norm(x, name):
        root = tf.sqrt(tf.reduce_mean(x**2, -1, keepdims=True) + EPSILON)
        return x / root * weights[f"{name}/gamma"]

    def heads(x):
        return tf.transpose(tf.reshape(x, [-1, T, H, K]), [0, 2, 1, 3])

    x, seen = tf.gather(weights["embeddings/tokens/embeddings"], IDS), []
    for i in range(2):
        at = f"block_{i}"
        kernel = {
            name: weights[f"{at}/{name}/kernel"]
            for name in ("ffn_in", "ffn_out", *(f"attention/{n}" for n in ATTENTION))
        }
        normal = norm(x, f"{at}/attention_norm")
        q, k, v = (heads(normal @ kernel[f"attention/{name}"]) for name in ATTENTION[:3])
        seen.append(tf.nn.softmax(q @ tf.linalg.matrix_transpose(k) + bias_HTT + unseen))
        mixed = tf.reshape(tf.transpose(seen[-1] @ v, [0, 2, 1, 3]), [-1, T, H * K])
        x += mixed @ kernel["attention/output_projection"]
        x += tf.nn.relu(norm(x, f"{at}/ffn_norm") @ kernel["ffn_in"]) @ kernel["ffn_out"]
    return norm(x, "final_norm"), seen


ATTENTION = ("query", "key", "value", "output_projection")


def bucket(apart: int, causal: bool) -> int:
    """The rule of the paper's appendix, for one distance of eight buckets."""
    behind = 0 if causal or apart <= 0 else 4
    steps = max(-apart, 0) if causal else abs(apart)
    # Four buckets for 0 to 3, then 4 to 6 on a scale of logarithms; or two for 0 and 1.
    ends = [1, 2, 3, 4, 4.43, 4.90, 5.43] if causal else [1, 2, 3.47]
    return behind + sum(steps >= end for end in ends)


@pytest.mark.parametrize("causal", [False, True])
def test_states_probabilities_and_gradients_are_those_of_the_formulas(causal):
    encoder, upstream = made(causal=causal), np.random.default_rng(9).normal(size=[4, T, D])
    upstream *= MASK[..., None]
    weights = {each.path.partition("/")[2]: each.value for each in encoder.weights}

    @tf.function(autograph=False)
    def gradients(recompute):
        zero = tf.constant(0, tf.int64)
        with random_scope(0, zero, zero), tf.GradientTape() as tape:
            x = encoder(IDS, MASK, training=recompute, recompute=recompute)
            found = tape.gradient(x, encoder.trainable_variables, upstream)
            return x, [tf.convert_to_tensor(each) for each in found]

    with tf.GradientTape() as tape:
        expected, probabilities = plain(weights, causal)
    slopes = tape.gradient(expected, list(weights.values()), upstream)
    slopes = [tf.convert_to_tensor(each).numpy() for each in slopes]
    assert np.std(slopes[list(weights).index("relative_bias/embeddings")]) > 1e-3
    _, scores = encoder(IDS, MASK, return_scores=True)
    for ours, theirs in zip(scores, probabilities, strict=True):
        rows = np.broadcast_to(MASK[:, None, :, None], theirs.shape)
        np.testing.assert_allclose(ours.numpy()[rows], theirs.numpy()[rows], atol=1e-12)
    for recompute in (False, True):
        x, found = gradients(recompute)
        np.testing.assert_allclose(x[MASK], expected[MASK], rtol=1e-11, atol=1e-11)
        for ours, theirs, name in zip(found, slopes, weights, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.long
@pytest.mark.parametrize("recompute", [False, True])
def test_with_dropout_micro_batches_add_up_to_the_batch(recompute):
    encoder = made(dropout=0.2, attention_dropout=0.2, embedding_dropout=0.2)

    @tf.function(autograph=False)
    def gradients(ids, mask, start):
        with random_scope(0, tf.constant(3, tf.int64), start), tf.GradientTape() as tape:
            x = encoder(ids, mask, training=True, recompute=recompute)
            total = tf.reduce_sum(x**2 * tf.cast(mask, x.dtype)[..., None])
            found = tape.gradient(total, encoder.trainable_variables)
        return [tf.convert_to_tensor(each) for each in found]

    whole, *parts = (
        gradients(tf.constant(IDS[rows]), tf.constant(MASK[rows]), tf.constant(rows.start, "int64"))
        for rows in (slice(0, 4), slice(0, 1), slice(1, 4))
    )
    for ours, *of_parts in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(ours, sum(of_parts), rtol=1e-10, atol=1e-11)


def test_padding_on_the_left_changes_no_state():
    encoder, ids, ones = made(), IDS[:1, :5], np.ones([1, 5], int)
    padded = np.pad(ids, [[0, 0], [3, 1]]), np.pad(ones, [[0, 0], [3, 1]])
    np.testing.assert_allclose(encoder(*padded)[:, 3:8], encoder(ids, ones), atol=1e-12)


def test_it_begins_without_a_preference_and_is_in_float32_in_half_precision():
    fresh = Encoder(Architecture(**T5), name="encoder", dtype="mixed_bfloat16")
    fresh.build((None, None))
    bias = fresh.relative_bias(tf.range(2), tf.range(3))
    assert (bias.dtype, bias.shape) == (tf.float32, (H, 2, 3))
    assert not np.any(bias)
    assert fresh.relative_bias.embeddings.path == "encoder/relative_bias/embeddings"


def test_queries_without_a_scale_begin_smaller():
    fresh = Encoder(Architecture(**{**T5, "width": 128, "head_dim": 64}), name="encoder")
    fresh.build((None, None))
    deviation = np.std(fresh.blocks[0].attention.query.kernel)
    np.testing.assert_allclose(deviation, (128 * 64) ** -0.5, rtol=0.03)


def test_buckets_grow_with_the_distance():
    apart = np.arange(-300, 301)
    both, before = (relative.bucket_of(apart, 32, 128, causal) for causal in (False, True))
    assert both.dtype == np.int32
    assert {*both, 16} == set(before) == set(range(32))  # 16: of distance 0 in one direction
    np.testing.assert_array_equal(both[300:309], [0, *range(17, 24), 24])
    np.testing.assert_array_equal(before[284:], [*range(16, 0, -1), *[0] * 301])
    for found in (both[300::-1], both[301:], before[300::-1]):
        assert np.all(np.diff(found) >= 0)
        assert found[127] == found[-1] == max(found)  # distance 127 or 128
