"""Heads: layers on an encoder that make a task's outputs of its vectors."""

import keras

from trainer.models import layers
from trainer.models.architecture import Head
from trainer.models.fusion import ACTIVATIONS


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
        """The inputs of the logits: [B, D] -> [B, width], or [B, D] without a dense layer."""
        if self.hidden is None:
            return pooled_BD
        return self.hidden(self.input_dropout(pooled_BD, training=training))

    def call(self, pooled_BD, training=False):
        """[B, D] -> [B, classes]."""
        features = self.features(pooled_BD, training=training)
        return self.logits(self.dropout(features, training=training))
