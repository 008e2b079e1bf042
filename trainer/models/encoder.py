"""The encoder that all models share: a stack of Transformer blocks over embeddings."""

import keras
import tensorflow as tf

from trainer.models import layers
from trainer.models.architecture import Architecture
from trainer.models.attention import Cache, step_of
from trainer.models.block import TransformerBlock, recomputed
from trainer.models.relative import RelativeBias


class Encoder(keras.layers.Layer):
    """A stack of Transformer blocks over token and position embeddings."""

    def __init__(
        self,
        architecture: Architecture,
        shares_tokens: bool = False,
        crosses: bool = False,
        **kwargs,
    ):
        """Makes no table of token vectors where `shares_tokens`: calls are given the vectors.

        With `crosses` it is a decoder: each block attends to a memory too.
        """
        super().__init__(**kwargs)
        self.architecture = shape = architecture
        policy = self.dtype_policy
        self.embeddings = layers.TokenAndPositionEmbedding(
            0 if shares_tokens else shape.vocab_size,
            shape.max_length,
            shape.embedding_width or shape.width,
            shape.positions,
            position_offset=shape.position_offset,
            position_scale=shape.position_scale,
            token_types=shape.token_types,
            norm=shape.norm_kind if shape.embedding_norm else "",
            epsilon=shape.epsilon,
            dropout=shape.embedding_dropout,
            projected_width=shape.width if shape.embedding_width else 0,
            name="embeddings",
            dtype=policy,
        )
        self.blocks = [
            TransformerBlock(
                shape.heads,
                shape.ffn_width,
                activation=shape.activation,
                gated_ffn=shape.gated_ffn,
                norm=shape.norm,
                norm_kind=shape.norm_kind,
                attention_output_dropout=shape.dropout
                if "attention" in shape.output_dropouts
                else 0.0,
                ffn_output_dropout=shape.dropout if "ffn" in shape.output_dropouts else 0.0,
                ffn_hidden_dropout=shape.dropout if "hidden" in shape.output_dropouts else 0.0,
                attention_dropout=shape.attention_dropout,
                causal=shape.causal,
                window=shape.attention_window,
                kv_heads=shape.kv_heads,
                head_dim=shape.head_dim,
                rotary_theta=shape.rotary_theta if shape.positions == "rotary" else 0.0,
                attention_biases=shape.attention_biases,
                attention_scale=shape.attention_scale,
                ffn_biases=shape.ffn_biases,
                crosses=crosses,
                epsilon=shape.epsilon,
                name=f"block_{i}",
                dtype=policy,
            )
            for i in range(1 if shape.shared else shape.depth)
        ]
        self.relative_bias = relative_bias(shape, policy)
        self.final_norm = (
            layers.NORMS[shape.norm_kind](shape.epsilon, name="final_norm", dtype=policy)
            if shape.norm == "pre"
            else None
        )
        self.final_dropout = layers.Dropout(
            shape.dropout if "final" in shape.output_dropouts else 0.0,
            name="final_dropout",
            dtype=policy,
        )

    def build(self, ids_BT_shape, attention_mask_BT_shape=None, types_BT_shape=None):
        self.embeddings.build(ids_BT_shape)
        hidden_shape = (*ids_BT_shape, self.architecture.width)
        for block in self.blocks:
            block.build(hidden_shape)
        if self.relative_bias is not None:
            self.relative_bias.build()
        if self.final_norm is not None:
            self.final_norm.build(hidden_shape)
        self.built = True

    def new_cache(self, rows, length) -> tuple[Cache, ...]:
        """Zeros for keys and values of each layer, [rows, heads of keys, length, head's width]."""
        heads, width = self.architecture.key_size
        empty = tf.zeros([rows, heads, length, width], self.compute_dtype)
        return ((empty, empty),) * self.architecture.depth

    def call(
        self,
        ids_BT,
        attention_mask_BT,
        types_BT=None,
        training=False,
        return_scores=False,
        frozen_levels=0,
        recompute=False,
        vectors_BTD=None,
        cache: tuple[Cache, ...] | None = None,
        at=0,
        positions_BT=None,
        memory=None,
        memory_mask_BS=None,
    ):
        """int32 ids, mask and segments [B, T] -> [B, T, D], and where asked all attention.

        So many of the lowest levels (the embeddings, then each block) are frozen, and run without
        dropout. With `recompute` the backward pass keeps what goes into each block only, and runs
        the block once more. `vectors_BTD` stand in for the token vectors of the ids. Positions,
        int32 [B, T], count from each row's first token; None: 0, 1, … in each.

        For generation, with a causal mask, a cache holds keys and values of S slots, and the ids
        are only those of new tokens:

            cache = encoder.new_cache(B, S)
            x_BTD, cache = encoder(ids_BT, mask_BS, cache=cache, at=at, positions_BT=positions_BT)

        Args:
          cache: of `new_cache`, or as an earlier call returned it, which ends in the new one.
          at: int32 scalar, the slot that the first of the T new tokens goes to, in all rows: pad
            shorter prompts on the left.
          positions_BT: int32, of each new token in its row, cumsum(mask) - 1; at padding any that
            there is, say 0.
          attention_mask_BT: here [B, S], 1 at slots that hold real tokens, the new ones included;
            slots behind them are not seen, whatever it says.
          memory: of a decoder: an encoder's output, [B, S, D]; here what `remember` makes of it.
          memory_mask_BS: 1 at its real tokens.
        """
        embedded = training and frozen_levels < 1
        x_BTD = self.embeddings(
            ids_BT,
            types_BT,
            training=embedded,
            vectors_BTD=vectors_BTD,
            positions_BT=positions_BT,
        )
        if cache is not None:
            of_memory = memory, memory_mask_BS
            return self._extend(x_BTD, attention_mask_BT, cache, at, positions_BT, *of_memory)
        relative_HTT = None
        if self.relative_bias is not None:
            places_T = tf.range(tf.shape(x_BTD)[1])
            relative_HTT = self.relative_bias(places_T, places_T)
        scores = []
        for i in range(self.architecture.depth):
            number = 0 if self.architecture.shared else i
            trains = training and frozen_levels < number + 2
            if trains and recompute:
                x_BTD = recomputed(
                    self.blocks[number],
                    x_BTD,
                    memory=memory,
                    memory_mask_BS=memory_mask_BS,
                    attention_mask=attention_mask_BT,
                    positions_BT=positions_BT,
                    relative_HTT=relative_HTT,
                )
                continue
            x_BTD = self.blocks[number](
                x_BTD,
                attention_mask_BT,
                training=trains,
                return_scores=return_scores,
                positions_BT=positions_BT,
                memory=memory,
                memory_mask_BS=memory_mask_BS,
                relative_HTT=relative_HTT,
            )
            if return_scores:
                x_BTD, scores_BHTT = x_BTD
                scores.append(scores_BHTT)
        if self.final_norm is not None:
            x_BTD = self.final_norm(x_BTD)
        x_BTD = self.final_dropout(x_BTD, training=training and frozen_levels <= len(self.blocks))
        return (x_BTD, scores) if return_scores else x_BTD

    def remember(self, memory_BSD) -> tuple[Cache, ...]:
        """Keys and values that the blocks of a decoder make of a memory, for calls with a cache."""
        blocks = self.blocks * (self.architecture.depth if self.architecture.shared else 1)
        return tuple(
            block.cross_attention.remember(memory_BSD)
            for block in blocks
            if block.cross_attention is not None
        )

    def _extend(self, x_BTD, mask_BS, cache, at, positions_BT, memory, memory_mask_BS):
        """The output for new tokens, and the new cache."""
        shape, extended = self.architecture, []
        if not shape.causal:
            raise ValueError("a cache needs a causal mask: earlier tokens would see later ones")
        length = tf.shape(x_BTD)[1]
        window, relative = shape.attention_window, self.relative_bias
        step = step_of(cache[0], at, length, mask_BS, window=window, relative=relative)
        for i, of_layer in enumerate(cache):
            block = self.blocks[0 if shape.shared else i]
            x_BTD, of_layer = block(
                x_BTD,
                positions_BT=positions_BT,
                cache=of_layer,
                step=step,
                memory=memory and memory[i],
                memory_mask_BS=memory_mask_BS,
            )
            extended.append(of_layer)
        return x_BTD if self.final_norm is None else self.final_norm(x_BTD), tuple(extended)


def relative_bias(shape: Architecture, policy) -> RelativeBias | None:
    """The bias that the blocks of a stack share, of a dtype policy; None without such positions."""
    if shape.positions != "relative":
        return None
    sizes = shape.heads, shape.relative_buckets, shape.relative_distance, shape.causal
    return RelativeBias(*sizes, name="relative_bias", dtype=policy)
