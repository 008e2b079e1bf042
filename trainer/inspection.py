"""Looks into a model for TensorBoard: where it attends to, and the vectors it makes of texts."""

import collections

import numpy as np
import tensorflow as tf

from trainer.batch import DECODER_IDS, ID, IDS, INPUTS, MASK, TARGET
from trainer.models.encoder_decoder import EncoderDecoder
from trainer.models.network import Network
from trainer.models.random import random_scope
from trainer.monitor.figures import Attention
from trainer.monitor.projector import Vectors
from trainer.run import Run
from trainer.tasks.shown import Shown
from trainer.tasks.task import Batch, Task

TEXTS = 3  # whose attention is shown
TOKENS = range(12, 25)  # how long they may be, so that each token can be read
VECTORS = 500  # texts in the projector
SAMPLES = 8  # rows of which a task shows what the model makes of them
_ROWS = 32  # scored at once


class Inspection:
    """Looks into the model of a run, at its present weights; compiled at the first look."""

    def __init__(self, run: Run):
        self._run = run
        inputs = {key: tf.TensorSpec([1, None], tf.int32) for key in INPUTS}
        self._attended = tf.function(self._attend, [inputs], autograph=False)
        self._crossed = tf.function(self._cross, reduce_retracing=True, autograph=False)
        self._sampled = tf.function(self._sample, autograph=False)
        self._scored = tf.function(self._score, reduce_retracing=True, autograph=False)

    def attention(self, split: str) -> list[Attention]:
        """The attention of a few texts, always the same ones; none for a model of another kind.

        They are the first of a few tokens; where there are not enough, the beginnings of the
        shortest. Of a model with a decoder it is that of its blocks to the source.
        """
        run = self._run
        crosses = isinstance(run.model, EncoderDecoder)
        if not (crosses or (isinstance(run.model, Network) and run.model.encoder.blocks)):
            return []
        data = run.split(split)
        short = np.flatnonzero(np.isin(data.lengths, TOKENS))[:TEXTS]
        if len(short) < TEXTS:
            short = np.argsort(data.lengths, kind="stable")[:TEXTS]
        found = []
        for row in short:
            batch = data.gather(tf.constant([row], tf.int64), data.longest(np.array([row])))
            if crosses:
                found.append(self._to_source(batch))
                continue
            batch = {key: batch[key][:, : TOKENS[-1]] for key in INPUTS}
            layers, answered = self._attended(batch)
            scores = np.stack([layer.numpy()[0] for layer in layers])
            tokens = run.tokenizer.convert_ids_to_tokens(batch[IDS][0].numpy())
            answers = {name: each.numpy() for name, each in answered.items()}
            captions = run.task.captions(data.gold_of(np.array([row])), answers)
            found.append(Attention(tokens, scores, {n: of for n, (of,) in captions.items()}))
        return found

    def _to_source(self, batch: Batch) -> Attention:
        """From a target's tokens to those of its source."""
        with random_scope(self._run.config.seed, tf.zeros([], tf.int64), batch[ID]):
            prepared = self._run.task.prepare(batch, training=False)
        batch = {key: prepared[key][:, : TOKENS[-1]] for key in (*INPUTS, DECODER_IDS)}
        scores = np.stack([layer.numpy()[0] for layer in self._crossed(batch)])
        source, target = (
            self._run.tokenizer.convert_ids_to_tokens(ids[0].numpy()[: TOKENS[-1]])
            for ids in (batch[IDS], prepared[TARGET])
        )
        return Attention(target, scores, {"from": "target", "to": "source"}, source)

    def _cross(self, batch):
        """The scores [1, H, M, T] of each block of the decoder: the row of the token it writes."""
        model = self._run.model
        memory_BTD = model.encoder(*(batch[key] for key in INPUTS))
        _, layers = model.decoder(
            batch[DECODER_IDS],
            None,
            vectors_BTD=model.tokens(batch[DECODER_IDS]),
            memory=memory_BTD,
            memory_mask_BS=batch[MASK],
            return_scores=True,
        )
        return [tf.cast(layer, tf.float32) for layer in layers]

    def _attend(self, batch):
        """The scores [1, H, T, T] of each block, and the answers."""
        run = self._run
        _, layers = run.model.encoder(*(batch[key] for key in INPUTS), return_scores=True)
        layers = [tf.cast(layer, tf.float32) for layer in layers]
        return layers, run.task.answers(batch, run.model(batch))

    def samples(self, split: str) -> list[Shown]:
        """Tables that the task makes of a few rows, of evenly spaced lengths, always the same."""
        run = self._run
        if type(run.task).samples is Task.samples:
            return []
        data = run.split(split)
        order = np.argsort(data.lengths, kind="stable")
        rows = order[np.linspace(0, len(order) - 1, min(SAMPLES, len(order))).astype(int)]
        batch = data.gather(tf.constant(rows, tf.int64), data.longest(rows))
        return run.task.samples(batch, self._sampled(batch))

    def _sample(self, batch):
        run = self._run
        with random_scope(run.config.seed, tf.zeros([], tf.int64), batch[ID]):
            return run.task.sampled(run.model, batch)

    def vectors(self, split: str) -> Vectors | None:
        """The pooled vectors of some evenly spaced texts; None for a model of another kind."""
        run = self._run
        if not isinstance(run.model, Network) or run.task.kind == "tokens" or run.task.own_head:
            return None
        data = run.split(split)
        rows = np.unique(np.linspace(0, len(data) - 1, VECTORS).astype(np.int64))
        rows = rows[np.argsort(data.lengths[rows], kind="stable")]
        values: list[np.ndarray] = []
        captions: dict[str, list[str]] = collections.defaultdict(list)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            batch = data.gather(tf.constant(part), data.longest(part))
            pooled, answered = self._scored({key: batch[key] for key in INPUTS})
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

    def _score(self, batch):
        """The pooled vectors [B, D] of texts, and the answers."""
        model = self._run.model
        encoded = model.encode(batch)
        pooled = tf.cast(model.head.before_logits(encoded), tf.float32)
        return pooled, self._run.task.answers(batch, model.head(encoded))
