"""The encoder that all models share, and a classifier on top of it."""

import keras

from trainer import config as config_lib
from trainer.models import layers

NORM_EPSILON = 1e-6


class Encoder(keras.layers.Layer):
    """A stack of Transformer blocks over token and position embeddings."""

    def __init__(
        self,
        settings: config_lib.Model,
        vocab_size: int,
        max_length: int,
        token_types: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.settings = settings
        self.embeddings = layers.TokenAndPositionEmbedding(
            vocab_size,
            max_length,
            settings.width,
            settings.positions,
            position_scale=settings.position_scale,
            token_types=token_types,
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

    def build(self, ids_BT_shape, attention_mask_BT_shape=None, types_BT_shape=None):
        self.embeddings.build(ids_BT_shape)
        hidden_shape = (*ids_BT_shape, self.settings.width)
        for block in self.blocks:
            block.build(hidden_shape)
        if self.final_norm is not None:
            self.final_norm.build(hidden_shape)
        self.built = True

    def call(self, ids_BT, attention_mask_BT, types_BT=None, training=False, return_scores=False):
        """int32 ids, mask and segments [B, T] -> [B, T, D], and where asked all attention."""
        x_BTD = self.embeddings(ids_BT, types_BT, training=training)
        scores = []
        for block in self.blocks:
            x_BTD, scores_BHTT = block(
                x_BTD, attention_mask_BT, training=training, return_scores=True
            )
            scores.append(scores_BHTT)
        if self.final_norm is not None:
            x_BTD = self.final_norm(x_BTD)
        return (x_BTD, scores) if return_scores else x_BTD


class ClassificationHead(keras.layers.Layer):
    """Logits for any number of classes, after a dense layer of `width` where it is not 0."""

    def __init__(self, classes: int, width: int = 0, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.hidden = (
            layers.dense(width, name="hidden", activation="tanh", dtype=policy) if width else None
        )
        self.dropout = layers.Dropout(dropout, name="dropout", dtype=policy)
        # Small, so that a new head says nothing yet: the first loss is the logarithm of `classes`.
        initial = keras.initializers.TruncatedNormal(stddev=0.02)
        self.logits = layers.dense(classes, kernel_initializer=initial, name="logits", dtype=policy)

    def build(self, shape):
        if self.hidden is not None:
            self.hidden.build(shape)
            shape = (*shape[:-1], self.hidden.units)
        self.logits.build(shape)
        self.built = True

    def call(self, pooled_BD, training=False):
        """[B, D] -> [B, classes]."""
        if self.hidden is not None:
            pooled_BD = self.hidden(pooled_BD)
        return self.logits(self.dropout(pooled_BD, training=training))


class Classifier(keras.Model):
    """Encoder, pooling, and a head.

    Args:
      token_types: 2 for pairs of texts, each with a segment vector of its own; 0 for single ones.
    """

    def __init__(
        self,
        settings: config_lib.Model,
        vocab_size: int,
        max_length: int,
        classes: int,
        token_types: int = 0,
        **kwargs,
    ):
        super().__init__(name="classifier", **kwargs)
        policy = self.dtype_policy
        self.encoder = Encoder(
            settings, vocab_size, max_length, token_types, name="encoder", dtype=policy
        )
        self.pooling = layers.Pooling(settings.pooling, name="pooling", dtype=policy)
        self.head = ClassificationHead(
            classes, settings.head_width, settings.head_dropout, name="head", dtype=policy
        )

    def call(self, inputs, training=False):
        """{"input_ids", "attention_mask", "token_type_ids"}, int32 [B, T] -> [B, classes]."""
        mask_BT = inputs["attention_mask"]
        x_BTD = self.encoder(
            inputs["input_ids"], mask_BT, inputs.get("token_type_ids"), training=training
        )
        return self.head(self.pooling(x_BTD, mask_BT), training=training)


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
    token_types = 2 if config.data.text_pair else 0
    return Classifier(config.model, vocab_size, config.data.max_length, classes, token_types)
