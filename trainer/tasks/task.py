"""The contract of a task: what is learned from a batch, in pure functions.

A task sees no strategy, tape, optimizer, flag or file: exact gradients, phases, precision,
accumulation, resuming and distribution are the step's and the loop's, for all tasks alike.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Batch = dict[str, tf.Tensor]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # the keys of a batch that models take


class Task:
    """What is learned from a batch.

    A batch holds INPUTS, int32 [B, T], weight float32 [B] (0 for a padding row), and what the task
    itself put there. All functions here run in the graph, on a part of the rows of a global batch.
    """

    def prepare(self, batch: Batch) -> Batch:
        """The batch as it is trained on: with masked words, noise, a teacher's outputs.

        Random numbers come from `models.random`, which draws by place in the global batch. The
        batch may have no INPUTS, where a frozen encoder's features stand in their place.
        """
        return batch

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        """How much each row [B] or token [B, T] counts, by the name of a loss.

        A function of the prepared batch alone, 0 at padding. With several losses the objective is
        the sum of their means, each over its own weights.
        """
        raise NotImplementedError

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """The losses, unweighted, with the names and shapes of `weights`.

        Args:
          batch: prepared.
          outputs: what the model gives, first axis B; 0 in a row of weight 0.
        """
        raise NotImplementedError

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """What evaluation and prediction keep of the outputs: [B], [B, k] or [B, T], small.

        It looks at nothing that a text to predict has not: no labels.
        """
        raise NotImplementedError


def weighted_sums(task: Task, batch: Batch, outputs: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """For each loss the sum of weighted losses and the sum of weights, scalars.

    A row of weight 0 has loss 0 and passes an exactly zero gradient to its outputs, even where they
    are infinite or NaN: they are replaced before the losses see them, because in the backward pass
    0 × NaN would be NaN.
    """
    weights = task.weights(batch)
    losses = task.losses(batch, _without_padding(outputs, list(weights.values())))
    sums = []
    for name, each in losses.items():
        weight = tf.cast(weights[name], each.dtype)
        counted = tf.where(weight > 0, each, tf.zeros_like(each))
        sums.append((tf.reduce_sum(weight * counted), tf.reduce_sum(weight)))
    return sums


def _without_padding(outputs: Any, weights: Sequence[tf.Tensor]) -> Any:
    """The outputs, with zeros in rows in which nothing has a weight."""
    counted = [tf.reduce_any(tf.reshape(w > 0, [tf.shape(w)[0], -1]), 1) for w in weights]
    counts = tf.reduce_any(tf.stack(counted), 0)

    def without(output: tf.Tensor) -> tf.Tensor:
        where = tf.reshape(counts, [-1, *[1] * (output.shape.rank - 1)])
        return tf.where(where, output, tf.zeros_like(output))

    return tf.nest.map_structure(without, outputs)
