"""Attention, with a backward pass of its own, and a cache of keys and values.

Shape suffixes: B rows of the batch, T query positions, S key positions, D width, H heads, G heads
of keys and values (each for H / G heads of queries), K width of a head.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from trainer.models import fusion
from trainer.models.fusion import fuse, fuse_constant, statistics_dtype
from trainer.models.layers import MASKED, Dropout, biases, dense, linear, product
from trainer.models.relative import RelativeBias

Cache = tuple[tf.Tensor, tf.Tensor]  # keys and values, [B, G, S, K] each
Tensors = tf.Tensor | Cache


class Step(NamedTuple):
    """Places of new tokens in a cache, for all blocks.

    Attributes:
      indices: int32 [B, G, T, 3], the slot of each in keys and values.
      bias: [B, 1 or H, T, S], added to the scores: MASKED where no key may be seen.
    """

    indices: tf.Tensor
    bias: tf.Tensor


class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention of several heads (Vaswani et al., 2017).

    Args:
      heads: number of heads of queries.
      dropout: rate on the attention probabilities.
      causal: position t attends to positions up to t only.
      window: position t attends to positions t - window to t + window (the sliding window of
        Beltagy et al., 2020), 0 to all.
      kv_heads: heads of keys and values, each for as many heads of queries (Ainslie et al., 2023);
        divides `heads`. 0: one for each.
      head_dim: width of a head; 0: the inputs' width / heads, which divide it.
      rotary_theta: see `rotate`; 0: no positions. With a memory there are none.
      biases: whether the linear layers have them.
      scale: whether scores are divided by sqrt(K). Where they are not, queries begin so much
        smaller, with the deviation (D K)^-0.5 of their kernel (Raffel et al., 2020).
    """

    def __init__(
        self,
        heads: int,
        dropout: float = 0.0,
        causal: bool = False,
        window: int = 0,
        kv_heads: int = 0,
        head_dim: int = 0,
        rotary_theta: float = 0.0,
        biases: bool = True,
        scale: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.heads = heads
        self.kv_heads = kv_heads or heads
        self.head_dim = head_dim
        self.rotary_theta = rotary_theta
        self.biases = biases
        self.scale = scale
        self.causal = causal
        self.window = window
        self.dropout = Dropout(dropout, name="dropout", dtype=self.dtype_policy)

    def build(self, query_shape, memory_shape=None):
        width = query_shape[-1]
        memory_shape = memory_shape or query_shape
        self.head_dim = self.head_dim or width // self.heads
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        for name, shape, units in (
            ("query", query_shape, queries),
            ("key", memory_shape, keys),
            ("value", memory_shape, keys),
            ("output_projection", (*query_shape[:-1], queries), width),
        ):
            initial = {}
            if name == "query" and not self.scale:
                deviation = (width * self.head_dim) ** -0.5
                initial["kernel_initializer"] = keras.initializers.RandomNormal(stddev=deviation)
            layer = dense(
                units, use_bias=self.biases, name=name, dtype=self.dtype_policy, **initial
            )
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

    def mix(
        self,
        query,
        memory,
        attention_mask,
        training,
        return_scores,
        positions_BT=None,
        relative_HTS=None,
    ):
        """Does as `call`, before the output projection; gives also the probabilities, or None.

        `relative_HTS` is added to the scores, see `trainer.models.relative`.
        """
        if memory is None:
            query_BHTK, key_BGSK, value_BGSK = self._heads(query, self.query, self.key, self.value)
            query_BHTK, key_BGSK = self._rotated(positions_BT, query_BHTK, key_BGSK)
        else:
            (query_BHTK,) = self._heads(query, self.query)
            key_BGSK, value_BGSK = self._heads(memory, self.key, self.value)
        band_TS = self._band(tf.shape(query_BHTK)[2], tf.shape(key_BGSK)[2], query.dtype)
        shape = tf.concat([tf.shape(query_BHTK)[:3], tf.shape(key_BGSK)[2:3]], 0)
        random = self.dropout.draw(shape, training)
        heads = query_BHTK, key_BGSK, value_BGSK
        added = band_TS, relative_HTS
        mixed_BHTK = attend(heads, attention_mask, *added, *random, share=self.dropout.share)
        scores_BHTS = None
        if return_scores:
            scores_BHTS = probabilities(query_BHTK, key_BGSK, attention_mask, *added)
        return self._joined(mixed_BHTK), scores_BHTS

    def mix_cached(self, x_BTD, positions_BT, cache: Cache, step: Step):
        """Does as `mix` for new tokens, which see those in the cache too; gives also the new cache.

        Kernels are not joined nor scaled, and no key gets one more feature: with a token at a time
        copies of kernels and of the cache would cost more than the products.
        """
        layers = self.query, self.key, self.value
        query_BHTK, key_BGTK, value_BGTK = (self._split(linear(x_BTD, each)) for each in layers)
        query_BHTK, key_BGTK = self._rotated(positions_BT, query_BHTK, key_BGTK)
        key_BGSK = tf.tensor_scatter_nd_update(cache[0], step.indices, key_BGTK)
        value_BGSK = tf.tensor_scatter_nd_update(cache[1], step.indices, value_BGTK)
        mixed_BTD = self._seen(query_BHTK, key_BGSK, value_BGSK, step.bias)
        return mixed_BTD, (key_BGSK, value_BGSK)

    def remember(self, memory_BSD) -> Cache:
        """Keys and values of a memory, as `mix_remembered` takes them."""
        return self._split(linear(memory_BSD, self.key)), self._split(
            linear(memory_BSD, self.value)
        )

    def mix_remembered(self, x_BTD, memory: Cache, mask_BS):
        """Does as `mix` without training, with a memory of `remember`."""
        query_BHTK = self._split(linear(x_BTD, self.query))
        bias_B11S = masked(query_BHTK.dtype) * (1 - tf.cast(mask_BS, query_BHTK.dtype))
        return self._seen(query_BHTK, *memory, bias_B11S[:, None, None])

    def _seen(self, query_BHTK, key_BGSK, value_BGSK, bias):
        """Values mixed by attention to keys, without a copy of these: [B, T, D]."""
        if self.scale:
            query_BHTK *= tf.constant(1 / math.sqrt(self.head_dim), query_BHTK.dtype)
        scores_BHTS = grouped_product(query_BHTK, key_BGSK, transpose_b=True)
        return self._joined(grouped_product(tf.nn.softmax(scores_BHTS + bias), value_BGSK))

    def _heads(self, x_BTD, *layers):
        """Applies some of the linear layers to x in one product: [B, H, T, K] of each.

        Queries are scaled by 1 / sqrt(K), which costs less on their kernel than on each token's.
        """
        shape = tf.shape(x_BTD)
        kernels = [tf.convert_to_tensor(layer.kernel) for layer in layers]
        of_bias = biases(*layers)
        if layers[0] is self.query and self.scale:
            scale = tf.constant(1 / math.sqrt(self.head_dim), kernels[0].dtype)
            kernels[0] *= scale
            of_bias[:1] = [each * scale for each in of_bias[:1]]
        y = product(x_BTD, tf.concat(kernels, -1))
        if of_bias:
            y = fusion.add_bias(y, tf.concat(of_bias, -1))
        heads = [layer.units // self.head_dim for layer in layers]
        if len(set(heads)) > 1:
            return tf.split(self._split(y), heads, axis=1)
        y = tf.reshape(y, [shape[0], shape[1], len(layers), heads[0], self.head_dim])
        return tf.unstack(tf.transpose(y, [2, 0, 3, 1, 4]), len(layers))  # without a copy

    def _split(self, y_BTD):
        """The heads of y, [B, H, T, K]."""
        shape, heads = tf.shape(y_BTD), y_BTD.shape[-1] // self.head_dim
        y_BTHK = tf.reshape(y_BTD, [shape[0], shape[1], heads, self.head_dim])
        return tf.transpose(y_BTHK, [0, 2, 1, 3])

    def _joined(self, y_BHTK):
        """The inverse of `_split` for all heads."""
        y_BTHK = tf.transpose(y_BHTK, [0, 2, 1, 3])
        shape = tf.shape(y_BTHK)
        return tf.reshape(y_BTHK, [shape[0], shape[1], self.heads * self.head_dim])

    def _rotated(self, positions_BT, *heads):
        """Heads [B, H, T, K] turned by their positions, where there are rotary ones."""
        if not self.rotary_theta:
            return heads
        if positions_BT is None:
            positions_BT = tf.range(tf.shape(heads[0])[2])[None]
        return [rotate(each, positions_BT, self.rotary_theta) for each in heads]

    def _band(self, queries, keys, dtype):
        """The mask added to the scores [T, S]: 0, or MASKED where no key may be seen; or None."""
        if not (self.causal or self.window):
            return None
        # -1: all; a band wider than the text is refused.
        before = tf.minimum(self.window, keys) if self.window else -1
        after = 0 if self.causal else before
        seen = tf.linalg.band_part(tf.ones([queries, keys], dtype), before, after)
        return masked(dtype) * (1 - seen)


def masked(dtype):
    """MASKED, or what of it float16 can hold, twice over."""
    return tf.constant(max(MASKED, float(tf.as_dtype(dtype).min) / 2), dtype)


def step_of(
    cache: Cache, at, length, mask_BS, window: int, relative: RelativeBias | None = None
) -> Step:
    """Places of new tokens in a cache like this one, with a causal mask.

    Args:
      cache: of any block.
      at: int32 scalar, the slot of the first new token.
      length: T, of new tokens.
      mask_BS: true or 1 at slots that hold real tokens, or will.
      window: see `MultiHeadAttention`.
      relative: the stack's, where it has relative positions.
    """
    keys = cache[0]
    rows, heads, slots = tf.unstack(tf.shape(keys)[:3])
    own_T = at + tf.range(length)
    slots_S = tf.range(slots)
    seen_TS = slots_S <= own_T[:, None]
    if window:
        seen_TS &= slots_S >= own_T[:, None] - window
    seen_B1TS = (seen_TS & tf.cast(mask_BS, tf.bool)[:, None])[:, None]
    indices = tf.stack(tf.meshgrid(tf.range(rows), tf.range(heads), own_T, indexing="ij"), -1)
    bias = masked(keys.dtype) * (1 - tf.cast(seen_B1TS, keys.dtype))
    if relative is not None:
        bias += tf.cast(relative(own_T, slots_S), keys.dtype)
    return Step(indices, bias)


def rotate(x_BHTK, positions_BT, theta: float):
    """Rotary positions (Su et al., 2021, section 3.2.2) for heads of queries or keys.

    Numbers i and i + K/2 of a head are turned as a pair, as in Llama, by the angle
    position / theta^(2i/K). The gradient is turned back by it.

    Args:
      x_BHTK: K is even.
      positions_BT: int32; B may be 1.
      theta: above 1.
    """

    @tf.custom_gradient
    def apply(x_BHTK):
        def gradient(upstream_BHTK):
            return fuse_constant(_turned, upstream_BHTK, -positions_BT, theta=theta)

        return fuse_constant(_turned, x_BHTK, positions_BT, theta=theta), gradient

    return apply(x_BHTK)


def _turned(x_BHTK, positions_BT, *, theta: float):
    """Angles are in float32 or wider: positions have more bits than half precision."""
    wide, half = statistics_dtype(x_BHTK.dtype), x_BHTK.shape[-1] // 2
    frequencies = tf.constant(theta ** (-np.arange(half) / half), wide)
    angles = tf.cast(positions_BT, wide)[:, None, :, None] * frequencies
    cos, sin = tf.math.cos(angles), tf.math.sin(angles)
    first, second = tf.split(tf.cast(x_BHTK, wide), 2, -1)
    turned = tf.concat([first * cos - second * sin, second * cos + first * sin], -1)
    return tf.cast(turned, x_BHTK.dtype)


def grouped_product(x_BHTM, y_BGMN, transpose_b: bool = False):
    """The product of each head of x with that of y of its group: [B, H, T, N].

    Head h belongs to group h // (H / G). The heads of a group are multiplied as one of T x H / G
    rows, so no head of y is copied.

    Args:
      x_BHTM: [B, H, T, M].
      y_BGMN: [B, G, M, N], or with `transpose_b` [B, G, N, M].
      transpose_b: as in `tf.matmul`.
    """
    x_BGRM = _in_heads(x_BHTM, y_BGMN.shape[1])
    y_BGRN = tf.matmul(x_BGRM, y_BGMN, transpose_b=transpose_b)
    return _in_heads(y_BGRN, x_BHTM.shape[1])


def _in_heads(x, heads: int):
    """x [B, H, T, M] in so many heads: those of a group behind each other, or apart again."""
    if x.shape[1] == heads:
        return x
    shape, width = tf.shape(x), x.shape[-1]
    return tf.reshape(x, [shape[0], heads, -1, shape[-1] if width is None else width])


def probabilities(query_BHTK, key_BGSK, mask_BS=None, band_TS=None, relative_HTS=None):
    """Softmax over the keys of the scores [B, H, T, S].

    Args:
      query_BHTK: scaled.
      key_BGSK: of the same dtype; each head is for H / G of the queries'.
      mask_BS: true or 1 where a key may be attended to, or None.
      band_TS, relative_HTS: added to the scores, or None.
    """
    if mask_BS is not None:
        # As one more feature of queries and keys, the mask costs no pass over the scores.
        mask_B1S1 = tf.cast(mask_BS, key_BGSK.dtype)[:, None, :, None]
        bias_B1S1 = masked(mask_B1S1.dtype) * (1 - mask_B1S1)
        bias_BGS1 = tf.broadcast_to(bias_B1S1, tf.shape(key_BGSK[..., :1]))
        key_BGSK = tf.concat([key_BGSK, bias_BGS1], -1)
        query_BHTK = tf.concat([query_BHTK, tf.ones_like(query_BHTK[..., :1])], -1)
    scores_BHTS = grouped_product(query_BHTK, key_BGSK, transpose_b=True)
    dtype = scores_BHTS.dtype
    added = [tf.cast(each, dtype) for each in (band_TS, relative_HTS) if each is not None]
    return tf.nn.softmax(scores_BHTS + sum(added[1:], added[0]) if added else scores_BHTS)


def attend(heads, mask_BS, band_TS, relative_HTS, *random_BHTS, share: float):
    """Mixes values by `probabilities`, of which dropout takes a share: [B, H, T, K].

    `heads` are queries [B, H, T, K], keys [B, G, S, K] and values [B, G, S, K]; these and
    `relative_HTS`, where it is not None, may be differentiated by.
    No share is taken where there are no random numbers. The backward pass sums probabilities times
    their gradients over the width of a head instead of over the keys, as Dao et al. (2022, section
    3.1) do, so that what is left of it is one elementwise chain.
    """

    @tf.custom_gradient
    def apply(query_BHTK, key_BGSK, value_BGSK, *relative_HTS):
        kept_BHTS = seen_BHTS = probabilities(query_BHTK, key_BGSK, mask_BS, band_TS, *relative_HTS)
        if random_BHTS:
            kept_BHTS = fuse(fusion.drop, seen_BHTS, *random_BHTS, share=share)
        mixed_BHTK = grouped_product(kept_BHTS, value_BGSK)

        def gradient(upstream_BHTK):
            sums_BHT1 = fuse_constant(_dot, upstream_BHTK, mixed_BHTK)
            upstream_BHTS = grouped_product(upstream_BHTK, value_BGSK, transpose_b=True)
            tensors = (seen_BHTS, upstream_BHTS, sums_BHT1, *random_BHTS)
            scores_BHTS = fuse_constant(_of_scores, *tensors, share=share)
            groups = key_BGSK.shape[1]
            return (
                grouped_product(scores_BHTS, key_BGSK),
                _transposed_product(scores_BHTS, query_BHTK, groups),
                _transposed_product(kept_BHTS, upstream_BHTK, groups),
                *(fuse_constant(_over_rows, scores_BHTS, dtype=x.dtype) for x in relative_HTS),
            )

        return mixed_BHTK, gradient

    return apply(*heads) if relative_HTS is None else apply(*heads, relative_HTS)


def _transposed_product(scores_BHTS, x_BHTK, groups: int):
    """The transposed scores times x, summed over the heads of each group: [B, G, S, K].

    It is fastest with the small factor transposed.
    """
    scores_BGRS, x_BGRK = (_in_heads(each, groups) for each in (scores_BHTS, x_BHTK))
    return tf.linalg.matrix_transpose(tf.matmul(x_BGRK, scores_BGRS, transpose_a=True))


def _dot(x, y):
    """Over the last axis."""
    wide = statistics_dtype(x.dtype)
    return tf.reduce_sum(tf.cast(x, wide) * tf.cast(y, wide), -1, keepdims=True)


def _over_rows(x_BHTS, *, dtype):
    """Its sum over the rows of the batch, in a type that may be wider."""
    return tf.reduce_sum(tf.cast(x_BHTS, dtype), 0)


def _of_scores(probabilities, upstream, sums, *random, share: float):
    """The gradient of the scores, from that of the dropped probabilities."""
    kept = tf.cast(upstream, sums.dtype)
    if random:
        kept = fusion.drop(kept, *random, share=share)
    return tf.cast(tf.cast(probabilities, sums.dtype) * (kept - sums), probabilities.dtype)
