"""A few thousand numbers of each group of layers, for histograms: they cost next to nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

PER_GROUP = 2**14  # about as many numbers of each group


class ParameterSamples:
    """Takes evenly spaced numbers of every parameter of a group, or of its gradient.

    A group is what a name begins with: "encoder/block_0", "encoder/embeddings", "head/logits".
    All parameters of a group are sampled at the same rate.

    Args:
      sizes: how many numbers each parameter has, by name.
    """

    def __init__(self, sizes: Mapping[str, int]):
        groups: dict[str, list[str]] = {}
        for name in sizes:
            groups.setdefault("/".join(name.split("/")[:2]), []).append(name)
        self._strides = {
            name: -(-sum(sizes[n] for n in names) // PER_GROUP)
            for names in groups.values()
            for name in names
        }
        counts = {name: -(-size // self._strides[name]) for name, size in sizes.items()}
        self._order = [name for names in groups.values() for name in names]
        self._counts = {group: sum(counts[n] for n in names) for group, names in groups.items()}
        self.count = sum(counts.values())

    def take(self, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The numbers of all groups, float32 [count], of a tensor for every name."""
        parts = [tf.reshape(tensors[n], [-1])[:: self._strides[n]] for n in self._order]
        return tf.concat([tf.cast(part, tf.float32) for part in parts], 0)

    def by_group(self, taken: np.ndarray | Sequence[float]) -> dict[str, Any]:
        """The samples that `take` returned, by group."""
        ends = np.cumsum(list(self._counts.values()))
        return dict(zip(self._counts, np.split(np.asarray(taken), ends[:-1]), strict=True))
