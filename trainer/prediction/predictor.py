"""Probabilities of texts from a trained model, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.encode import Encoded
from trainer.data.table import Table
from trainer.errors import Interrupted, UserError
from trainer.objectives.metrics import softmax
from trainer.prediction.inputs import MAX_CHARACTERS, Text
from trainer.runtime.devices import local_replicas
from trainer.tasks.task import INPUTS
from trainer.trained import TrainedModel

# A chunk has at most so many: its texts are tokenised at once, and scored sorted by length.
CHUNK_TEXTS = 1024
CHUNK_CHARACTERS = MAX_CHARACTERS
# Of a batch, padding included: enough to keep the device busy, and little memory.
BATCH_TOKENS = 2**13
_MULTIPLE = 8  # of lengths


def chunks(texts: Iterator[Text]) -> Iterator[list[Text]]:
    """Runs of texts. Where they end depends on the texts only, not on where one begins to score."""
    chunk: list[Text] = []
    characters = 0
    for text in texts:
        full = len(chunk) == CHUNK_TEXTS or characters + text.characters > CHUNK_CHARACTERS
        if chunk and full:
            yield chunk
            chunk, characters = [], 0
        chunk.append(text)
        characters += text.characters
    if chunk:
        yield chunk


class Predictor:
    """Scores texts on all devices of a model's strategy.

    Args:
      trained: the model.
      stop: asked between batches.
    """

    def __init__(self, trained: TrainedModel, stop: Callable[[], bool] = lambda: False):
        self.trained, self._stop = trained, stop
        spec = tf.TensorSpec([None, None], tf.int32)
        self._logits = tf.function(
            self._all_rows, input_signature=[dict.fromkeys(INPUTS, spec)], autograph=False
        )

    def probabilities(self, texts: Sequence[Text]) -> np.ndarray:
        """float64 [N, C], calibrated, in the order of the texts.

        Raises:
          Interrupted: `stop` said so.
          UserError: the model's outputs for a text are not finite.
        """
        pairs = [text.pair for text in texts if text.pair is not None]
        encoded = self.trained.encoder.encode([text.text for text in texts], pairs or None)
        logits = self.logits(encoded)
        odd = np.flatnonzero(~np.isfinite(logits).all(-1))
        if len(odd):
            raise UserError(
                f"the model's outputs for the text with id {texts[odd[0]].id!r} are not finite: its"
                " weights are too large, or damaged"
            )
        return softmax(logits / self.trained.temperature)

    def logits(self, encoded: Sequence[Encoded]) -> np.ndarray:
        """float [N, C] of encoded texts."""
        table = Table.of(encoded, self.trained.encoder.pad_id)
        lengths, order = table.lengths, np.argsort(-table.lengths, kind="stable")
        found: list[np.ndarray] = []
        start = 0
        while start < len(order):
            if self._stop():
                raise Interrupted
            longest = int(-(-lengths[order[start]] // _MULTIPLE) * _MULTIPLE)
            longest = min(longest, self.trained.config.data.max_length)
            rows = order[start : start + max(1, BATCH_TOKENS // longest)]
            batch = table.gather(self._filled(rows), longest)
            batch = {name: batch[name] for name in INPUTS}
            found.append(self._logits(batch).numpy()[: len(rows)])
            start += len(rows)
        logits = np.concatenate(found)
        back = np.empty_like(logits)
        back[order] = logits
        return back

    def _filled(self, rows: np.ndarray) -> tf.Tensor:
        """The rows int [B], and padding (-1) so that each replica has as many."""
        missing = -len(rows) % self.trained.strategy.num_replicas_in_sync
        return tf.constant(np.pad(rows, (0, missing), constant_values=-1), tf.int64)

    def _all_rows(self, batch):
        strategy = self.trained.strategy
        per_replica = strategy.run(self._own_rows, args=(batch,))
        return strategy.gather(per_replica, axis=0)

    def _own_rows(self, batch):
        strategy = self.trained.strategy
        rows = tf.shape(batch[INPUTS[0]])[0] // local_replicas(strategy)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        start = tf.cast(replica, tf.int32) * rows
        own = {name: tensor[start : start + rows] for name, tensor in batch.items()}
        return self.trained.model(own, training=False)
