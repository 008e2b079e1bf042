"""Answers of a trained model, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.batch import INPUTS
from trainer.data.columns import Row
from trainer.data.rows import MAX_CHARACTERS
from trainer.data.table import Table
from trainer.errors import Interrupted
from trainer.evaluation.evaluator import joined_batches
from trainer.prediction.inputs import Given
from trainer.runtime.devices import local_replicas
from trainer.tasks.task import Piece, Task
from trainer.trained import TrainedModel

# A chunk has at most so many: its texts are tokenised at once, and scored sorted by length.
CHUNK_TEXTS = 1024
CHUNK_CHARACTERS = MAX_CHARACTERS
# Of a batch, padding included: enough to keep the device busy, and little memory.
BATCH_TOKENS = 2**13
_MULTIPLE = 8  # of lengths


def chunks(texts: Iterator[Given], most: int = CHUNK_TEXTS) -> Iterator[list[Given]]:
    """Runs of texts. Where they end depends on the texts only, not on where one begins to score."""
    chunk: list[Given] = []
    characters = 0
    for text in texts:
        full = len(chunk) == most or characters + text.characters > CHUNK_CHARACTERS
        if chunk and full:
            yield chunk
            chunk, characters = [], 0
        chunk.append(text)
        characters += text.characters
    if chunk:
        yield chunk


class Answered(NamedTuple):
    """A row as a model was given it, and its answers.

    Attributes:
      pieces: the row as the model was given it.
      answers: of its pieces, by name, see `Task.answers`; or of the row, see `Task.continuing`.
    """

    pieces: list[Piece]
    answers: dict[str, Any]


class Predictor:
    """Gives rows to a model on all devices of its strategy.

    Args:
      trained: the model.
      stop: asked between batches.
      task: what makes answers of its outputs; None: the model's own.
    """

    at_once = CHUNK_TEXTS

    def __init__(
        self,
        trained: TrainedModel,
        stop: Callable[[], bool] = lambda: False,
        task: Task | None = None,
    ):
        self.trained, self._stop = trained, stop
        self.task = (task or trained.task).alone()
        self._answers: Any = None  # compiled for the first batch

    def run(self, rows: Sequence[Row]) -> list[Answered]:
        """The answers to rows, in their order.

        Raises:
          Interrupted: `stop` said so.
          UserError: a row that the task cannot take.
        """
        task, encoder = self.task, self.trained.encoder
        pieces = task.pieces(rows, encoder)
        if not pieces:
            return [Answered([], {}) for _ in rows]
        found = self._of_pieces(Table.of(pieces, {}, encoder.pad_id))
        places: list[list[int]] = [[] for _ in rows]
        for at, piece in enumerate(pieces):
            places[piece.row].append(at)
        return [
            Answered([pieces[at] for at in of], {name: each[of] for name, each in found.items()})
            for of in places
        ]

    def _of_pieces(self, table: Table) -> dict[str, np.ndarray]:
        """The answers to the rows of a table, longest first, so that batches are well filled."""
        lengths, order = table.lengths, np.argsort(-table.lengths, kind="stable")
        found: list[dict[str, np.ndarray]] = []
        start = 0
        while start < len(order):
            if self._stop():
                raise Interrupted
            longest = int(-(-lengths[order[start]] // _MULTIPLE) * _MULTIPLE)
            longest = min(longest, self.trained.config.data.max_length)
            rows = order[start : start + max(1, BATCH_TOKENS // longest)]
            batch = table.gather(self._filled(rows), longest)
            inputs = {name: batch[name] for name in INPUTS}
            answers = self._compiled(inputs)(inputs)
            found.append({name: each.numpy()[: len(rows)] for name, each in answers.items()})
            start += len(rows)
        return {name: _in_order([each[name] for each in found], order) for name in found[0]}

    def _compiled(self, batch: dict[str, tf.Tensor]) -> Any:
        if self._answers is None:
            spec = {n: tf.TensorSpec([None] * t.shape.rank, t.dtype) for n, t in batch.items()}
            self._answers = tf.function(self._all_rows, input_signature=[spec], autograph=False)
        return self._answers

    def _filled(self, rows: np.ndarray) -> tf.Tensor:
        """The rows int [B], and padding (-1) so that each replica has as many."""
        missing = -len(rows) % self.trained.strategy.num_replicas_in_sync
        return tf.constant(np.pad(rows, (0, missing), constant_values=-1), tf.int64)

    def _all_rows(self, batch):
        strategy = self.trained.strategy
        per_replica = strategy.run(self._own_rows, args=(batch,))
        return {name: strategy.gather(each, axis=0) for name, each in per_replica.items()}

    def _own_rows(self, batch):
        strategy = self.trained.strategy
        rows = tf.shape(batch[INPUTS[0]])[0] // local_replicas(strategy)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        start = tf.cast(replica, tf.int32) * rows
        own = {name: tensor[start : start + rows] for name, tensor in batch.items()}
        return self.task.answers(own, self.trained.model(own, training=False))


def _in_order(parts: list[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Arrays of batches in one, put back into the order of the rows."""
    joined = joined_batches(parts)
    back = np.empty_like(joined)
    back[order] = joined
    return back
