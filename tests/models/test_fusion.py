"""Chains of operations: compiled or not, the same values and the gradients of their formulas."""

import re

import numpy as np
import pytest
import tensorflow as tf

from trainer.models import attention, fusion

B, T, D, H = 2, 5, 8, 2
SHARE = 64 / 256


def _normal(*shape, seed, dtype):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)


def _random(*shape):
    return tf.constant(np.random.default_rng(9).integers(0, 256, shape), tf.uint8)


def _chains(dtype):
    """Every chain with its tensors and settings."""
    x, y = (_normal(B, T, D, seed=seed, dtype=dtype) for seed in (1, 2))
    wide = fusion.statistics_dtype(dtype)
    bias = _normal(D, seed=3, dtype=dtype)
    weights = [_normal(D, seed=seed, dtype=wide) for seed in (4, 5)]
    sums = (x, y, bias, _random(B, T, D))
    yield fusion.drop, (x, sums[3]), {"share": SHARE}
    for name in fusion.ACTIVATIONS:
        yield fusion.activate, (x, bias), {"activation": name}
    yield fusion.activate, (x,), {"activation": "silu"}
    yield fusion.gate, (x, y), {"activation": "silu"}
    yield fusion.gate, (x, y, bias, 2 * bias), {"activation": "gelu"}
    yield fusion.activate, (x, bias, sums[3]), {"activation": "relu", "share": SHARE}
    yield fusion.gate, (x, y, sums[3]), {"activation": "gelu_tanh", "share": SHARE}
    yield fusion.residual, (x, y, bias), {"share": SHARE}
    yield fusion.residual, sums, {"share": SHARE}
    yield fusion.residual, (x, y), {"share": SHARE, "biased": False}
    yield fusion.residual, (x, y, sums[3]), {"share": SHARE, "biased": False}
    yield fusion.norm, (x, *weights), {"epsilon": 1e-6}
    yield fusion.rms_norm, (x, weights[0]), {"epsilon": 1e-6}
    yield fusion.residual_norm, (*sums[:3], *weights, sums[3]), {"share": SHARE, "epsilon": 1e-6}


CHAINS = [
    *("drop", *fusion.ACTIVATIONS, "silu_unbiased", "gate", "gate_biased", "activate_dropped"),
    *("gate_dropped", "residual", "dropped"),
    *("residual_unbiased", "dropped_unbiased", "norm", "rms_norm", "residual_norm"),
]


def _run(number: int, dtype: str, on: bool) -> list[np.ndarray]:
    """The value of a chain, and its gradients for one of the value."""
    chain, tensors, settings = list(_chains(dtype))[number]
    upstream = _normal(B, T, D, seed=6, dtype=dtype)

    @tf.function
    def call(*tensors):
        floating = [each for each in tensors if each.dtype.is_floating]
        with fusion.fusing(on), tf.GradientTape() as tape:
            tape.watch(floating)
            value = fusion.fuse(chain, *tensors, **settings)
        return [value, *tape.gradient(value, floating, output_gradients=upstream)]

    return [tf.cast(each, tf.float64).numpy() for each in call(*tensors)]


@pytest.mark.parametrize("number", range(len(CHAINS)), ids=CHAINS)
def test_compiled_it_is_the_same(number):
    for ours, plain in zip(*(_run(number, "float64", on) for on in (True, False)), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("number", range(len(CHAINS)), ids=CHAINS)
def test_in_bfloat16_it_is_rounded_once(number, on):
    """Sums over rows, in the gradients of vectors, are rounded as often as they are long."""
    ours, exact = _run(number, "bfloat16", on), _run(number, "float32", False)
    np.testing.assert_allclose(ours[0], exact[0], rtol=0.02, atol=0.03)
    for mine, theirs in zip(ours[1:], exact[1:], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("number", range(len(CHAINS)), ids=CHAINS)
def test_the_sums_of_gpus_are_those_of_cpus(monkeypatch, number):
    expected = _run(number, "float64", False)
    monkeypatch.setattr(fusion, "on_gpu", lambda: True)
    for ours, theirs in zip(_run(number, "float64", False), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("how", ["chains", "step"])
@pytest.mark.parametrize("number", range(len(CHAINS)), ids=CHAINS)
def test_compiled_rows_are_summed_by_no_product(number, how):
    """XLA merges one of few rows with what makes them, which is then made a number at a time."""
    chain, tensors, settings = list(_chains("float32"))[number]

    @tf.function(jit_compile=True)
    def step(upstream, *tensors):
        floating = [each for each in tensors if each.dtype.is_floating]
        with fusion.compiling(True), tf.GradientTape() as tape:
            tape.watch(floating)
            value = fusion.fuse(chain, *tensors, **settings)
            return tape.gradient(value, floating, output_gradients=upstream)

    backward = fusion._backward(chain, tuple(sorted(settings.items()))) if how == "chains" else step
    compiled = backward.experimental_get_compiler_ir(tensors[0], *tensors)(stage="optimized_hlo")
    shapes = re.findall(r" = (\S+?)(?:\{\S*)? dot\(", compiled)
    assert len(shapes) == compiled.count("dot(")
    norms = (fusion.norm, fusion.rms_norm, fusion.residual_norm)
    assert bool(shapes) == (chain in norms)
    assert set(shapes) <= {f"f32[{B * T}]"}  # the sum of each row: of its D numbers


def test_one_trace_for_all_layers_and_shapes():
    """A chain that was compiled once for each layer would be compiled again and again."""
    chain = fusion._forward(fusion.activate, (("activation", "relu"),), True)
    before = chain.experimental_get_tracing_count()

    @tf.function(input_signature=[tf.TensorSpec([None, None, D])] * 2)
    def call(x, upstream):
        bias = tf.zeros([D])
        with fusion.fusing(True), tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(3):
                y = fusion.fuse(fusion.activate, y, bias, activation="relu")
        return tape.gradient(y, x, output_gradients=upstream)

    for rows in (2, 3):
        ones = tf.ones([rows, T, D])
        call(ones, ones)
    assert chain.experimental_get_tracing_count() - before == 1


def test_it_is_not_compiled_outside():
    graph = tf.function(lambda x: fusion.fuse(fusion.norm, x, x[0], x[0], epsilon=1e-6))
    concrete = graph.get_concrete_function(tf.ones([2, D]))
    assert "XlaMustCompile" not in str(concrete.graph.as_graph_def())


# Attention


SEEN = np.arange(T) < np.arange(T - B + 1, T + 1)[:, None]  # [B, T]: the last row's are all


def _attention(
    dtype: str, on: bool, dropout: bool, groups: int, relative: bool, reference: bool
) -> list[np.ndarray]:
    """The mixed values and their gradients, of the learned bias too where there is one."""
    query, upstream = (_normal(B, H, T, D, seed=seed, dtype=dtype) for seed in range(2))
    key, value = (_normal(B, groups, T, D, seed=seed, dtype=dtype) for seed in (2, 3))
    random = _random(B, H, T, T)
    band = tf.constant(np.triu(np.full([T, T], -1e9), 1), dtype)

    wide = fusion.statistics_dtype(dtype)
    learned = [_normal(H, T, T, seed=4, dtype=wide)] if relative else []

    def plain(query, key, value, *learned):
        key, value = (tf.repeat(each, H // groups, axis=1) for each in (key, value))
        hidden = tf.where(SEEN[:, None, None], tf.constant(0, query.dtype), -1e9)
        scores = tf.matmul(query, key, transpose_b=True) + band + hidden
        probabilities = tf.nn.softmax(scores + learned[0] if relative else scores)
        if dropout:
            probabilities = tf.where(random >= 64, probabilities / (1 - SHARE), 0)
        return tf.matmul(probabilities, value)

    def ours(query, key, value, *learned):
        drawn = [random] if dropout else []
        bias = learned[0] if relative else None
        return attention.attend((query, key, value), SEEN, band, bias, *drawn, share=SHARE)

    @tf.function
    def call(*tensors):
        with tf.GradientTape() as tape, fusion.fusing(on):
            tape.watch(tensors)
            mixed = (plain if reference else ours)(*tensors)
            return [mixed, *tape.gradient(mixed, tensors, output_gradients=upstream)]

    return [tf.cast(each, tf.float64).numpy() for each in call(query, key, value, *learned)]


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize(("groups", "relative"), [(H, False), (1, False), (H, True), (1, True)])
def test_attention_is_its_formula_and_has_its_gradient(on, dropout, groups, relative):
    case = dropout, groups, relative
    expected = _attention("float64", False, *case, reference=True)
    exact, half = (_attention(dtype, on, *case, False) for dtype in ("float64", "bfloat16"))
    assert len(exact) == len(expected) == 4 + relative
    for ours, theirs in zip(exact, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)
    for ours, theirs in zip(half, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_probabilities_of_many_keys_are_summed_in_more_than_their_type(dtype):
    zeros = tf.zeros([B, H, 3, D], dtype), tf.zeros([B, H, 512, D], dtype)
    np.testing.assert_array_equal(attention.probabilities(*zeros), tf.fill([B, H, 3, 512], 1 / 512))
