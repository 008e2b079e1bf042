"""Layers that the encoder and the heads are made of.

Shape suffixes: B rows of the batch, T positions, D width.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.models import fusion
from trainer.models.fusion import fuse, statistics_dtype
from trainer.models.random import drop_share, random_bytes

TOKEN_DEVIATION = 0.02  # standard deviation of new token vectors (Devlin et al., 2019)
MASKED = -1e9  # added where nothing may be seen: finite, so that no row can become NaN


class Dropout(keras.layers.Layer):
    """Dropout (Srivastava et al., JMLR 2014) with masks by place in the global batch.

    Use it instead of `keras.layers.Dropout`, whose masks depend on what the process drew before.
    The rate is rounded to a multiple of 1/256, what is kept is scaled by the rounded rate, so the
    expectation is exact.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.share = drop_share(rate) if rate else 0.0

    def draw(self, shape, training) -> list[tf.Tensor]:
        """The random uint8 of `shape` that `fusion.drop` needs; none where nothing is dropped."""
        return [random_bytes(shape)] if training and self.rate else []

    def call(self, inputs, training=False):
        """The inputs, some of them 0 while training."""
        random = self.draw(tf.shape(inputs), training)
        return fusion.drop(inputs, *random, share=self.share) if random else inputs


class LayerNorm(keras.layers.Layer):
    """Layer normalisation (Ba et al., 2016), with its statistics in float32 or wider."""

    def __init__(self, epsilon: float, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, shape):
        self.gamma = self.add_weight(shape[-1:], "ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape[-1:], "zeros", name="beta", autocast=False)
        self.built = True

    @property
    def weights_now(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Gamma and beta, for a chain of `fusion`."""
        return tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)

    def call(self, inputs):
        """[..., D] -> [..., D]."""
        return fuse(fusion.norm, inputs, *self.weights_now, epsilon=self.epsilon)


class RMSNorm(keras.layers.Layer):
    """Normalisation by the root mean square (Zhang & Sennrich, 2019): no mean, and no shift."""

    def __init__(self, epsilon: float, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, shape):
        self.gamma = self.add_weight(shape[-1:], "ones", name="gamma", autocast=False)
        self.built = True

    def call(self, inputs):
        """[..., D] -> [..., D]."""
        gamma = tf.convert_to_tensor(self.gamma)
        return fuse(fusion.rms_norm, inputs, gamma, epsilon=self.epsilon)


NORMS: dict[str, Callable[..., LayerNorm | RMSNorm]] = {"layer": LayerNorm, "rms": RMSNorm}


def sinusoids(length: int, width: int) -> np.ndarray:
    """Sinusoidal positions [length, width], float64 (Vaswani et al., 2017, section 3.5).

    Column 2i is sin(t / 10000^(2i/width)), column 2i+1 the cosine.
    """
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)


class TokenAndPositionEmbedding(keras.layers.Layer):
    """Token vectors plus position vectors, then dropout.

    Args:
      vocab_size: rows of the token table; 0: there is none, and calls are given the vectors.
      max_length: longest input, in tokens.
      width: of a vector.
      positions: "sinusoidal", "learned", or neither: "rotary" ones are in attention.
      position_offset: rows of the table of learned positions before that of the first token.
      position_scale: size of the sinusoids, against that of new token vectors.
      token_types: rows of the table of segment vectors; 0: none.
      norm: a norm after the sum, before dropout: one of NORMS, or empty.
      projected_width: of a linear layer behind them (Lan et al., 2020); 0: none.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        width: int,
        positions: str = "sinusoidal",
        token_types: int = 0,
        position_offset: int = 0,
        position_scale: float = 1.0,
        norm: str = "",
        epsilon: float = 1e-12,
        dropout: float = 0.0,
        projected_width: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy

        def table(rows, name):
            return keras.layers.Embedding(
                rows,
                width,
                keras.initializers.TruncatedNormal(stddev=TOKEN_DEVIATION),
                name=name,
                dtype=policy,
            )

        self.tokens: Any = table(vocab_size, "tokens") if vocab_size else None
        self.position_offset = position_offset
        self.positions = (
            table(max_length + position_offset, "positions") if positions == "learned" else None
        )
        self.types = table(token_types, "types") if token_types else None
        # sqrt(2): a sinusoid's root mean square is 1/sqrt(2).
        self.sinusoids = (
            sinusoids(max_length, width) * (math.sqrt(2) * TOKEN_DEVIATION * position_scale)
            if positions == "sinusoidal"
            else None
        )
        self.norm = NORMS[norm](epsilon, name="norm", dtype=policy) if norm else None
        self.dropout = Dropout(dropout, name="dropout", dtype=policy)
        self.width = width
        self.projection = (
            dense(projected_width, name="projection", dtype=policy) if projected_width else None
        )

    def build(self, ids_BT_shape, types_BT_shape=None):
        for table in (self.tokens, self.positions, self.types):
            if table is not None:
                table.build(ids_BT_shape)
        if self.norm is not None:
            self.norm.build((*ids_BT_shape, self.width))
        if self.projection is not None:
            self.projection.build((*ids_BT_shape, self.width))
        self.built = True

    def call(self, ids_BT, types_BT=None, training=False, vectors_BTD=None, positions_BT=None):
        """int32 ids [B, T] (and segments [B, T]) -> [B, T, D].

        `vectors_BTD` stand in for those of the ids, where they are given. Positions, int32, count
        from the row's first token; None: 0, 1, … in each row.
        """
        if positions_BT is None:
            positions_BT = tf.range(tf.shape(ids_BT)[1])[None]
        x_BTD = self.tokens(ids_BT) if vectors_BTD is None else vectors_BTD
        if self.types is not None:
            x_BTD += self.types(tf.zeros_like(ids_BT) if types_BT is None else types_BT)
        if self.positions is not None:
            x_BTD += self.positions(positions_BT + self.position_offset)
        if self.sinusoids is not None:
            x_BTD += tf.gather(tf.constant(self.sinusoids, x_BTD.dtype), positions_BT)
        if self.norm is not None:
            x_BTD = self.norm(x_BTD)
        x_BTD = self.dropout(x_BTD, training=training)
        return x_BTD if self.projection is None else self.projection(x_BTD)


class Pooling(keras.layers.Layer):
    """One vector a row from the vectors of its real tokens.

    Args:
      kind: "mean", "max", "mean+max" (both, one after the other), "cls" (the first token's),
        "last" (the last token's, the only one that has seen the whole text with a causal mask) or
        "tokens" (no pooling: the vector of each token).
    """

    def __init__(self, kind: str, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.parts = len(kind.split("+"))  # vectors of the width of one

    def call(self, x_BTD, attention_mask):
        """[B, T, D] and a mask [B, T], 1 at real tokens -> [B, D].

        [B, 2D] for mean+max, [B, T, D] for tokens.
        """
        if self.kind == "tokens":
            return x_BTD
        if self.kind == "cls":
            return x_BTD[:, 0]
        if self.kind == "last":
            last = tf.maximum(tf.reduce_sum(tf.cast(attention_mask, tf.int32), 1) - 1, 0)
            return tf.gather(x_BTD, last, batch_dims=1)
        dtype = statistics_dtype(x_BTD.dtype)
        mask_BT1 = tf.cast(attention_mask, dtype)[:, :, None]
        x = tf.cast(x_BTD, dtype)
        pooled = []
        if "mean" in self.kind:
            count = tf.maximum(tf.reduce_sum(mask_BT1, 1), 1)
            pooled.append(tf.reduce_sum(x * mask_BT1, 1) / count)
        if "max" in self.kind:
            largest = tf.reduce_max(x + tf.constant(MASKED, dtype) * (1 - mask_BT1), 1)
            pooled.append(largest * tf.reduce_max(mask_BT1, 1))  # 0 for a row without a token
        return tf.cast(tf.concat(pooled, -1), x_BTD.dtype)


def dense(width: int, **kwargs) -> keras.layers.Dense:
    """A linear layer with Glorot's initial weights (Glorot & Bengio, 2010)."""
    return keras.layers.Dense(width, **kwargs)


def linear(x, layer: keras.layers.Dense):
    """A linear layer as one product of all rows: [..., D] -> [..., E]."""
    y = product(x, layer.kernel)
    return y + layer.bias if layer.use_bias else y


def biases(*layers: keras.layers.Dense) -> list[tf.Tensor]:
    """The biases of those layers that have one."""
    return [tf.convert_to_tensor(layer.bias) for layer in layers if layer.use_bias]


def product(x, kernel):
    """x [..., D] times a kernel [D, E]: [..., E]."""
    kernel = tf.convert_to_tensor(kernel)
    rows = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel)
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [kernel.shape[-1]]], 0))
