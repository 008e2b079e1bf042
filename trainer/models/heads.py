"""Heads: layers on an encoder that make a task's outputs of its vectors."""

import keras
import tensorflow as tf

from trainer.batch import IDS, POSITIONS
from trainer.models import layers
from trainer.models.architecture import Architecture, Head
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


class WordHead(keras.layers.Layer):
    """Logits of all tokens of the vocabulary for the vectors of a language model.

    They are products with the table of token vectors (Press & Wolf, 2017), or with a kernel of the
    head's own.

    Args:
      architecture: of the encoder below.
      transforms: a dense layer, its activation and a layer norm stand before the products, and a
        bias behind them (Devlin et al., 2019).
      tied: to the table.
      mask: a token: without positions in the inputs, its places alone have logits; None: all have.
    """

    def __init__(
        self,
        architecture: Architecture,
        transforms: bool,
        tied: bool = True,
        mask: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy, self.architecture, self.takes_table = self.dtype_policy, architecture, tied
        self.mask = mask
        width = architecture.embedding_width or architecture.width
        self.transforms, self.kernel, self.bias = transforms, None, None
        if transforms:
            activation = ACTIVATIONS[architecture.word_activation or architecture.activation]
            self.hidden = layers.dense(width, activation=activation, name="hidden", dtype=policy)
            self.norm = layers.LayerNorm(architecture.epsilon, name="norm", dtype=policy)

    def build(self, vectors_BTD_shape):
        """Makes all variables."""
        shape = self.architecture
        width = shape.embedding_width or shape.width
        if self.transforms:
            self.hidden.build(vectors_BTD_shape)
            self.norm.build((*vectors_BTD_shape[:-1], width))
            self.bias = self.add_weight((shape.vocab_size,), "zeros", name="bias")
        if not self.takes_table:
            initial = keras.initializers.TruncatedNormal(stddev=layers.TOKEN_DEVIATION)
            narrow = width if self.transforms else shape.width
            self.kernel = self.add_weight((shape.vocab_size, narrow), initial, name="kernel")
        self.built = True

    def call(self, vectors_BTD, inputs, training=False, table=None):
        """[B, T, D] -> [B, T, V], or [B, K, V] where the inputs have "positions" [B, K].

        Only vectors at these places meet the vocabulary. With a mask token the K places are those
        of `places_of` unless there are others. `table` [V, D] is needed if tied.
        """
        x_BKD, places_BK = vectors_BTD, inputs.get(POSITIONS)
        if places_BK is None and self.mask is not None:
            places_BK = places_of(inputs[IDS] == self.mask)
        if places_BK is not None:
            x_BKD = tf.gather(x_BKD, places_BK, batch_dims=1)
        if self.transforms:
            x_BKD = self.norm(self.hidden(x_BKD))
        if self.architecture.output_scale:
            x_BKD = x_BKD * tf.cast(self.architecture.width**-0.5, x_BKD.dtype)
        table_VD = tf.convert_to_tensor(table if self.takes_table else self.kernel)
        rows = tf.matmul(tf.reshape(x_BKD, [-1, x_BKD.shape[-1]]), table_VD, transpose_b=True)
        shape = tf.concat([tf.shape(x_BKD)[:-1], [table_VD.shape[0]]], 0)
        logits_BKV = tf.reshape(rows, shape)
        return logits_BKV if self.bias is None else logits_BKV + self.bias


class PairedWordHead(WordHead):
    """A `WordHead`, and a head that tells if two sentences follow one another.

    The first token's vector goes through a dense layer with tanh, as in BERT.
    """

    def __init__(
        self, architecture: Architecture, tied: bool = True, mask: int | None = None, **kwargs
    ):
        super().__init__(architecture, transforms=True, tied=tied, mask=mask, **kwargs)
        shape = Head("cls", architecture.width)
        self.next = OutputHead(2, shape, name="next", dtype=self.dtype_policy)

    def build(self, vectors_BTD_shape):
        """Makes all variables."""
        self.next.build((vectors_BTD_shape[0], vectors_BTD_shape[-1]))
        super().build(vectors_BTD_shape)

    def call(self, vectors_BTD, inputs, training=False, table=None):
        """{"words": logits as of `WordHead`, "next": [B, 2]}."""
        words = super().call(vectors_BTD, inputs, training=training, table=table)
        return {"words": words, "next": self.next(vectors_BTD[:, 0], training=training)}


def places_of(found_BT):
    """The places where it is true, first, then others: int32 [B, K].

    K is the largest number of such places in a row, and at least 1.
    """
    most = tf.reduce_max(tf.reduce_sum(tf.cast(found_BT, tf.int32), 1))
    order_BT = tf.argsort(tf.cast(~found_BT, tf.int32), axis=1, stable=True)
    return order_BT[:, : tf.maximum(most, 1)]
