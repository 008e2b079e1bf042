"""A Transformer block, with a backward pass of attention of its own.

Shape suffixes: B rows of the batch, T query positions, S key positions, D width, H heads, K width
of a head (D = H x K).
"""

import math

import keras
import tensorflow as tf

from trainer.models import fusion
from trainer.models.fusion import fuse, fuse_constant, statistics_dtype
from trainer.models.layers import MASKED, Dropout, LayerNorm, dense, product
from trainer.models.random import repeating


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
        mixed_BTD, scores_BHTS = self.mix(query, memory, attention_mask, training, return_scores)
        output_BTD = self.output_projection(mixed_BTD)
        return (output_BTD, scores_BHTS) if return_scores else output_BTD

    def mix(self, query, memory, attention_mask, training, return_scores):
        """Like `call`, before the output projection; also the probabilities, or None."""
        if memory is None:
            query_BHTK, key_BHSK, value_BHSK = self._heads(query, self.query, self.key, self.value)
        else:
            (query_BHTK,) = self._heads(query, self.query)
            key_BHSK, value_BHSK = self._heads(memory, self.key, self.value)
        band_TS = self._band(tf.shape(query_BHTK)[2], tf.shape(key_BHSK)[2], query.dtype)
        shape = tf.concat([tf.shape(query_BHTK)[:3], tf.shape(key_BHSK)[2:3]], 0)
        random = self.dropout.draw(shape, training)
        heads = query_BHTK, key_BHSK, value_BHSK
        mixed_BHTK = attend(heads, attention_mask, band_TS, *random, share=self.dropout.share)
        mixed_BTHK = tf.transpose(mixed_BHTK, [0, 2, 1, 3])
        scores_BHTS = None
        if return_scores:
            scores_BHTS = probabilities(query_BHTK, key_BHSK, attention_mask, band_TS)
        return tf.reshape(mixed_BTHK, tf.shape(query)), scores_BHTS

    def _heads(self, x_BTD, *layers):
        """Applies some of the linear layers to x in one product: [B, H, T, K] of each.

        Queries are scaled by 1 / sqrt(K), which costs less on their kernel than on each token's.
        """
        shape, width = tf.shape(x_BTD), layers[0].units
        kernels = [tf.convert_to_tensor(layer.kernel) for layer in layers]
        biases = [tf.convert_to_tensor(layer.bias) for layer in layers]
        if layers[0] is self.query:
            scale = tf.constant(1 / math.sqrt(width // self.heads), kernels[0].dtype)
            kernels[0] *= scale
            biases[0] *= scale
        y = fusion.add_bias(product(x_BTD, tf.concat(kernels, -1)), tf.concat(biases, -1))
        y = tf.reshape(y, [shape[0], shape[1], len(layers), self.heads, width // self.heads])
        return tf.unstack(tf.transpose(y, [2, 0, 3, 1, 4]), len(layers))

    def _band(self, queries, keys, dtype):
        """The mask added to the scores [T, S]: 0, or MASKED where no key may be seen; or None."""
        if not (self.causal or self.window):
            return None
        # -1: all; a band wider than the text is refused.
        before = tf.minimum(self.window, keys) if self.window else -1
        after = 0 if self.causal else before
        seen = tf.linalg.band_part(tf.ones([queries, keys], dtype), before, after)
        return _masked(dtype) * (1 - seen)


def _masked(dtype):
    """MASKED, or what of it float16 can hold, twice over."""
    return tf.constant(max(MASKED, float(tf.as_dtype(dtype).min) / 2), dtype)


def probabilities(query_BHTK, key_BHSK, mask_BS=None, band_TS=None):
    """Softmax over the keys of the scores [B, H, T, S].

    Args:
      query_BHTK: scaled.
      key_BHSK: of the same dtype.
      mask_BS: true or 1 where a key may be attended to, or None.
      band_TS: added to the scores, or None.
    """
    if mask_BS is not None:
        # As one more feature of queries and keys, the mask costs no pass over the scores.
        mask_B1S1 = tf.cast(mask_BS, key_BHSK.dtype)[:, None, :, None]
        bias_B1S1 = _masked(mask_B1S1.dtype) * (1 - mask_B1S1)
        bias_BHS1 = tf.broadcast_to(bias_B1S1, tf.shape(key_BHSK[..., :1]))
        key_BHSK = tf.concat([key_BHSK, bias_BHS1], -1)
        query_BHTK = tf.concat([query_BHTK, tf.ones_like(query_BHTK[..., :1])], -1)
    scores_BHTS = tf.matmul(query_BHTK, key_BHSK, transpose_b=True)
    return tf.nn.softmax(scores_BHTS if band_TS is None else scores_BHTS + band_TS)


def attend(heads, mask_BS, band_TS, *random_BHTS, share: float):
    """Mixes values by `probabilities`, of which dropout takes a share: [B, H, T, K].

    `heads` are queries [B, H, T, K], keys [B, H, S, K] and values [B, H, S, K].
    No share is taken where there are no random numbers. The backward pass sums probabilities times
    their gradients over the width of a head instead of over the keys, as Dao et al. (2022, section
    3.1) do, so that what is left of it is one elementwise chain.
    """

    @tf.custom_gradient
    def apply(query_BHTK, key_BHSK, value_BHSK):
        kept_BHTS = seen_BHTS = probabilities(query_BHTK, key_BHSK, mask_BS, band_TS)
        if random_BHTS:
            kept_BHTS = fuse(fusion.drop, seen_BHTS, *random_BHTS, share=share)
        mixed_BHTK = tf.matmul(kept_BHTS, value_BHSK)

        def gradient(upstream_BHTK):
            sums_BHT1 = fuse_constant(_dot, upstream_BHTK, mixed_BHTK)
            upstream_BHTS = tf.matmul(upstream_BHTK, value_BHSK, transpose_b=True)
            tensors = (seen_BHTS, upstream_BHTS, sums_BHT1, *random_BHTS)
            scores_BHTS = fuse_constant(_of_scores, *tensors, share=share)
            return (
                tf.matmul(scores_BHTS, key_BHSK),
                _transposed_product(scores_BHTS, query_BHTK),
                _transposed_product(kept_BHTS, upstream_BHTK),
            )

        return mixed_BHTK, gradient

    return apply(*heads)


def _transposed_product(scores_BHTS, x_BHTK):
    """The transposed scores times x, [B, H, S, K]; fastest with the small factor transposed."""
    return tf.linalg.matrix_transpose(tf.matmul(x_BHTK, scores_BHTS, transpose_a=True))


def _dot(x, y):
    """Over the last axis."""
    wide = statistics_dtype(x.dtype)
    return tf.reduce_sum(tf.cast(x, wide) * tf.cast(y, wide), -1, keepdims=True)


def _of_scores(probabilities, upstream, sums, *random, share: float):
    """The gradient of the scores, from that of the dropped probabilities."""
    kept = tf.cast(upstream, sums.dtype)
    if random:
        kept = fusion.drop(kept, *random, share=share)
    return tf.cast(tf.cast(probabilities, sums.dtype) * (kept - sums), probabilities.dtype)


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
        self.attention_norm = LayerNorm(epsilon, name="attention_norm", dtype=policy)
        self.ffn_in = dense(ffn_width, name="ffn_in", dtype=policy)
        self.activation = activation
        self.ffn_norm = LayerNorm(epsilon, name="ffn_norm", dtype=policy)
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
        mixed_BTD, scores_BHTT = self.attention.mix(
            self.attention_norm(x_BTD) if pre else x_BTD,
            None,
            attention_mask,
            training,
            return_scores,
        )
        layer, norm = self.attention.output_projection, self.attention_norm
        dropout = self.attention_output_dropout
        x_BTD = self._add(
            x_BTD, mixed_BTD, layer=layer, norm=norm, dropout=dropout, training=training
        )
        hidden = product(self.ffn_norm(x_BTD) if pre else x_BTD, self.ffn_in.kernel)
        bias = tf.convert_to_tensor(self.ffn_in.bias)
        hidden = fuse(fusion.activate, hidden, bias, activation=self.activation)
        layer, norm, dropout = self.ffn_out, self.ffn_norm, self.ffn_output_dropout
        x_BTD = self._add(x_BTD, hidden, layer=layer, norm=norm, dropout=dropout, training=training)
        return (x_BTD, scores_BHTT) if return_scores else x_BTD

    def _add(self, x_BTD, y, layer, norm, dropout, training):
        """x plus what a linear layer makes of y; normalised if norms come after residual sums."""
        tensors = (x_BTD, product(y, layer.kernel), tf.convert_to_tensor(layer.bias))
        random = dropout.draw(tf.shape(x_BTD), training)
        if self.norm == "pre":
            return fuse(fusion.residual, *tensors, *random, share=dropout.share)
        tensors = (*tensors, *norm.weights_now, *random)
        return fuse(fusion.residual_norm, *tensors, share=dropout.share, epsilon=norm.epsilon)


def recomputed(block: TransformerBlock, x_BTD, attention_mask):
    """The block while training, of which the backward pass keeps the input only.

    It computes the block once more from it, with the same dropout: gradient checkpointing (Chen et
    al., 2016, "Training deep nets with sublinear memory cost").

    Args:
      block: whose weights the gradient is taken of too.
      x_BTD: in the block's compute dtype.
      attention_mask: int32 [B, T], 1 at real tokens, or None.

    Returns:
      What the block returns, [B, T, D] in its compute dtype.
    """
    with repeating() as again:

        @tf.custom_gradient
        def apply(x_BTD, *values):
            def call(x_BTD):
                with keras.StatelessScope(zip(block.trainable_variables, values, strict=True)):
                    return block(x_BTD, attention_mask=attention_mask, training=True)

            def gradient(upstream_BTD):
                # Only once the gradient is there: or TensorFlow and XLA, which cannot tell that
                # this is 0, would keep what they computed first.
                zero = tf.cast(tf.math.is_nan(tf.reshape(upstream_BTD, [-1])[0]), tf.int64)
                kept_BTD = x_BTD * tf.cast(1 - zero, x_BTD.dtype)
                with again(zero), tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch([kept_BTD, *values])
                    result_BTD = call(kept_BTD)
                return tape.gradient(result_BTD, [kept_BTD, *values], upstream_BTD)

            return call(x_BTD), gradient

        return apply(x_BTD, *map(tf.convert_to_tensor, block.trainable_variables))
