"""Layers that the encoder and the heads are made of.

Shape suffixes: B rows of the batch, T query positions, S key positions, D width, H heads, K width
of a head (D = H x K).
"""

import math

import keras
import numpy as np
import tensorflow as tf

from trainer.models.random import drop_share, keep_mask

TOKEN_DEVIATION = 0.02  # standard deviation of new token vectors (Devlin et al., 2019)
MASKED = -1e9  # added to scores: finite, so that a row with nothing to attend to is not NaN


class Dropout(keras.layers.Layer):
    """Dropout (Srivastava et al., JMLR 2014) with masks by place in the global batch.

    Use it instead of `keras.layers.Dropout`, whose masks depend on what the process drew before.
    The rate is rounded to a multiple of 1/256, what is kept is scaled by the rounded rate, so the
    expectation is exact.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        kept = tf.cast(keep_mask(tf.shape(inputs), self.rate), inputs.dtype)
        return inputs * (kept * tf.constant(1 / (1 - drop_share(self.rate)), inputs.dtype))


class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention of several heads (Vaswani et al., 2017).

    Args:
      heads: number of heads; divides the width.
      dropout: rate on the attention probabilities.
      causal: position t attends to positions up to t only.
      window: position t attends to positions t - window to t + window (the sliding window of
        Beltagy et al., 2020), 0 to all.
    """

    def __init__(
        self, heads: int, dropout: float = 0.0, causal: bool = False, window: int = 0, **kwargs
    ):
        super().__init__(**kwargs)
        self.heads = heads
        self.causal = causal
        self.window = window
        self.dropout = Dropout(dropout, name="dropout", dtype=self.dtype_policy)

    def build(self, query_shape, memory_shape=None):
        width = query_shape[-1]
        memory_shape = memory_shape or query_shape
        for name, shape in (
            ("query", query_shape),
            ("key", memory_shape),
            ("value", memory_shape),
            ("output_projection", query_shape),
        ):
            layer = dense(width, name=name, dtype=self.dtype_policy)
            setattr(self, name, layer)
            layer.build(shape)
        self.built = True

    def call(self, query, memory=None, attention_mask=None, training=False, return_scores=False):
        """Attends from `query` to `memory` (to itself where there is none).

        Args:
          query: [B, T, D].
          memory: [B, S, D] or None.
          attention_mask: [B, S], true or 1 where a key may be attended to, or None.
          training: whether dropout applies.
          return_scores: also return the attention probabilities.

        Returns:
          [B, T, D], and where asked for the probabilities [B, H, T, S] before dropout.
        """
        memory = query if memory is None else memory
        query_BHTK = self._split(self.query(query))
        key_BHSK = self._split(self.key(memory))
        value_BHSK = self._split(self.value(memory))
        scale = tf.constant(1 / math.sqrt(query_BHTK.shape[-1]), query.dtype)
        scores_BHTS = tf.matmul(query_BHTK * scale, key_BHSK, transpose_b=True)
        bias = self._bias(attention_mask, tf.shape(scores_BHTS), statistics_dtype(query.dtype))
        probabilities_BHTS = tf.nn.softmax(tf.cast(scores_BHTS, bias.dtype) + bias)
        probabilities_BHTS = tf.cast(probabilities_BHTS, query.dtype)
        dropped_BHTS = self.dropout(probabilities_BHTS, training=training)
        mixed_BHTK = tf.matmul(dropped_BHTS, value_BHSK)
        mixed_BTHK = tf.transpose(mixed_BHTK, [0, 2, 1, 3])
        output_BTD = self.output_projection(tf.reshape(mixed_BTHK, tf.shape(query)))
        return (output_BTD, probabilities_BHTS) if return_scores else output_BTD

    def _split(self, x_BTD):
        shape = tf.shape(x_BTD)
        width = x_BTD.shape[-1] // self.heads
        x_BTHK = tf.reshape(x_BTD, [shape[0], shape[1], self.heads, width])
        return tf.transpose(x_BTHK, [0, 2, 1, 3])

    def _bias(self, mask, shape, dtype):
        """What is added to the scores: 0, or MASKED where a key may not be seen."""
        bias = tf.zeros([1, 1, 1, 1], dtype)
        if mask is not None:
            bias += tf.constant(MASKED, dtype) * (1 - tf.cast(mask, dtype))[:, None, None, :]
        if self.causal or self.window:
            # -1: all; a band wider than the text is refused.
            before = tf.minimum(self.window, shape[-1]) if self.window else -1
            after = 0 if self.causal else before
            seen = tf.linalg.band_part(tf.ones(shape[-2:], dtype), before, after)
            bias = tf.minimum(bias, tf.constant(MASKED, dtype) * (1 - seen))
        return bias


class TransformerBlock(keras.layers.Layer):
    """Self-attention and a feed-forward network, each with a residual connection.

    Args:
      norm: "post" normalises after each residual sum (Vaswani et al., 2017; BERT), "pre" before
        each sublayer (Xiong et al., 2020; GPT-2).
    """

    def __init__(
        self,
        heads: int,
        ffn_width: int,
        activation: str = "gelu",
        norm: str = "post",
        attention_output_dropout: float = 0.0,
        ffn_output_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        causal: bool = False,
        window: int = 0,
        epsilon: float = 1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.norm = norm
        self.ffn_width = ffn_width
        self.attention = MultiHeadAttention(
            heads, attention_dropout, causal, window, name="attention", dtype=policy
        )
        self.attention_norm = layer_norm(epsilon, name="attention_norm", dtype=policy)
        self.ffn_in = dense(ffn_width, name="ffn_in", dtype=policy)
        self.activation = activation_function(activation)
        self.ffn_norm = layer_norm(epsilon, name="ffn_norm", dtype=policy)
        self.attention_output_dropout = Dropout(
            attention_output_dropout, name="attention_dropout", dtype=policy
        )
        self.ffn_output_dropout = Dropout(ffn_output_dropout, name="ffn_dropout", dtype=policy)

    def build(self, shape):
        self.attention.build(shape)
        self.attention_norm.build(shape)
        self.ffn_in.build(shape)
        self.ffn_out = dense(shape[-1], name="ffn_out", dtype=self.dtype_policy)
        self.ffn_out.build((*shape[:-1], self.ffn_width))
        self.ffn_norm.build(shape)
        self.built = True

    def call(self, x_BTD, attention_mask=None, training=False, return_scores=False):
        """Returns [B, T, D], and where asked for the attention probabilities [B, H, T, T]."""
        pre = self.norm == "pre"
        attended_BTD = self.attention(
            self.attention_norm(x_BTD) if pre else x_BTD,
            attention_mask=attention_mask,
            training=training,
            return_scores=return_scores,
        )
        if return_scores:
            attended_BTD, scores_BHTT = attended_BTD
        x_BTD += self.attention_output_dropout(attended_BTD, training=training)
        x_BTD = x_BTD if pre else self.attention_norm(x_BTD)
        hidden = self.activation(self.ffn_in(self.ffn_norm(x_BTD) if pre else x_BTD))
        x_BTD += self.ffn_output_dropout(self.ffn_out(hidden), training=training)
        x_BTD = x_BTD if pre else self.ffn_norm(x_BTD)
        return (x_BTD, scores_BHTT) if return_scores else x_BTD


def sinusoids(length: int, width: int) -> np.ndarray:
    """Sinusoidal positions [length, width], float64 (Vaswani et al., 2017, section 3.5).

    Column 2i is sin(t / 10000^(2i/width)), column 2i+1 the cosine.
    """
    angles = np.arange(length)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)


class TokenAndPositionEmbedding(keras.layers.Layer):
    """Token vectors plus position vectors, then dropout.

    Args:
      vocab_size: rows of the token table.
      max_length: longest input, in tokens.
      width: of a vector.
      positions: "sinusoidal", "learned" or "none".
      position_offset: rows of the table of learned positions before that of the first token.
      position_scale: size of the sinusoids, against that of new token vectors.
      token_types: rows of the table of segment vectors; 0: none.
      norm: layer norm after the sum, before dropout.
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
        norm: bool = False,
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

        self.tokens = table(vocab_size, "tokens")
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
        self.norm = layer_norm(epsilon, name="norm", dtype=policy) if norm else None
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

    def call(self, ids_BT, types_BT=None, training=False, vectors_BTD=None):
        """int32 ids [B, T] (and segments [B, T]) -> [B, T, D].

        `vectors_BTD` stand in for those of the ids, where they are given.
        """
        length = tf.shape(ids_BT)[1]
        x_BTD = self.tokens(ids_BT) if vectors_BTD is None else vectors_BTD
        if self.types is not None:
            x_BTD += self.types(tf.zeros_like(ids_BT) if types_BT is None else types_BT)
        if self.positions is not None:
            x_BTD += self.positions(tf.range(length) + self.position_offset)[None]
        if self.sinusoids is not None:
            x_BTD += tf.constant(self.sinusoids, x_BTD.dtype)[None, :length]
        if self.norm is not None:
            x_BTD = self.norm(x_BTD)
        x_BTD = self.dropout(x_BTD, training=training)
        return x_BTD if self.projection is None else self.projection(x_BTD)


class Pooling(keras.layers.Layer):
    """One vector a row from the vectors of its real tokens.

    Args:
      kind: "mean", "max", "mean+max" (both, one after the other), "cls" (the first token's) or
        "last" (the last token's, the only one that has seen the whole text with a causal mask).
    """

    def __init__(self, kind: str, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, x_BTD, attention_mask):
        """[B, T, D] and a mask [B, T], 1 at real tokens -> [B, D], or [B, 2D] for mean+max."""
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


def layer_norm(epsilon: float, **kwargs) -> keras.layers.LayerNormalization:
    """Layer normalisation (Ba et al., 2016); Keras computes its statistics in float32 or wider."""
    return keras.layers.LayerNormalization(epsilon=epsilon, **kwargs)


def activation_function(name: str):
    """The exact GELU, GELU's tanh approximation, ReLU, SiLU, or tanh."""
    return {
        "gelu": lambda x: keras.activations.gelu(x, approximate=False),
        "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
        "relu": keras.activations.relu,
        "silu": keras.activations.silu,
        "tanh": keras.activations.tanh,
    }[name]


def statistics_dtype(dtype) -> tf.DType:
    """float32 for the half precisions, otherwise the type itself: for sums and softmax."""
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype
