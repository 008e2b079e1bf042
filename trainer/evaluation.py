"""Every example once, on every device; the scores in the order of the data."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from trainer.models.fusion import fusing
from trainer.objectives.metrics import softmax
from trainer.step import own_rows
from trainer.tasks.task import INPUTS, Task


class Interrupted(Exception):
    """A signal asked the run to end."""


@dataclass(frozen=True)
class Scores:
    """What a model says of a split, a row an example, in the order of the data.

    Attributes:
      ids: int64 [N]. labels: int32 [N]. logits: float [N, classes].
      losses: float [N], each example's loss. weights: float [N], its class weight.
    """

    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    losses: np.ndarray
    weights: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """int [N], the class with the largest logit."""
        return self.logits.argmax(-1)

    @property
    def probabilities(self) -> np.ndarray:
        """float64 [N, classes]."""
        return softmax(self.logits)


class Evaluator:
    """Scores splits with the model's present weights. Compiled once for all of them.

    Args:
      strategy: whose replicas share the batches.
      model: what scores. task: what is learned.
      fuses: whether chains of elementwise operations are compiled, see `models.fusion`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        task: Task,
        fuses: bool = False,
    ):
        self.strategy, self.model, self.task, self._fuses = strategy, model, task, fuses
        self._dtype = np.dtype(keras.config.floatx())
        self._step = tf.function(self._all_rows, autograph=False)

    def _all_rows(self, iterator):
        """The next batch, scored: rows of all replicas, one after the other.

        In one tensor, so that there is one all-gather; float64 holds ids up to 2^53 exactly.
        """
        per_replica = self.strategy.run(self._rows, args=(next(iterator),))
        return self.strategy.gather(per_replica, axis=0)

    def _rows(self, batch):
        batch = own_rows(batch, self.strategy)
        with fusing(self._fuses):
            logits = self.model({key: batch[key] for key in INPUTS}, training=False)
        (losses,) = self.task.losses(batch, logits).values()
        (weights,) = self.task.weights(batch).values()
        columns = [batch["id"], batch["label"], losses, weights]
        columns = [tf.cast(column, tf.float64)[:, None] for column in columns]
        return tf.concat([*columns, tf.cast(logits, tf.float64)], axis=1)

    def run(
        self,
        dataset,
        batches: int,
        examples: int,
        stop: Callable[[], bool],
        advance: Callable[[int], None],
    ) -> Scores:
        """Scores every example of a split.

        Args:
          dataset: batches that the replicas divide, padded with rows whose id is -1.
          batches: how many there are.
          examples: how many examples they hold.
          stop: asked between batches.
          advance: told how many more examples were scored.

        Raises:
          Interrupted: `stop` said so.
          RuntimeError: an example is missing or came twice.
        """
        iterator = iter(dataset)
        parts = []
        for _ in range(batches):
            if stop():
                raise Interrupted
            parts.append(self._step(iterator).numpy())
            advance(int((parts[-1][:, 0] >= 0).sum()))
        rows = np.concatenate(parts)
        rows = rows[rows[:, 0] >= 0]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        floats = rows[:, 2:].astype(self._dtype)  # what they were before they were gathered
        scores = Scores(
            ids=rows[:, 0].astype(np.int64),
            labels=rows[:, 1].astype(np.int32),
            losses=floats[:, 0],
            weights=floats[:, 1],
            logits=floats[:, 2:],
        )
        if len(scores.ids) != examples or len(np.unique(scores.ids)) != examples:
            raise RuntimeError(f"scored {len(scores.ids)} examples of {examples}")
        return scores
