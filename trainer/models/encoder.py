"""The encoder that all models share: a stack of Transformer blocks over embeddings."""

import keras

from trainer.models import layers
from trainer.models.architecture import Architecture
from trainer.models.block import TransformerBlock, recomputed


class Encoder(keras.layers.Layer):
    """A stack of Transformer blocks over token and position embeddings."""

    def __init__(self, architecture: Architecture, **kwargs):
        super().__init__(**kwargs)
        self.architecture = shape = architecture
        policy = self.dtype_policy
        self.embeddings = layers.TokenAndPositionEmbedding(
            shape.vocab_size,
            shape.max_length,
            shape.embedding_width or shape.width,
            shape.positions,
            position_offset=shape.position_offset,
            position_scale=shape.position_scale,
            token_types=shape.token_types,
            norm=shape.embedding_norm,
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
                norm=shape.norm,
                attention_output_dropout=shape.dropout
                if "attention" in shape.output_dropouts
                else 0.0,
                ffn_output_dropout=shape.dropout if "ffn" in shape.output_dropouts else 0.0,
                attention_dropout=shape.attention_dropout,
                causal=shape.causal,
                window=shape.attention_window,
                epsilon=shape.epsilon,
                name=f"block_{i}",
                dtype=policy,
            )
            for i in range(1 if shape.shared else shape.depth)
        ]
        self.final_norm = (
            layers.LayerNorm(shape.epsilon, name="final_norm", dtype=policy)
            if shape.norm == "pre"
            else None
        )

    def build(self, ids_BT_shape, attention_mask_BT_shape=None, types_BT_shape=None):
        self.embeddings.build(ids_BT_shape)
        hidden_shape = (*ids_BT_shape, self.architecture.width)
        for block in self.blocks:
            block.build(hidden_shape)
        if self.final_norm is not None:
            self.final_norm.build(hidden_shape)
        self.built = True

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
    ):
        """int32 ids, mask and segments [B, T] -> [B, T, D], and where asked all attention.

        So many of the lowest levels (the embeddings, then each block) are frozen, and run without
        dropout. With `recompute` the backward pass keeps what goes into each block only, and runs
        the block once more. `vectors_BTD` stand in for the token vectors of the ids.
        """
        embedded = training and frozen_levels < 1
        x_BTD = self.embeddings(ids_BT, types_BT, training=embedded, vectors_BTD=vectors_BTD)
        scores = []
        for i in range(self.architecture.depth):
            at = 0 if self.architecture.shared else i
            trains = training and frozen_levels < at + 2
            if trains and recompute:
                x_BTD = recomputed(self.blocks[at], x_BTD, attention_mask_BT)
                continue
            x_BTD = self.blocks[at](
                x_BTD, attention_mask_BT, training=trains, return_scores=return_scores
            )
            if return_scores:
                x_BTD, scores_BHTT = x_BTD
                scores.append(scores_BHTT)
        if self.final_norm is not None:
            x_BTD = self.final_norm(x_BTD)
        return (x_BTD, scores) if return_scores else x_BTD
