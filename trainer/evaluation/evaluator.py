"""Every example once, on every device; the scores in the order of the data."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from trainer.batch import ID
from trainer.errors import Interrupted
from trainer.models.fusion import fusing
from trainer.models.random import random_scope
from trainer.step import own_rows
from trainer.tasks.task import Scores, Task


class Evaluator:
    """Scores splits with the model's present weights. Compiled once for all of them.

    Args:
      strategy: whose replicas share the batches.
      model: what scores. task: what is learned.
      seed: of random numbers that a task draws by the place of a row in its set, such as masks.
      fuses: whether chains of elementwise operations are compiled, see `models.fusion`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        task: Task,
        seed: int,
        fuses: bool = False,
    ):
        self.strategy, self.model, self.task, self._fuses = strategy, model, task, fuses
        self._seed = seed
        self._dtype = np.dtype(keras.config.floatx())
        self._step = tf.function(self._all_rows, autograph=False)

    @property
    def itemsize(self) -> int:
        """Bytes of a number of the answers."""
        return self._dtype.itemsize

    def _all_rows(self, iterator):
        """The next batch, scored: rows of all replicas, one after the other.

        In one tensor, so that there is one all-gather; float64 holds ids up to 2^53 exactly.
        """
        per_replica = self.strategy.run(self._rows, args=(next(iterator),))
        return self.strategy.gather(per_replica, axis=0)

    def _rows(self, batch):
        batch = own_rows(batch, self.strategy)
        with random_scope(self._seed, tf.zeros([], tf.int64), batch[ID]):
            batch = self.task.prepare(batch, training=False)
        with fusing(self._fuses):
            inputs = {key: batch[key] for key in self.task.inputs}
            outputs = self.model(inputs, training=False)
        losses, weights = self.task.losses(batch, outputs), self.task.weights(batch)
        answers, measures = self.task.answers(inputs, outputs), self.task.measures(batch, outputs)
        answers |= self.task.written(self.model, batch)
        # Known since this was traced: what the columns are.
        self._losses, self._measures = list(losses), list(measures)
        self._answers = {n: (each.shape[1:], each.dtype) for n, each in answers.items()}
        columns = [batch[ID]]
        for name, loss in losses.items():
            weight = tf.cast(weights[name], loss.dtype)
            counted = tf.where(weight > 0, loss, tf.zeros_like(loss))
            columns += [_row_sums(weight * counted), _row_sums(weight)]
        columns += map(_row_sums, measures.values())
        columns = [tf.cast(column, tf.float64)[:, None] for column in columns]
        rows = tf.shape(batch[ID])[0]
        flat = [tf.reshape(tf.cast(a, tf.float64), [rows, -1]) for a in answers.values()]
        return tf.concat([*columns, *flat], axis=1)

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
        ids = np.concatenate([part[:, 0] for part in parts]).astype(np.int64)
        order = np.argsort(ids, kind="stable")[(ids < 0).sum() :]
        if not np.array_equal(ids[order], np.arange(examples)):
            raise RuntimeError(f"scored {len(np.unique(ids[order]))} examples of {examples}")
        measured = 1 + 2 * len(self._losses)
        answered = measured + len(self._measures)
        sums = np.concatenate([part[:, :answered] for part in parts])[order].astype(self._dtype)
        return Scores(
            losses={n: sums[:, 2 * i + 1] for i, n in enumerate(self._losses)},
            weights={n: sums[:, 2 * i + 2] for i, n in enumerate(self._losses)},
            answers=self._unpacked([part[:, answered:] for part in parts], order),
            measures={n: sums[:, measured + i] for i, n in enumerate(self._measures)},
        )

    def _unpacked(self, parts: list[np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
        """The answers by name, out of their columns in every batch."""
        sizes = {
            n: int(np.prod([d for d in shape if d])) for n, (shape, _) in self._answers.items()
        }
        of_tokens = [n for n, (shape, _) in self._answers.items() if None in tuple(shape)]
        found: dict[str, list[np.ndarray]] = {name: [] for name in self._answers}
        for part in parts:
            left = part.shape[1] - sum(sizes[n] for n in sizes if n not in of_tokens)
            length = left // max(sum(sizes[n] for n in of_tokens), 1)
            at = 0
            for name, (shape, _) in self._answers.items():
                width = sizes[name] * (length if name in of_tokens else 1)
                whole = [length if each is None else each for each in shape]
                found[name].append(part[:, at : at + width].reshape(len(part), *whole))
                at += width
        made = {}
        for name, arrays in found.items():
            dtype = self._answers[name][1]
            kind = self._dtype if dtype.is_floating else dtype.as_numpy_dtype
            made[name] = joined_batches(arrays)[order].astype(kind)
        return made


def _row_sums(values):
    """[B] or [B, T] summed to [B]."""
    return values if values.shape.rank == 1 else tf.reduce_sum(values, axis=1)


def joined_batches(arrays: list[np.ndarray]) -> np.ndarray:
    """Batches one after the other, each padded with zeros to the longest second axis."""
    if arrays[0].ndim < 2:
        return np.concatenate(arrays)
    longest = max(each.shape[1] for each in arrays)
    widths = [[(0, 0), (0, longest - a.shape[1]), *[(0, 0)] * (a.ndim - 2)] for a in arrays]
    return np.concatenate([np.pad(a, width) for a, width in zip(arrays, widths, strict=True)])
