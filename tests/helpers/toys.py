"""Small language models whose probabilities are known, for tests of generation."""

import numpy as np
import tensorflow as tf


class Toy:
    """Logits in float64 that depend on a text's last token, its length and all tokens in it.

    The cache counts the tokens of each row, [R, V].
    """

    continues = True

    def __init__(self, vocabulary: int = 7, positions: int = 24, seed: int = 0, size: float = 1.5):
        """Draws the tables; `size` is the standard deviation of their numbers."""
        random = np.random.default_rng(seed)
        self.vocabulary = vocabulary
        self.of_last = random.normal(0, size, [positions, vocabulary, vocabulary])
        self.of_counts = random.normal(0, size / 4, [vocabulary, vocabulary])

    def logits(self, text: list[int]) -> np.ndarray:
        """The logits [V] of the token after a text."""
        counts = np.bincount(text, minlength=self.vocabulary)
        return self.of_last[len(text) - 1, text[-1]] + counts @ self.of_counts

    def prefill(self, ids_RT, mask_RT, room):
        kept = tf.cast(mask_RT, tf.float64)[:, :, None]
        counts = tf.reduce_sum(tf.one_hot(ids_RT, self.vocabulary, dtype=tf.float64) * kept, 1)
        return self._of(ids_RT[:, -1], tf.reduce_sum(mask_RT, 1) - 1, counts), (), counts

    def step(self, tokens_R, positions_R, memory, cache):
        counts = cache + tf.one_hot(tokens_R, self.vocabulary, dtype=tf.float64)
        return self._of(tokens_R, positions_R, counts), counts

    def _of(self, tokens_R, positions_R, counts_RV):
        of_last = tf.gather_nd(self.of_last, tf.stack([positions_R, tokens_R], -1))
        return of_last + counts_RV @ self.of_counts


class Script:
    """Writes what it is told, token by token, whatever the prompt."""

    continues = True

    def __init__(self, tokens: list[int], vocabulary: int):
        """Takes what it writes: the tokens, again and again."""
        self.tokens, self.vocabulary = tf.constant(tokens), vocabulary

    def prefill(self, ids_RT, mask_RT, room):
        at_R = tf.zeros([tf.shape(ids_RT)[0]], tf.int32)
        return self._of(at_R), (), at_R + 1

    def step(self, tokens_R, positions_R, memory, cache):
        return self._of(cache), cache + 1

    def _of(self, at_R):
        tokens_R = tf.gather(self.tokens, at_R % tf.size(self.tokens))
        return 20.0 * tf.one_hot(tokens_R, self.vocabulary)
