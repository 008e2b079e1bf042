"""Recurrent classifiers of Keras layers: the long short-term memory, one way or both.

Name them as `model.factory`: "trainer.models.recurrent:lstm" or "trainer.models.recurrent:bilstm".
Of `config.model` they read width, depth, head, head_width and the dropout rates.
"""

import keras
import tensorflow as tf

from trainer import config as config_lib
from trainer.batch import IDS, MASK
from trainer.errors import UserError
from trainer.models import layers
from trainer.models.architecture import Head, dropout_rates
from trainer.models.heads import OutputHead

BILSTM = "trainer.models.recurrent:bilstm"
FACTORIES = ("trainer.models.recurrent:lstm", BILSTM)


class Block(keras.layers.Layer):
    """An LSTM over the text (Hochreiter & Schmidhuber, 1997), and one over the text reversed.

    Texts are padded at their end, so padding comes after all that a token's vector depends on.

    Args:
      both_ways: each token gets both vectors, one after the other (Graves & Schmidhuber, 2005).
    """

    def __init__(self, width: int, both_ways: bool, **kwargs):
        super().__init__(**kwargs)

        def reader(name):
            return keras.layers.LSTM(
                width, return_sequences=True, name=name, dtype=self.dtype_policy
            )

        self.forward = reader("forward")
        self.backward = reader("backward") if both_ways else None

    def build(self, x_BTD_shape, lengths_B_shape=None):
        self.forward.build(x_BTD_shape)
        if self.backward is not None:
            self.backward.build(x_BTD_shape)
        self.built = True

    def call(self, x_BTD, lengths_B):
        """[B, T, D] and the number of real tokens [B] -> [B, T, width], or twice that."""
        y_BTD = self.forward(x_BTD)
        if self.backward is None:
            return y_BTD
        reversed_BTD = self.backward(_reverse(x_BTD, lengths_B))
        return tf.concat([y_BTD, _reverse(reversed_BTD, lengths_B)], -1)


def _reverse(x_BTD, lengths_B):
    """The real tokens in reverse order; padding stays where it is."""
    return tf.reverse_sequence(x_BTD, lengths_B, seq_axis=1)


class RecurrentEncoder(keras.layers.Layer):
    """Token embeddings and a stack of LSTMs.

    Args:
      settings: `config.model`: width (of a token's vector, and of either LSTM), depth, dropout.
      vocab_size: rows of the token table.
      both_ways: see `Block`.
    """

    def __init__(self, settings: config_lib.Model, vocab_size: int, both_ways: bool, **kwargs):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        rates = dropout_rates(settings, {})
        self.embeddings = layers.TokenAndPositionEmbedding(
            vocab_size,
            max_length=0,
            width=settings.width,
            positions="none",
            dropout=rates["embedding_dropout"],
            name="embeddings",
            dtype=policy,
        )
        depth = range(settings.depth)
        self.blocks = [
            Block(settings.width, both_ways, name=f"block_{i}", dtype=policy) for i in depth
        ]
        self.dropouts = [
            layers.Dropout(rates["dropout"], name=f"dropout_{i}", dtype=policy) for i in depth
        ]
        self.outputs = settings.width * (1 + both_ways)

    def build(self, ids_BT_shape, attention_mask_BT_shape=None):
        self.embeddings.build(ids_BT_shape)
        width = self.embeddings.width
        for block in self.blocks:
            block.build((*ids_BT_shape, width))
            width = self.outputs
        self.built = True

    def call(self, ids_BT, attention_mask_BT, training=False):
        """int32 ids and mask [B, T] -> [B, T, D]; a row's real tokens come first."""
        lengths_B = tf.reduce_sum(attention_mask_BT, 1)
        x_BTD = self.embeddings(ids_BT, training=training)
        for block, dropout in zip(self.blocks, self.dropouts, strict=True):
            x_BTD = dropout(block(x_BTD, lengths_B), training=training)
        return x_BTD


class RecurrentClassifier(keras.Model):
    """RecurrentEncoder, pooling over the tokens that are no padding, and a linear head."""

    def __init__(
        self, settings: config_lib.Model, vocab_size: int, classes: int, both_ways: bool, **kwargs
    ):
        super().__init__(name="recurrent_classifier", **kwargs)
        policy = self.dtype_policy
        self.encoder = RecurrentEncoder(
            settings, vocab_size, both_ways, name="encoder", dtype=policy
        )
        self.pooling = layers.Pooling(settings.head, name="pooling", dtype=policy)
        dropout = dropout_rates(settings, {})["head_dropout"]
        head = Head(settings.head, settings.head_width, dropout=dropout)
        self.head = OutputHead(classes, head, name="head", dtype=policy)

    def call(self, inputs, training=False):
        """{"input_ids", "attention_mask", "token_type_ids"}, int32 [B, T] -> [B, classes]."""
        mask_BT = inputs[MASK]
        x_BTD = self.encoder(inputs[IDS], mask_BT, training=training)
        return self.head(self.pooling(x_BTD, mask_BT), training=training)


def shapes(
    settings: config_lib.Model, vocab_size: int, classes: int, both_ways: bool
) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's parameters by name, without building it; see `RecurrentClassifier`."""
    width = inputs = settings.width
    found: dict[str, tuple[int, ...]] = {
        "encoder/embeddings/tokens/embeddings": (vocab_size, width)
    }
    for block in range(settings.depth):
        for reader in ("forward", "backward") if both_ways else ("forward",):
            cell = f"encoder/block_{block}/{reader}/lstm_cell"
            found |= {
                f"{cell}/kernel": (inputs, 4 * width),
                f"{cell}/recurrent_kernel": (width, 4 * width),
                f"{cell}/bias": (4 * width,),
            }
        inputs = width * (1 + both_ways)
    return found | Head(settings.head, settings.head_width).shapes(inputs, classes)


def lstm(config: config_lib.Experiment, vocab_size: int, classes: int) -> keras.Model:
    """A `model.factory`: LSTMs that read from left to right. See docs/use/own_model.md."""
    return _build(config, vocab_size, classes, both_ways=False)


def bilstm(config: config_lib.Experiment, vocab_size: int, classes: int) -> keras.Model:
    """A `model.factory`: LSTMs that read from both ends."""
    return _build(config, vocab_size, classes, both_ways=True)


def _build(
    config: config_lib.Experiment, vocab_size: int, classes: int, both_ways: bool
) -> RecurrentClassifier:
    if config.model.head == "native":
        raise UserError(
            "config.model.head='native' is that of a pretrained model, an LSTM has none: choose"
            " mean+max, mean, max, cls or last"
        )
    return RecurrentClassifier(config.model, vocab_size, classes, both_ways)
