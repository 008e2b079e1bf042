"""A network with a causal mask as `trainer.models.generate` takes it, with keys and values kept."""

import tensorflow as tf

from trainer.batch import IDS, MASK
from trainer.models.network import Network


class CachedNetwork:
    """The language model of a network whose head gives the logits of the next token.

    See `trainer.models.generate.LanguageModel`. The memory is the mask [R, S] of the S slots of
    the encoder's cache; a cache is the encoder's and the slot of the next token.
    """

    continues = True

    def __init__(self, network: Network):
        self.network = network

    def prefill(self, ids_RT, mask_RT, room):
        """See `LanguageModel.prefill`."""
        rows, length = tf.unstack(tf.shape(ids_RT))
        mask_RS = tf.pad(mask_RT, [[0, 0], [0, room]], constant_values=1)
        positions_RT = tf.maximum(tf.cumsum(mask_RT, 1) - 1, 0)
        cache = self.network.encoder.new_cache(rows, length + room)
        logits_RV, cache = self._extended(ids_RT, positions_RT, mask_RS, (cache, tf.constant(0)))
        return logits_RV, mask_RS, cache

    def step(self, tokens_R, positions_R, memory, cache):
        """See `LanguageModel.step`."""
        return self._extended(tokens_R[:, None], positions_R[:, None], memory, cache)

    def _extended(self, ids_RT, positions_RT, mask_RS, cache):
        """Logits of the token after the last one, and the cache with these tokens."""
        keys_and_values, at = cache
        x_RTD, keys_and_values = self.network.encoder(
            ids_RT, mask_RS, cache=keys_and_values, at=at, positions_BT=positions_RT
        )
        inputs = {IDS: ids_RT[:, -1:], MASK: tf.ones_like(ids_RT[:, -1:])}
        logits_R1V = self.network.head(x_RTD[:, -1:], inputs, training=False, **self.network.shared)
        return logits_R1V[:, 0], (keys_and_values, at + tf.shape(ids_RT)[1])
