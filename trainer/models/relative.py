"""Relative positions: a learned bias on the scores of attention (Raffel et al., 2020, section 2.1).

Shape suffixes: T query positions, S key positions, H heads.
"""

import keras
import numpy as np
import tensorflow as tf


class RelativeBias(keras.layers.Layer):
    """A number for each head and each bucket of distances from a query to a key.

    A stack has one of them for all of its blocks. It begins at zero: no distance is preferred.

    Args:
      heads: of queries.
      buckets: rows of the table, see `bucket_of`.
      distance: from here on all distances are in one bucket.
      causal: keys behind the query are never seen: all buckets are for those before it.
    """

    def __init__(self, heads: int, buckets: int, distance: int, causal: bool, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.distance = (buckets, heads), distance
        apart = np.arange(-distance, distance + 1)
        self.buckets = bucket_of(apart, buckets, distance, causal)

    def build(self, shape=None):
        self.embeddings = self.add_weight(self.shape, "zeros", name="embeddings", autocast=False)
        self.built = True

    def call(self, queries_T, keys_S):
        """The bias of each score, [H, T, S], in float32 or wider, as its gradient is a long sum.

        Args:
          queries_T, keys_S: int32 places of queries and keys in the row. Only their distances
            count: padding on the left changes nothing.
        """
        apart_TS = tf.clip_by_value(keys_S - queries_T[:, None], -self.distance, self.distance)
        buckets_TS = tf.gather(tf.constant(self.buckets), apart_TS + self.distance)
        bias_TSH = tf.gather(tf.convert_to_tensor(self.embeddings), buckets_TS)
        return tf.transpose(bias_TSH, [2, 0, 1])


def bucket_of(apart: np.ndarray, buckets: int, distance: int, causal: bool) -> np.ndarray:
    """The bucket of each distance, int32: one for each short one, then ever wider ones.

    The logarithm is in float32, as in T5: that decides the last bits of where a bucket ends.

    Args:
      apart: places of keys minus those of queries.
      buckets: number of them, even. Half of them are for short distances; where not `causal`, in
        each direction half of half.
      distance: the first one that is in the last bucket at the latest; above `buckets` / 2.
      causal: distances above 0 are in the bucket of 0.
    """
    behind = np.zeros(apart.shape, np.int32)
    if not causal:
        buckets //= 2
        behind = np.where(apart > 0, buckets, 0)
    steps = np.maximum(-apart, 0) if causal else np.abs(apart)
    short = buckets // 2
    ratio = np.maximum(steps, short).astype(np.float32) / np.float32(short)  # no log of 0
    slope = np.log(ratio) / np.float32(np.log(distance / short)) * np.float32(buckets - short)
    long = np.minimum(short + slope.astype(np.int32), buckets - 1)
    return (behind + np.where(steps < short, steps, long)).astype(np.int32)
