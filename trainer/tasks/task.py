"""The contract of a task: what is learned from a batch, and how a whole set is judged.

A task is made of pure functions. It sees no strategy, tape, optimizer, flag or file: exact
gradients, phases, precision, accumulation, resuming and distribution are the step's and the loop's,
for all tasks alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from trainer.tasks.shown import Shown

Batch = dict[str, tf.Tensor]
Gold = Mapping[str, np.ndarray]
"""Arrays that a task has of the N rows of a set, [N] or [sum of lengths], on the host."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # the keys of a batch that models take


@dataclass(frozen=True)
class Scores:
    """Losses and answers of a model for a set's rows, in their order.

    Attributes:
      losses: by name, float [N], the sum of each row's weighted losses.
      weights: by name, float [N], the sum of each row's weights.
      answers: by name, [N, ...]: see `Task.answers`. An axis of tokens is as long as in the longest
        batch; what is behind a row's end means nothing.
    """

    losses: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]

    def mean_losses(self, name: str) -> np.ndarray:
        """Each row's loss of that name, float [N]: 0 for a row without weight."""
        weights = self.weights[name]
        return np.divide(self.losses[name], weights, np.zeros_like(weights), where=weights > 0)


class Examples(NamedTuple):
    """Some rows of a set.

    Attributes:
      rows: int [K], their places in it. ids: their rows in the source.
      texts: as the model has them.
    """

    rows: np.ndarray
    ids: Sequence[int]
    texts: Sequence[str]


class Fitted(Protocol):
    """Values that a task fits on validation when the run is over: a temperature, thresholds."""

    def save(self, path: Path) -> None:
        """Writes it as sealed JSON, whole or not at all."""


class Task:
    """A task: what is learned from a batch, and how a whole set is judged.

    A batch holds INPUTS, int32 [B, T], weight float32 [B] (0 for a padding row), and what the task
    itself put there. `prepare`, `weights`, `losses` and `answers` run in the graph, on a part of
    the rows of a global batch; the others on the host, on a whole set, in NumPy.
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
        """The part of the outputs that evaluation and prediction keep: [B], [B, k], [B, T], small.

        It looks at nothing that a text to predict has not: no labels.
        """
        raise NotImplementedError

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        """Refuses a set that could not be judged, before hours are spent on training.

        Args:
          gold: of the set.
          split: its name.
          chosen: the metric that chooses the best weights on this set; empty: none does.

        Raises:
          UserError: which metric, and why.
        """

    def metrics(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        """Metrics of a set by name, and "examples", how many rows it has."""
        raise NotImplementedError

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        """Rows that the model got wrong, int [K], those that it was surest of first."""
        raise NotImplementedError

    def show(self, gold: Gold, scores: Scores, mistakes: Examples) -> list[Shown]:
        """Tables and figures of a set for TensorBoard, the given mistakes among them."""
        return []

    def fit(self, step: int, gold: Gold, scores: Scores) -> Fitted | None:
        """Fits on validation what predictions need besides the weights of `step`; or None."""
        return None

    def results(self, fitted: Any, gold: Gold, scores: Scores) -> dict[str, Any]:
        """Further entries of result.json: what was fitted, and what it gives on the test set."""
        return {}


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
