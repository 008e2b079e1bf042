"""Looks into a model for TensorBoard: where it attends to, and the vectors it makes of texts."""

import collections

import numpy as np
import tensorflow as tf

from trainer.batch import INPUTS
from trainer.models.network import Network
from trainer.monitor.figures import Attention
from trainer.monitor.projector import Vectors
from trainer.run import Run

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
    data = run.split(split)
    short = np.flatnonzero(np.isin(data.lengths, TOKENS))[:REVIEWS]
    if len(short) < REVIEWS:
        short = np.argsort(data.lengths, kind="stable")[:REVIEWS]
    found = []
    for row in short:
        batch = data.gather(tf.constant([row], tf.int64), int(data.lengths[row]))
        batch = {key: batch[key][:, : TOKENS[-1]] for key in INPUTS}
        _, layers = run.model.encoder(*(batch[key] for key in INPUTS), return_scores=True)
        scores = np.stack([tf.cast(layer, tf.float32).numpy()[0] for layer in layers])
        tokens = run.tokenizer.convert_ids_to_tokens(batch[INPUTS[0]][0].numpy())
        answers = {n: a.numpy() for n, a in run.task.answers(batch, run.model(batch)).items()}
        captions = run.task.captions(data.gold_of(np.array([row])), answers)
        found.append(Attention(tokens, scores, {n: of for n, (of,) in captions.items()}))
    return found


def vectors(run: Run, split: str) -> Vectors | None:
    """The pooled vectors of some evenly spaced texts; None for a model of another kind."""
    if not isinstance(run.model, Network) or run.task.kind == "tokens" or run.task.own_head:
        return None
    data = run.split(split)
    rows = np.unique(np.linspace(0, len(data) - 1, VECTORS).astype(np.int64))
    rows = rows[np.argsort(data.lengths[rows], kind="stable")]

    @tf.function(reduce_retracing=True, autograph=False)
    def score(batch):
        encoded, head = run.model.encode(batch), run.model.head
        pooled = tf.cast(head.before_logits(encoded), tf.float32)
        return pooled, run.task.answers(batch, head(encoded))

    values: list[np.ndarray] = []
    captions: dict[str, list[str]] = collections.defaultdict(list)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        batch = data.gather(tf.constant(part), int(data.lengths[part].max()))
        pooled, answered = score({key: batch[key] for key in INPUTS})
        values.append(pooled.numpy())
        answers = {name: each.numpy() for name, each in answered.items()}
        for name, of in run.task.captions(data.gold_of(part), answers).items():
            captions[name] += of
    return Vectors(
        np.concatenate(values),
        run.texts(split, rows),
        data.rows[rows].tolist(),
        captions,
    )
