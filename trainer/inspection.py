"""Looks into a model for TensorBoard: where it attends to, and the vectors it makes of texts."""

import numpy as np
import tensorflow as tf

from trainer.models.network import Network
from trainer.monitor.figures import Attention
from trainer.monitor.projector import Vectors
from trainer.run import Run
from trainer.tasks.task import INPUTS

REVIEWS = 3  # whose attention is shown
TOKENS = range(12, 25)  # how long they may be, so that each token can be read
VECTORS = 500  # texts in the projector
_ROWS = 32  # scored at once


def attention(run: Run, split: str) -> list[Attention]:
    """The attention of a few texts, the same ones every time; none for a model of another kind.

    They are the first of a few tokens; where there are not enough, the beginnings of the shortest.
    """
    if not isinstance(run.model, Network) or not run.model.encoder.blocks:
        return []
    data, names = run.split(split), run.source.id2label
    short = np.flatnonzero(np.isin(data.lengths, TOKENS))[:REVIEWS]
    if len(short) < REVIEWS:
        short = np.argsort(data.lengths, kind="stable")[:REVIEWS]
    found = []
    for row in short:
        batch = data.gather(tf.constant([row], tf.int64), int(data.lengths[row]))
        batch = {key: batch[key][:, : TOKENS[-1]] for key in INPUTS}
        _, layers = run.model.encoder(*(batch[key] for key in INPUTS), return_scores=True)
        scores = np.stack([tf.cast(layer, tf.float32).numpy()[0] for layer in layers])
        prediction = int(tf.argmax(run.model(batch), -1)[0])
        tokens = run.tokenizer.convert_ids_to_tokens(batch["input_ids"][0].numpy())
        label = names[int(data.array("label")[row])]
        found.append(Attention(tokens, scores, label, names[prediction]))
    return found


def vectors(run: Run, split: str) -> Vectors | None:
    """The pooled vectors of some evenly spaced texts; None for a model of another kind."""
    if not isinstance(run.model, Network):
        return None
    data, names = run.split(split), run.source.id2label
    rows = np.unique(np.linspace(0, len(data) - 1, VECTORS).astype(np.int64))
    rows = rows[np.argsort(data.lengths[rows], kind="stable")]

    @tf.function(reduce_retracing=True, autograph=False)
    def score(batch):
        encoded, head = run.model.encode(batch), run.model.head
        return tf.cast(head.features(encoded), tf.float32), tf.argmax(head(encoded), -1)

    values, predictions = [], []
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        batch = data.gather(tf.constant(part), int(data.lengths[part].max()))
        pooled, predicted = score({key: batch[key] for key in INPUTS})
        values.append(pooled.numpy())
        predictions += predicted.numpy().tolist()
    return Vectors(
        np.concatenate(values),
        run.texts(split, rows),
        [names[label] for label in data.array("label")[rows]],
        [names[i] for i in predictions],
        data.rows[rows].tolist(),
    )
