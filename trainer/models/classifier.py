"""The encoder that all models share, and a classifier on top of it."""

import dataclasses

import keras

from trainer import config as config_lib
from trainer.models import layers
from trainer.models.architecture import Architecture, Head, from_scratch
from trainer.models.block import TransformerBlock, recomputed
from trainer.models.fusion import ACTIVATIONS


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
                shape.activation,
                shape.norm,
                shape.dropout if "attention" in shape.output_dropouts else 0.0,
                shape.dropout if "ffn" in shape.output_dropouts else 0.0,
                shape.attention_dropout,
                shape.causal,
                shape.attention_window,
                shape.epsilon,
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


class ClassificationHead(keras.layers.Layer):
    """Logits for any number of classes."""

    def __init__(self, classes: int, shape: Head, **kwargs):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.hidden = (
            layers.dense(
                shape.width,
                name="hidden",
                activation=ACTIVATIONS[shape.activation],
                dtype=policy,
            )
            if shape.width
            else None
        )
        self.input_dropout = layers.Dropout(
            shape.dropout if shape.drops_input else 0.0, name="input_dropout", dtype=policy
        )
        self.dropout = layers.Dropout(shape.dropout, name="dropout", dtype=policy)
        # Small, so that a new head says nothing yet: the first loss is the logarithm of `classes`.
        initial = keras.initializers.TruncatedNormal(stddev=0.02)
        self.logits = layers.dense(
            classes,
            use_bias=shape.bias,
            kernel_initializer=initial,
            name="logits",
            dtype=policy,
        )

    def build(self, shape):
        if self.hidden is not None:
            self.hidden.build(shape)
            shape = (*shape[:-1], self.hidden.units)
        self.logits.build(shape)
        self.built = True

    def features(self, pooled_BD, training=False):
        """What the logits are made of: [B, D] -> [B, width], or [B, D] without a dense layer."""
        if self.hidden is None:
            return pooled_BD
        return self.hidden(self.input_dropout(pooled_BD, training=training))

    def call(self, pooled_BD, training=False):
        """[B, D] -> [B, classes]."""
        features = self.features(pooled_BD, training=training)
        return self.logits(self.dropout(features, training=training))


@keras.saving.register_keras_serializable("thaw")
class Classifier(keras.Model):
    """Encoder, pooling, and a head."""

    def __init__(self, architecture: Architecture, classes: int, **kwargs):
        super().__init__(name="classifier", **kwargs)
        policy = self.dtype_policy
        self.architecture, self.classes = architecture, classes
        self.encoder = Encoder(architecture, name="encoder", dtype=policy)
        self.pooling = layers.Pooling(architecture.head.pooling, name="pooling", dtype=policy)
        self.head = ClassificationHead(classes, architecture.head, name="head", dtype=policy)

    def build(self, inputs_shape=None):
        """Makes all variables; nothing about the inputs needs to be known."""
        self.encoder.build((None, None))
        self.head.build((None, self.pooling.parts * self.architecture.width))
        self.built = True

    def get_config(self):
        """What a Keras file says of the model besides its weights."""
        shape = dataclasses.asdict(self.architecture)
        return {"architecture": shape, "classes": self.classes, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`, built."""
        shape = dict(config.pop("architecture"))
        shape["head"] = Head(**shape["head"])
        shape["output_dropouts"] = tuple(shape["output_dropouts"])
        model = cls(Architecture(**shape), **config)
        model.build()
        return model

    def call(self, inputs, training=False, frozen_levels=0, recompute=False):
        """{"input_ids", "attention_mask", "token_type_ids"}, int32 [B, T] -> [B, classes].

        See `Encoder.call` for `frozen_levels` and `recompute`.
        """
        encoded_BD = self.encode(inputs, training, frozen_levels, recompute)
        return self.head(encoded_BD, training=training)

    def logits_of_vectors(self, vectors_BTD, inputs):
        """The logits [B, classes], with other token vectors than those of the ids."""
        mask_BT = inputs["attention_mask"]
        x_BTD = self.encoder(
            inputs["input_ids"],
            mask_BT,
            inputs.get("token_type_ids"),
            vectors_BTD=vectors_BTD,
        )
        return self.head(self.pooling(x_BTD, mask_BT))

    def encode(self, inputs, training=False, frozen_levels=0, recompute=False):
        """What the head takes, [B, D], of inputs as in `call`."""
        mask_BT = inputs["attention_mask"]
        x_BTD = self.encoder(
            inputs["input_ids"],
            mask_BT,
            inputs.get("token_type_ids"),
            training=training,
            frozen_levels=frozen_levels,
            recompute=recompute,
        )
        return self.pooling(x_BTD, mask_BT)


def build(config: config_lib.Experiment, vocab_size: int, classes: int) -> keras.Model:
    """The default `model.factory`.

    Args:
      config: the run's settings.
      vocab_size: rows of the token table: the tokenizer's, or `model.vocab_size` where it is set.
      classes: number of labels.

    Returns:
      A model that takes a dict of int32 [B, T] tensors (`input_ids`, `attention_mask`,
      `token_type_ids`) and returns logits [B, classes].
    """
    pairs = bool(config.data.text_pair)
    return Classifier(
        from_scratch(config.model, vocab_size, config.data.max_length, pairs), classes
    )
