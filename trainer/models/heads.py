"""Heads: layers on an encoder that make a task's outputs of its vectors."""

import keras

from trainer.models import layers
from trainer.models.architecture import Head
from trainer.models.fusion import ACTIVATIONS


class OutputHead(keras.layers.Layer):
    """A dense layer where `shape` has one, dropout, and a linear layer.

    Args:
      outputs: numbers that it gives for each vector: logits, or values of a regression.
      shape: its settings.
    """

    def __init__(self, outputs: int, shape: Head, **kwargs):
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
        # Small, so that a new head says nothing yet: the first loss is the logarithm of `outputs`.
        initial = keras.initializers.TruncatedNormal(stddev=0.02)
        self.logits = layers.dense(
            outputs,
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

    def before_logits(self, vectors, training=False):
        """The inputs of the logits: [..., D] -> [..., width], or [..., D] without a dense layer."""
        if self.hidden is None:
            return vectors
        return self.hidden(self.input_dropout(vectors, training=training))

    def call(self, vectors, training=False):
        """[B, D] -> [B, outputs], and [B, T, D] -> [B, T, outputs]."""
        inputs = self.before_logits(vectors, training=training)
        return self.logits(self.dropout(inputs, training=training))
