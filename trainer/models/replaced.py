"""A head that finds replaced tokens, with the small masked language model that replaces them.

Clark et al., 2020, "ELECTRA: Pre-training text encoders as discriminators rather than generators",
arXiv:2003.10555.
"""

import dataclasses

import keras
import tensorflow as tf

from trainer.batch import IDS, MASK, POSITIONS, SAMPLE, SELECTED, TYPES
from trainer.models import layers
from trainer.models.architecture import Architecture
from trainer.models.encoder import Encoder
from trainer.models.fusion import ACTIVATIONS
from trainer.models.heads import WordHead


def generator_shape(architecture: Architecture, share: float) -> Architecture:
    """The architecture of the generator: as deep, and `share` as wide.

    Its token vectors are the encoder's. Widths of heads stay where they divide its own.
    """
    heads = max(round(architecture.heads * share), 1)
    width = heads * max(round(architecture.width * share / heads / 2) * 2, 2)
    return dataclasses.replace(
        architecture,
        embedding_width=architecture.embedding_width or architecture.width,
        width=width,
        heads=heads,
        kv_heads=0,
        head_dim=0,
        ffn_width=max(round(architecture.ffn_width * share), 1),
    )


class ReplacedTokenHead(keras.layers.Layer):
    """Generator and discriminator: the encoder below sees what the generator has written.

    Args:
      architecture: of the encoder.
      share: of its width that the generator has.
    """

    takes_table = True

    def __init__(self, architecture: Architecture, share: float, **kwargs):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        shape = generator_shape(architecture, share)
        self.width = architecture.width
        self.generator = Encoder(shape, shares_tokens=True, name="generator", dtype=policy)
        self.words = WordHead(shape, transforms=True, name="words", dtype=policy)
        activation = ACTIVATIONS[architecture.activation]
        self.hidden = layers.dense(
            architecture.width, activation=activation, name="hidden", dtype=policy
        )
        self.logit = layers.dense(1, name="logit", dtype=policy)

    def build(self, vectors_BTD_shape):
        """Makes all variables."""
        self.generator.build((None, None))
        self.words.build((None, None, self.generator.architecture.width))
        for layer in (self.hidden, self.logit):
            layer.build((None, None, self.width))
        self.built = True

    def write(self, inputs, table, training=False):
        """The inputs with what the generator writes at their "positions".

        Args:
          inputs: as of the model, with "positions" int32 [B, K] that count where "selected" [B, K]
            is 1, and "sample" [B, K], uniform numbers below 1.
          table: of token vectors, [V, D].
          training: whether dropout applies.

        Returns:
          The inputs with other ids, and the generator's logits [B, K, V]. No gradient passes from
          the ids to the logits.
        """
        ids_BT, at_BK = inputs[IDS], inputs[POSITIONS]
        vectors_BTD = tf.gather(tf.convert_to_tensor(table), ids_BT)
        x_BTD = self.generator(
            ids_BT, inputs[MASK], inputs[TYPES], training=training, vectors_BTD=vectors_BTD
        )
        logits_BKV = self.words(x_BTD, inputs, training=training, table=table)
        written_BK = _sampled(tf.stop_gradient(logits_BKV), inputs[SAMPLE])
        before_BK = tf.gather(ids_BT, at_BK, batch_dims=1)
        new_BK = tf.where(inputs[SELECTED] > 0, written_BK, before_BK)
        rows_BK = tf.broadcast_to(tf.range(tf.shape(at_BK)[0])[:, None], tf.shape(at_BK))
        places = tf.stack([rows_BK, at_BK], -1)
        return {**inputs, IDS: tf.tensor_scatter_nd_update(ids_BT, places, new_BK)}, logits_BKV

    def call(self, vectors_BTD, inputs, training=False, table=None):
        """[B, T, D] -> [B, T]: the logit that a token is not the original."""
        return self.logit(self.hidden(vectors_BTD))[..., 0]


def _sampled(logits_BKV, uniform_BK):
    """A token each, int32 [B, K], drawn by the inverse of the cumulated probabilities."""
    wide = logits_BKV if logits_BKV.dtype == tf.float64 else tf.cast(logits_BKV, tf.float32)
    upto_BKV = tf.cumsum(tf.nn.softmax(wide), -1)
    drawn_BK1 = tf.cast(uniform_BK, wide.dtype)[..., None] * upto_BKV[..., -1:]
    below_BK = tf.reduce_sum(tf.cast(upto_BKV <= drawn_BK1, tf.int32), -1)
    return tf.minimum(below_BK, tf.shape(wide)[-1] - 1)
