"""Keys and values that are kept: new tokens come out as if all had been encoded at once."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.models.architecture import Architecture, Head
from trainer.models.encoder import Encoder

VOCAB, D, SLOTS = 30, 8, 12
PROMPTS, NEW = np.array([1, 4, 6]), 4  # lengths of the rows; tokens that follow one by one
LARGEST = {"float32": 1e-5, "float64": 1e-10}  # difference


def encoder(dtype="float32", **changes) -> Encoder:
    """A decoder of two layers, whose weights are far from 0."""
    fields = {
        **{"vocab_size": VOCAB, "max_length": SLOTS, "width": D, "depth": 2, "heads": 4},
        **{"ffn_width": 12, "head": Head("last"), "norm": "pre", "causal": True},
    }
    made = Encoder(Architecture(**{**fields, **changes}), name="encoder", dtype=dtype)
    made.build((None, None))
    for i, weight in enumerate(made.weights):
        weight.assign(0.5 * np.random.default_rng(i).normal(size=weight.shape))
    return made


def texts() -> np.ndarray:
    """Ids, padded on the left to the longest prompt: [rows, 6 + NEW]."""
    ids = np.random.default_rng(1).integers(1, VOCAB, [len(PROMPTS), max(PROMPTS) + NEW])
    return np.where(np.arange(ids.shape[1]) < (max(PROMPTS) - PROMPTS)[:, None], 0, ids)


def whole(made: Encoder, ids: np.ndarray) -> list[np.ndarray]:
    """Each row alone, without padding and without a cache."""
    rows = [row[max(PROMPTS) - length :][None] for row, length in zip(ids, PROMPTS, strict=True)]
    return [made(row, np.ones_like(row))[0].numpy() for row in rows]


def by_and_by(made: Encoder, ids: np.ndarray) -> list[np.ndarray]:
    """The prompts at once, then a token at a time in a loop of the graph."""
    start, end = int(max(PROMPTS)), ids.shape[1]
    mask_BS = np.zeros([len(ids), SLOTS], np.int32)
    mask_BS[:, :end] = ids > 0
    positions_BS = np.maximum(np.cumsum(mask_BS, 1) - 1, 0).astype(np.int32)

    def encode(at, new, cache):
        places = slice(at, at + new)
        return made(
            tf.constant(ids, tf.int32)[:, places],
            mask_BS,
            cache=cache,
            at=at,
            positions_BT=tf.constant(positions_BS)[:, places],
        )

    def step(at, found, cache):
        vectors_BTD, cache = encode(at, 1, cache)
        return at + 1, found.write(at - start, vectors_BTD[:, 0]), cache

    @tf.function(autograph=False)
    def follow(cache):
        found = tf.TensorArray(made.compute_dtype, end - start)
        _, found, _ = tf.while_loop(lambda at, *_: at < end, step, (start, found, cache))
        return tf.transpose(found.stack(), [1, 0, 2])

    first, cache = encode(0, start, made.new_cache(len(ids), SLOTS))
    found = np.concatenate([first, follow(cache)], 1)
    return [row[start - length :] for row, length in zip(found, PROMPTS, strict=True)]


DECODERS = {
    "learned": {"position_offset": 2},
    "sinusoidal": {"norm": "post", "attention_window": 2},
    "none": {"shared": True, "embedding_width": 4},
    "relative": {
        **{"relative_buckets": 6, "relative_distance": 5, "kv_heads": 2, "attention_window": 4},
        **{"attention_scale": False, "head_dim": 3, "attention_biases": False},
    },
    "rotary": {
        **{"rotary_theta": 50.0, "kv_heads": 2, "norm_kind": "rms", "gated_ffn": True},
        **{"ffn_biases": False, "head_dim": 6},
    },
}
QUICK = {("learned", "float32"), ("sinusoidal", "float64"), ("rotary", "float32")}
QUICK |= {("relative", "float64")}
CASES = [
    pytest.param(name, dtype, marks=() if (name, dtype) in QUICK else pytest.mark.long)
    for name in DECODERS
    for dtype in LARGEST
]


@pytest.mark.parametrize(("positions", "dtype"), CASES)
def test_cached_is_uncached_at_any_length(positions, dtype):
    changes = {"positions": positions, **DECODERS[positions]}
    made, ids = encoder(dtype, **changes), texts()
    for ours, expected in zip(by_and_by(made, ids), whole(made, ids), strict=True):
        assert ours.shape == expected.shape
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(ours, expected, rtol=0, atol=LARGEST[dtype])


@pytest.mark.long
def test_in_half_precision_it_is_as_wide_as_the_encoder():
    made = encoder("mixed_bfloat16")
    cache = made.new_cache(3, SLOTS)
    assert {(each.dtype, *each.shape) for each in tf.nest.flatten(cache)} == {
        (tf.bfloat16, 3, 4, SLOTS, 2)
    }
    ids = texts()
    for ours, expected in zip(by_and_by(made, ids), whole(made, ids), strict=True):
        np.testing.assert_allclose(ours.astype(float), expected.astype(float), rtol=0, atol=0.1)


def test_without_a_causal_mask_there_is_no_cache():
    made = encoder(causal=False)
    ones = tf.ones([1, 1], tf.int32)
    with pytest.raises(ValueError, match="a cache needs a causal mask"):
        made(ones, ones, cache=made.new_cache(1, 1), positions_BT=0 * ones)
