"""The encoder that all models share, and a classifier on top of it."""

import keras

from trainer import config as config_lib
from trainer.models import layers

NORM_EPSILON = 1e-6


class Encoder(keras.layers.Layer):
    """A stack of Transformer blocks over token and position embeddings."""

    def __init__(self, settings: config_lib.Model, vocab_size: int, max_length: int, **kwargs):
        super().__init__(**kwargs)
        self.settings = settings
        self.embeddings = layers.TokenAndPositionEmbedding(
            vocab_size,
            max_length,
            settings.width,
            settings.positions,
            position_scale=settings.position_scale,
            norm=settings.embedding_norm,
            epsilon=NORM_EPSILON,
            dropout=settings.embedding_dropout,
            name="embeddings",
            dtype=self.dtype_policy,
        )
        self.blocks = [
            layers.TransformerBlock(
                settings.heads,
                settings.ffn_width,
                settings.activation,
                settings.norm,
                settings.dropout,
                settings.attention_dropout,
                settings.causal,
                settings.attention_window,
                NORM_EPSILON,
                name=f"block_{i}",
                dtype=self.dtype_policy,
            )
            for i in range(settings.depth)
        ]
        self.final_norm = (
            layers.layer_norm(NORM_EPSILON, name="final_norm", dtype=self.dtype_policy)
            if settings.norm == "pre"
            else None
        )

    def build(self, ids_BT_shape, attention_mask_BT_shape=None):
        self.embeddings.build(ids_BT_shape)
        hidden_shape = (*ids_BT_shape, self.settings.width)
        for block in self.blocks:
            block.build(hidden_shape)
        if self.final_norm is not None:
            self.final_norm.build(hidden_shape)
        self.built = True

    def call(self, ids_BT, attention_mask_BT, training=False, return_scores=False):
        """int32 ids and mask [B, T] -> [B, T, D], and where asked for each block's attention."""
        x_BTD = self.embeddings(ids_BT, training=training)
        scores = []
        for block in self.blocks:
            x_BTD, scores_BHTT = block(
                x_BTD, attention_mask_BT, training=training, return_scores=True
            )
            scores.append(scores_BHTT)
        if self.final_norm is not None:
            x_BTD = self.final_norm(x_BTD)
        return (x_BTD, scores) if return_scores else x_BTD


class Classifier(keras.Model):
    """Encoder, pooling, and a linear head for any number of classes."""

    def __init__(
        self, settings: config_lib.Model, vocab_size: int, max_length: int, classes: int, **kwargs
    ):
        super().__init__(name="classifier", **kwargs)
        policy = self.dtype_policy
        self.encoder = Encoder(settings, vocab_size, max_length, name="encoder", dtype=policy)
        self.pooling = layers.Pooling(settings.pooling, name="pooling", dtype=policy)
        self.hidden = (
            layers.dense(settings.head_width, name="head_hidden", activation="tanh", dtype=policy)
            if settings.head_width
            else None
        )
        self.dropout = layers.Dropout(settings.head_dropout, name="head_dropout", dtype=policy)
        # Small, so that a new head says nothing yet: the first loss is the logarithm of `classes`.
        initial = keras.initializers.TruncatedNormal(stddev=0.02)
        self.head = layers.dense(classes, kernel_initializer=initial, name="head", dtype=policy)

    def call(self, inputs, training=False):
        """{"input_ids", "attention_mask"}: int32 [B, T] -> logits [B, classes]."""
        x_BTD = self.encoder(inputs["input_ids"], inputs["attention_mask"], training=training)
        pooled = self.pooling(x_BTD, inputs["attention_mask"])
        if self.hidden is not None:
            pooled = self.hidden(pooled)
        return self.head(self.dropout(pooled, training=training))


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
    return Classifier(config.model, vocab_size, config.data.max_length, classes)
