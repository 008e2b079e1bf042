"""Chains of elementwise operations in one pass over memory, with their exact gradients.

TensorFlow runs each operation of a chain as a pass over all of its tensors, and keeps what the
backward pass needs: at BERT's sizes that costs as much time as all matrix products. Here XLA
compiles a chain into one loop, and its gradient, worked out from the chain's inputs once more, into
another. Matrix products stay with the libraries that are fastest at them.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_inside = threading.local()  # each replica is traced in a thread of its own


def fusing(on: bool) -> contextlib.AbstractContextManager[None]:
    """Lets `fuse` compile what is called inside, or not; outside of any it does not."""
    return _set("fusing", on)


def compiling(on: bool) -> contextlib.AbstractContextManager[None]:
    """Says if XLA compiles all that is called inside: then it is summed as is best there."""
    return _set("compiling", on)


@contextlib.contextmanager
def _set(name: str, on: bool) -> Iterator[None]:
    before = _is(name)
    setattr(_inside, name, on)
    try:
        yield
    finally:
        setattr(_inside, name, before)


def _is(name: str) -> bool:
    return getattr(_inside, name, False)


def fuse(chain: Callable[..., tf.Tensor], *tensors: tf.Tensor, **settings: Any) -> tf.Tensor:
    """`chain(*tensors, **settings)`, compiled inside `fusing(True)`.

    XLA compiles it for every shape of its tensors anew, in some 0.1 s.

    Args:
      chain: a function of a module, of elementwise operations, sums of rows and products with a
        vector.
      tensors: what it may be differentiated by, where that is of floating point.
      settings: hashable, and constant in the compiled loop.
    """
    with _named(chain):
        if not _is("fusing"):
            return chain(*tensors, **settings)
        return _compiled(chain, tuple(sorted(settings.items())))(*tensors)


def fuse_constant(chain: Callable[..., Any], *tensors: tf.Tensor, **settings: Any) -> Any:
    """Fuses as `fuse` does what is never differentiated; the chain may return several tensors."""
    return share(chain, *tensors, compiled=_is("fusing"), **settings)


def share(
    chain: Callable[..., Any], *tensors: tf.Tensor, compiled: bool = False, **settings: Any
) -> Any:
    """`chain(*tensors, **settings)`, traced once for each shape.

    A model has many parameters and few shapes: tracing each anew is much of a start. The first
    trace stays: a chain may not ask whether it is inside `fusing` or `compiling`.
    """
    with _named(chain):
        return _forward(chain, tuple(sorted(settings.items())), compiled)(*tensors)


def _named(chain: Callable[..., Any]) -> contextlib.AbstractContextManager:
    """The scope that a profile shows the chain under."""
    return tf.name_scope(chain.__name__.strip("_"))


@functools.cache  # one for all layers, so that each shape is compiled once
def _forward(chain: Callable[..., Any], settings: tuple, compiled: bool) -> Callable[..., Any]:
    call = functools.partial(chain, **dict(settings))
    return tf.function(call, jit_compile=compiled or None, autograph=False)


@functools.cache
def _backward(chain: Callable[..., tf.Tensor], settings: tuple) -> Callable[..., Any]:
    call = functools.partial(chain, **dict(settings))

    def derivatives(upstream, *tensors):
        floating = [each for each in tensors if each.dtype.is_floating]
        with compiling(True):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(floating)
                result = call(*tensors)
            return tape.gradient(result, floating, output_gradients=upstream)

    return tf.function(derivatives, jit_compile=True, autograph=False)


@functools.cache
def _compiled(chain: Callable[..., tf.Tensor], settings: tuple) -> Callable[..., tf.Tensor]:
    forward, backward = _forward(chain, settings, True), _backward(chain, settings)

    @tf.custom_gradient
    def apply(*tensors):
        def gradient(upstream):
            with _named(chain):
                found = iter(backward(upstream, *tensors))
            return [next(found) if each.dtype.is_floating else None for each in tensors]

        return forward(*tensors), gradient

    return apply


# The chains. Statistics and sums are in float32 or wider, what is kept is in the type of the input.


def activate(x_ND, *more, activation: str, share: float = 0.0):
    """`ACTIVATIONS[activation]` of x, or of the sum of x and a bias.

    `more` are the bias [D], if any, and the numbers [N, D] that `drop` takes a share by, if any.
    """
    bias_D, random_ND = _parted(more)
    hidden = ACTIVATIONS[activation](_wide(x_ND, *bias_D))
    return tf.cast(_dropped(hidden, random_ND, share), x_ND.dtype)


def gate(x_ND, gate_ND, *more, activation: str, share: float = 0.0):
    """x times `ACTIVATIONS[activation]` of a gate (Shazeer, 2020), each plus its bias, if any.

    `more` are these biases [D], and the numbers [N, D] that `drop` takes a share by, if any.
    """
    biases_D, random_ND = _parted(more)
    opened = ACTIVATIONS[activation](_wide(gate_ND, *biases_D[1:]))
    hidden = _wide(x_ND, *biases_D[:1]) * opened
    return tf.cast(_dropped(hidden, random_ND, share), x_ND.dtype)


def drop(x, random, *, share: float):
    """Without a share of the numbers; `random` are uint8 of the same shape, see `keep`."""
    wide = tf.cast(x, statistics_dtype(x.dtype))
    kept = tf.where(keep(random, share), wide * tf.constant(1 / (1 - share), wide.dtype), 0)
    return tf.cast(kept, x.dtype)


def residual(x_ND, y_ND, *more, share: float, biased: bool = True):
    """x plus y (+ bias), of which `drop` took a share where there are random numbers.

    `more` are the bias [D], where y is `biased`, and the numbers [N, D], where any are dropped.
    """
    bias_D, random_ND = (more[0], more[1:]) if biased else (None, more)
    wide = statistics_dtype(x_ND.dtype)
    return tf.cast(_residual(x_ND, y_ND, bias_D, *random_ND, share=share, dtype=wide), x_ND.dtype)


def norm(x_ND, gamma_D, beta_D, *, epsilon: float):
    """Layer normalisation (Ba et al., 2016)."""
    wide = statistics_dtype(x_ND.dtype)
    return tf.cast(_norm(tf.cast(x_ND, wide), gamma_D, beta_D, epsilon), x_ND.dtype)


def rms_norm(x_ND, gamma_D, *, epsilon: float):
    """Division by the root of the mean square (Zhang & Sennrich, 2019)."""
    wide = statistics_dtype(x_ND.dtype)
    return tf.cast(_rms_norm(tf.cast(x_ND, wide), gamma_D, epsilon), x_ND.dtype)


def residual_norm(x_ND, y_ND, bias_D, gamma_D, beta_D, *random_ND, share: float, epsilon: float):
    """`norm` of `residual`, without rounding between the two."""
    wide = statistics_dtype(x_ND.dtype)
    x = _residual(x_ND, y_ND, bias_D, *random_ND, share=share, dtype=wide)
    return tf.cast(_norm(x, gamma_D, beta_D, epsilon), x_ND.dtype)


def _parted(more):
    """The biases among them, and the random numbers."""
    biases = [each for each in more if each.dtype.is_floating]
    return biases, more[len(biases) :]


def _dropped(x, random, share):
    """x, of which `drop` took a share where there are random numbers."""
    return drop(x, *random, share=share) if random else x


def _wide(x, *bias):
    """x, plus its bias if it has one, in the type of sums."""
    wide = statistics_dtype(x.dtype)
    x = tf.cast(x, wide)
    return add_bias(x, tf.cast(bias[0], wide)) if bias else x


def _residual(x, y, bias, random=None, *, share, dtype):
    y = tf.cast(y, dtype)
    if bias is not None:
        y = add_bias(y, tf.cast(bias, dtype))
    return tf.cast(x, dtype) + (y if random is None else drop(y, random, share=share))


@tf.custom_gradient
def add_bias(x, bias):
    """x [..., D] plus a bias [D]."""
    return x + bias, lambda upstream: (upstream, _column_sums(upstream))


def _norm(x, gamma, beta, epsilon):
    gamma, beta = tf.cast(gamma, x.dtype), tf.cast(beta, x.dtype)
    mean = tf.fill([x.shape[-1]], tf.constant(1 / x.shape[-1], x.dtype))

    @tf.custom_gradient
    def apply(x, gamma, beta):
        centred = x - _row_dot(x, mean)
        scale = tf.math.rsqrt(_row_dot(tf.square(centred), mean) + tf.constant(epsilon, x.dtype))
        normal = centred * scale

        def gradient(upstream):
            of_gamma = upstream * normal
            shift, slope = _row_dot(upstream, gamma * mean), _row_dot(of_gamma, gamma * mean)
            of_x = scale * (upstream * gamma - shift - normal * slope)
            return of_x, _column_sums(of_gamma), _column_sums(upstream)

        return normal * gamma + beta, gradient

    return apply(x, gamma, beta)


def _rms_norm(x, gamma, epsilon):
    gamma = tf.cast(gamma, x.dtype)
    mean = tf.fill([x.shape[-1]], tf.constant(1 / x.shape[-1], x.dtype))

    @tf.custom_gradient
    def apply(x, gamma):
        scale = tf.math.rsqrt(_row_dot(tf.square(x), mean) + tf.constant(epsilon, x.dtype))
        normal = x * scale

        def gradient(upstream):
            of_gamma = upstream * normal
            slope = _row_dot(of_gamma, gamma * mean)
            return scale * (upstream * gamma - normal * slope), _column_sums(of_gamma)

        return normal * gamma, gradient

    return apply(x, gamma)


@functools.cache
def on_gpu() -> bool:
    """True if there is one: its products may be in TensorFloat-32, and end a chain."""
    return bool(tf.config.list_logical_devices("GPU"))


def _row_dot(x, vector):
    """x [..., D] times a vector [D]: [..., 1]; on a CPU XLA sums rows faster by a product."""
    with tf.name_scope("sums"):
        if on_gpu():
            return tf.reduce_sum(x * vector, -1, keepdims=True)
        sums = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), vector[:, None])
    return tf.reshape(sums, tf.concat([tf.shape(x)[:-1], [1]], 0))


def _column_sums(x):
    """The sum of x [..., D] over all but the last axis: [D].

    TensorFlow sums rows fastest by a product, on a CPU. XLA merges a product of fewer than 4,096
    rows with what makes them, which is then made a number at a time.
    """
    rows = tf.reshape(x, [-1, x.shape[-1]])
    with tf.name_scope("sums"):
        if on_gpu() or _is("compiling"):
            wide = tf.cast(rows, statistics_dtype(rows.dtype))
            return tf.cast(tf.reduce_sum(wide, 0), rows.dtype)
        return tf.matmul(tf.ones([1, tf.shape(rows)[0]], rows.dtype), rows)[0]


def keep(random, share: float):
    """True where uint8 random numbers keep what they stand for: all but a share of them."""
    return random >= tf.constant(round(share * 256), tf.uint8)


def _gelu(x):
    half = tf.constant(0.5, x.dtype)
    return half * x * (1 + tf.math.erf(x * tf.constant(0.5**0.5, x.dtype)))


def _gelu_tanh(x):
    cubic = x + tf.constant(0.044715, x.dtype) * x * x * x
    slope = tf.constant((2 / 3.141592653589793) ** 0.5, x.dtype)
    return tf.constant(0.5, x.dtype) * x * (1 + tf.math.tanh(slope * cubic))


# GELU (Hendrycks & Gimpel, 2016), exact and in its tanh approximation, and others.
ACTIVATIONS = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "tanh": tf.math.tanh,
}


def statistics_dtype(dtype) -> tf.DType:
    """float32 for the half precisions, otherwise the type itself: for sums."""
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype
