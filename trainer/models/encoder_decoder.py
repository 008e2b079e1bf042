"""An encoder, a decoder and a head: the model of tasks that write a text for a text."""

from typing import Any

import keras
import tensorflow as tf

from trainer.batch import DECODER_IDS, IDS, MASK, TYPES
from trainer.models.architecture import Architecture
from trainer.models.attention import Cache
from trainer.models.encoder import Encoder


@keras.saving.register_keras_serializable("thaw")
class EncoderDecoder(keras.Model):
    """A Transformer as in Vaswani et al., 2017: a decoder attends to what an encoder makes.

    Args:
      architecture: shapes of both.
      head: makes logits of the decoder's output: see `trainer.models.network.Network`.
    """

    own_head = True  # it is the task's

    def __init__(self, architecture: Architecture, head: keras.layers.Layer, **kwargs):
        super().__init__(name="classifier", **kwargs)
        policy = self.dtype_policy
        self.architecture, self.head = architecture, head
        self.encoder = Encoder(architecture, name="encoder", dtype=policy)
        self.decoder = Encoder(
            architecture.decoder,
            shares_tokens=not architecture.decoder_table,
            crosses=True,
            name="decoder",
            dtype=policy,
        )
        head.name = "head"  # so its parameters are head/...

    def build(self, inputs_shape=None):
        """Makes all variables; nothing about the inputs needs to be known."""
        self.encoder.build((None, None))
        self.decoder.build((None, None))
        self.head.build((None, None, self.architecture.width))
        self.built = True

    def call(self, inputs, training=False, frozen_levels=0, recompute=False):
        """Ids and masks [B, T] and "decoder_input_ids" [B, M], int32 -> logits [B, M, V].

        The logits at a place are of the next written token. See `Encoder.call` for `frozen_levels`,
        which counts the decoder's levels behind the encoder's, and for `recompute`.
        """
        how = {"training": training, "recompute": recompute}
        mask_BT, ids_BM = inputs[MASK], inputs[DECODER_IDS]
        memory_BTD = self.encoder(
            inputs[IDS], mask_BT, inputs.get(TYPES), frozen_levels=frozen_levels, **how
        )
        x_BMD = self.decoder(
            ids_BM,
            None,  # padding stands behind all tokens, which see none behind themselves
            vectors_BTD=self.tokens(ids_BM),
            memory=memory_BTD,
            memory_mask_BS=mask_BT,
            frozen_levels=max(frozen_levels - self.architecture.depth - 1, 0),
            **how,
        )
        return self.head(x_BMD, inputs, training=training, **self.shared)

    @property
    def shared(self) -> dict[str, Any]:
        """Arguments for the head: the variables of the stacks that it takes, by name."""
        if not getattr(self.head, "takes_table", False):
            return {}
        return {"table": self.tokens.embeddings}

    @property
    def tokens(self) -> keras.layers.Layer:
        """The table of token vectors that the decoder reads."""
        owner = self.decoder if self.architecture.decoder_table else self.encoder
        return owner.embeddings.tokens


class CachedDecoder:
    """A model with a decoder as `trainer.models.generate.LanguageModel`: prompts are its sources.

    Args:
      model: gives the logits.
      start_id: token that the decoder begins with.
    """

    continues = False

    def __init__(self, model: EncoderDecoder, start_id: int):
        self.model, self._start = model, start_id

    def prefill(self, ids_RT, mask_RT, room):
        """See `LanguageModel.prefill`."""
        model, rows = self.model, tf.shape(ids_RT)[0]
        positions_RT = tf.maximum(tf.cumsum(mask_RT, 1) - 1, 0)
        memory_RTD = model.encoder(ids_RT, mask_RT, positions_BT=positions_RT)
        empty = model.decoder.new_cache(rows, room)
        memory = model.decoder.remember(memory_RTD), mask_RT
        start_R, cache = tf.fill([rows], self._start), (empty, tf.constant(0))
        logits_RV, cache = self._extended(start_R, memory, cache)
        return logits_RV, memory, cache

    def step(self, tokens_R, positions_R, memory, cache):
        """See `LanguageModel.step`."""
        return self._extended(tokens_R, memory, cache)

    def _extended(self, tokens_R, memory, cache: tuple[tuple[Cache, ...], tf.Tensor]):
        """Logits of the token after these, and the cache with them."""
        (memory, mask_RS), (keys_and_values, at) = memory, cache
        ids_R1, model = tokens_R[:, None], self.model
        x_R1D, keys_and_values = model.decoder(
            ids_R1,
            tf.ones([1, tf.shape(keys_and_values[0][0])[2]], tf.int32),
            vectors_BTD=model.tokens(ids_R1),
            cache=keys_and_values,
            at=at,
            positions_BT=tf.fill(tf.shape(ids_R1), at),
            memory=memory,
            memory_mask_BS=mask_RS,
        )
        inputs = {IDS: ids_R1, MASK: tf.ones_like(ids_R1)}
        logits_R1V = model.head(x_R1D, inputs, training=False, **model.shared)
        return logits_R1V[:, 0], (keys_and_values, at + 1)
