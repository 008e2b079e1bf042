"""A Transformer block.

Shape suffixes: B rows of the batch, T positions, S of the memory, D width, H heads.
"""

import keras
import tensorflow as tf

from trainer.models import fusion
from trainer.models.attention import Cache, MultiHeadAttention, Step, Tensors
from trainer.models.fusion import fuse
from trainer.models.layers import NORMS, Dropout, LayerNorm, biases, dense, product
from trainer.models.random import repeating


class TransformerBlock(keras.layers.Layer):
    """Self-attention and a feed-forward network, each with a residual connection.

    In a decoder, attention to an encoder's output, the memory, stands between the two.

    Args:
      norm: "post" normalises after each residual sum (Vaswani et al., 2017; BERT), "pre" before
        each sublayer (Xiong et al., 2020; GPT-2).
      norm_kind: of NORMS.
      gated_ffn: the activation of one linear layer, `ffn_gate`, is multiplied with another one,
        `ffn_in` (Shazeer, 2020; with "silu": SwiGLU).
      ffn_biases: whether the linear layers of the feed-forward network have biases.
      crosses: attends to a memory.
      kv_heads, head_dim, rotary_theta, attention_biases, attention_scale: see
        `MultiHeadAttention`.
    """

    def __init__(
        self,
        heads: int,
        ffn_width: int,
        activation: str = "gelu",
        norm: str = "post",
        *,
        norm_kind: str = "layer",
        gated_ffn: bool = False,
        attention_output_dropout: float = 0.0,
        ffn_output_dropout: float = 0.0,
        ffn_hidden_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        causal: bool = False,
        window: int = 0,
        kv_heads: int = 0,
        head_dim: int = 0,
        rotary_theta: float = 0.0,
        attention_biases: bool = True,
        attention_scale: bool = True,
        ffn_biases: bool = True,
        crosses: bool = False,
        epsilon: float = 1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.norm = norm
        self.ffn_width = ffn_width
        of_heads = {
            "heads": heads,
            "dropout": attention_dropout,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "biases": attention_biases,
            "scale": attention_scale,
            "dtype": policy,
        }
        self.attention = MultiHeadAttention(
            causal=causal, window=window, rotary_theta=rotary_theta, name="attention", **of_heads
        )
        make_norm = NORMS[norm_kind]
        self.attention_norm = make_norm(epsilon, name="attention_norm", dtype=policy)
        self.cross_attention = None
        if crosses:
            self.cross_attention = MultiHeadAttention(name="cross_attention", **of_heads)
            self.cross_attention_norm = make_norm(
                epsilon, name="cross_attention_norm", dtype=policy
            )
            self.cross_attention_output_dropout = Dropout(
                attention_output_dropout, name="cross_attention_dropout", dtype=policy
            )
        of_ffn = {"use_bias": ffn_biases, "dtype": policy}
        self.ffn_in = dense(ffn_width, name="ffn_in", **of_ffn)
        self.ffn_gate = dense(ffn_width, name="ffn_gate", **of_ffn) if gated_ffn else None
        self.activation = activation
        self.ffn_hidden_dropout = Dropout(
            ffn_hidden_dropout, name="ffn_hidden_dropout", dtype=policy
        )
        self.ffn_norm = make_norm(epsilon, name="ffn_norm", dtype=policy)
        self.attention_output_dropout = Dropout(
            attention_output_dropout, name="attention_dropout", dtype=policy
        )
        self.ffn_output_dropout = Dropout(ffn_output_dropout, name="ffn_dropout", dtype=policy)

    def build(self, shape):
        self.attention.build(shape)
        self.attention_norm.build(shape)
        if self.cross_attention is not None:
            self.cross_attention.build(shape)
            self.cross_attention_norm.build(shape)
        for layer in self._inner:
            layer.build(shape)
        self.ffn_out = dense(
            shape[-1], use_bias=self.ffn_in.use_bias, name="ffn_out", dtype=self.dtype_policy
        )
        self.ffn_out.build((*shape[:-1], self.ffn_width))
        self.ffn_norm.build(shape)
        self.built = True

    @property
    def _inner(self) -> list[keras.layers.Dense]:
        """The linear layers that the feed-forward network begins with."""
        return [self.ffn_in] if self.ffn_gate is None else [self.ffn_in, self.ffn_gate]

    def call(
        self,
        x_BTD,
        attention_mask=None,
        training=False,
        return_scores=False,
        positions_BT=None,
        cache: Cache | None = None,
        step: Step | None = None,
        memory: Tensors | None = None,
        memory_mask_BS=None,
        relative_HTT=None,
    ):
        """Returns [B, T, D], and where asked for the attention probabilities.

        They are of self-attention [B, H, T, T], with a memory of attention to it [B, H, T, S].

        `relative_HTT` is added to the scores of self-attention; in `step` it stands already.
        With a cache, x are new tokens at the places of `step`, and the new cache is returned too.
        A memory is [B, S, D], or with a cache what `MultiHeadAttention.remember` makes of that.
        """
        crosses, pre = self.cross_attention is not None, self.norm == "pre"
        normal_BTD = self.attention_norm(x_BTD) if pre else x_BTD
        scores = None
        if cache is not None and step is not None:
            mixed_BTD, cache = self.attention.mix_cached(normal_BTD, positions_BT, cache, step)
        else:
            asked = return_scores and not crosses
            mixed_BTD, scores = self.attention.mix(
                normal_BTD,
                None,
                attention_mask,
                training=training,
                return_scores=asked,
                positions_BT=positions_BT,
                relative_HTS=relative_HTT,
            )
        layer, norm = self.attention.output_projection, self.attention_norm
        dropout = self.attention_output_dropout
        x_BTD = self._add(
            x_BTD, mixed_BTD, layer=layer, norm=norm, dropout=dropout, training=training
        )
        if self.cross_attention is not None:
            norm, dropout = self.cross_attention_norm, self.cross_attention_output_dropout
            normal_BTD = norm(x_BTD) if pre else x_BTD
            if isinstance(memory, tuple):
                mixed_BTD = self.cross_attention.mix_remembered(normal_BTD, memory, memory_mask_BS)
            else:
                mixed_BTD, scores = self.cross_attention.mix(
                    normal_BTD, memory, memory_mask_BS, training, return_scores
                )
            layer = self.cross_attention.output_projection
            x_BTD = self._add(
                x_BTD, mixed_BTD, layer=layer, norm=norm, dropout=dropout, training=training
            )
        x_BTD = self._feed_forward(x_BTD, training)
        if cache is not None:
            return x_BTD, cache
        return (x_BTD, scores) if return_scores else x_BTD

    def _feed_forward(self, x_BTD, training):
        normal_BTD = self.ffn_norm(x_BTD) if self.norm == "pre" else x_BTD
        inner = [product(normal_BTD, each.kernel) for each in self._inner]
        chain = fusion.activate if self.ffn_gate is None else fusion.gate
        dropout = self.ffn_hidden_dropout
        tensors = *inner, *biases(*self._inner), *dropout.draw(tf.shape(inner[0]), training)
        hidden = fuse(chain, *tensors, activation=self.activation, share=dropout.share)
        layer, norm, dropout = self.ffn_out, self.ffn_norm, self.ffn_output_dropout
        return self._add(x_BTD, hidden, layer=layer, norm=norm, dropout=dropout, training=training)

    def _add(self, x_BTD, y, layer, norm, dropout, training):
        """x plus what a linear layer makes of y; normalised if norms come after residual sums."""
        tensors = (x_BTD, product(y, layer.kernel), *biases(layer))
        random, share = dropout.draw(tf.shape(x_BTD), training), dropout.share
        if self.norm == "post" and layer.use_bias and isinstance(norm, LayerNorm):
            tensors = (*tensors, *norm.weights_now, *random)
            return fuse(fusion.residual_norm, *tensors, share=share, epsilon=norm.epsilon)
        x_BTD = fuse(fusion.residual, *tensors, *random, share=share, biased=layer.use_bias)
        return x_BTD if self.norm == "pre" else norm(x_BTD)


def recomputed(block: TransformerBlock, x_BTD, *, memory=None, relative_HTT=None, **constants):
    """The block while training, of which the backward pass keeps the input only.

    It computes the block once more from it, with the same dropout: gradient checkpointing (Chen et
    al., 2016, "Training deep nets with sublinear memory cost").

    Args:
      block: whose weights the gradient is taken of too.
      x_BTD: in the block's compute dtype.
      memory: [B, S, D] in that dtype, or None: see `TransformerBlock.call`.
      relative_HTT: added to the scores, or None.
      constants: further arguments of the call, of which no gradient is taken.

    Returns:
      What the block returns, [B, T, D] in its compute dtype.
    """
    learned = {"memory": memory, "relative_HTT": relative_HTT}
    learned = {name: each for name, each in learned.items() if each is not None}
    kept = [x_BTD, *learned.values()]
    with repeating() as again:

        @tf.custom_gradient
        def apply(*tensors):
            inputs, values = tensors[: len(kept)], tensors[len(kept) :]

            def call(x_BTD, *rest):
                given = dict(zip(learned, rest, strict=True))
                with keras.StatelessScope(zip(block.trainable_variables, values, strict=True)):
                    return block(x_BTD, training=True, **given, **constants)

            def gradient(upstream_BTD):
                # Only once the gradient is there: or TensorFlow and XLA, which cannot tell that
                # this is 0, would keep what they computed first.
                zero = tf.cast(tf.math.is_nan(tf.reshape(upstream_BTD, [-1])[0]), tf.int64)
                held = [each * tf.cast(1 - zero, each.dtype) for each in inputs]
                with again(zero), tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch([*held, *values])
                    result_BTD = call(*held)
                return tape.gradient(result_BTD, [*held, *values], upstream_BTD)

            return call(*inputs), gradient

        return apply(*kept, *map(tf.convert_to_tensor, block.trainable_variables))
