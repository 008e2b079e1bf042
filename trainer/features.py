"""Outputs of a frozen encoder for each training example, computed once for a head's epochs."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer.batch import FEATURES, INPUTS
from trainer.data.table import mapped_tensors
from trainer.errors import Interrupted, UserError
from trainer.models.fusion import fusing
from trainer.phases import PhasePlan
from trainer.step import own_rows
from trainer.tasks.task import Task
from trainer.tasks.texts import TextTask


def check(phase: PhasePlan, model: keras.Model, task: Task) -> None:
    """Refuses a phase whose features would not be the same in every epoch.

    Raises:
      UserError: `cache_features` with more than the head to train, with words masked, with a
        model without `encode` and `head`, or with outputs for each token.
    """
    field = f"config.phases[{phase.index}].cache_features"
    if not (hasattr(model, "encode") and hasattr(model, "head")):
        raise UserError(f"{field} needs a model with encode(inputs) and head: leave it out")
    pooling = getattr(getattr(model, "pooling", None), "kind", "")
    if task.kind == "tokens" or pooling == "tokens" or getattr(model, "own_head", False):
        raise UserError(
            f"{field} keeps one vector a text, this task needs one a token: leave it out"
        )
    others = [name for name in phase.factors if not name.startswith("head/")]
    if others:
        raise UserError(
            f"{field} is for phases that train the head alone, this one trains {others[0]} too:"
            " leave it out"
        )
    own = type(task).prepare not in (Task.prepare, TextTask.prepare)
    if own:
        raise UserError(
            f"{field} cannot be with a task that prepares batches in its own way: leave it out"
        )
    if share := getattr(task, "mask_share", 0):
        raise UserError(
            f"{field} cannot be with config.task.mask_share={share}, which masks other words in"
            " every epoch: set that to 0"
        )


class FeatureExtractor:
    """Runs the encoder over a split; every worker gets all of it.

    Args:
      strategy: whose replicas share the batches.
      model: see `check`.
      fuses: whether chains of elementwise operations are compiled, see `models.fusion`.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model: keras.Model, fuses: bool = False):
        self._strategy, self._model, self._fuses = strategy, model, fuses
        self._step = tf.function(self._all_rows, autograph=False)

    def _all_rows(self, iterator):
        per_replica = self._strategy.run(self._rows, args=(next(iterator),))
        return self._strategy.gather(per_replica, axis=0)

    def _rows(self, batch):
        batch = own_rows(batch, self._strategy)
        with fusing(self._fuses):
            features = self._model.encode({key: batch[key] for key in INPUTS})
        return tf.cast(features, self._model.variable_dtype)

    def run(
        self,
        dataset: tf.data.Dataset,
        rows: list[np.ndarray],
        count: int,
        folder: Path,
        stop: Callable[[], bool],
        advance: Callable[[int], None],
    ) -> tf.experimental.Optional:
        """The features of a split's `count` examples, "features" [count, D]; see `mapped_tensors`.

        They lie in a file of `folder` that has no name and goes with this process, so that memory
        does not grow with the data.

        Args:
          dataset: batches that the replicas divide.
          rows: of each batch, the places of its examples in the split, -1 for padding.
          count: how many examples there are.
          folder: where the file is made.
          stop: asked between batches.
          advance: told how many more examples are done.

        Raises:
          Interrupted: `stop` said so.
          UserError: the file cannot be written.
        """
        iterator, kept = iter(dataset), None
        for places in rows:
            if stop():
                raise Interrupted
            found = self._step(iterator).numpy()
            if kept is None:
                kept = _file(folder, found.dtype, (count, found.shape[1]))
            kept[places[places >= 0]] = found[: len(places)][places >= 0]
            advance(int((places >= 0).sum()))
        assert kept is not None
        return mapped_tensors({FEATURES: kept})


def _file(folder: Path, dtype: np.dtype, shape: tuple[int, int]) -> np.ndarray:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            size = int(np.prod(shape)) * dtype.itemsize
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process
                os.posix_fallocate(file.fileno(), 0, size)
            return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
