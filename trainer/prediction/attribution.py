"""Integrated gradients: the tokens that speak for a prediction.

Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks" (arXiv:1703.01365). The straight
path leads from the text with every word masked (or padded, where there is no mask token) to the
text itself, in the space of token vectors. What is explained is the logit of the predicted class
less the mean of the others.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.batch import INPUTS
from trainer.errors import UserError
from trainer.models.network import Network
from trainer.trained import TrainedModel

_ROWS = 16  # points of the path scored at once


class Attribution(NamedTuple):
    """The share of each token in a prediction.

    Attributes:
      tokens: T pieces, special ones included.
      spans: where each stands in the text; None for special tokens.
      values: float [T]; they add up to the margin less that of the masked text.
      margin: of the text: the predicted class's logit less the mean of the others.
      error: by how much they miss it, as the path has finitely many points.
    """

    tokens: list[str]
    spans: list[tuple[int, int] | None]
    values: np.ndarray
    margin: float
    error: float


class Explainer:
    """Attributes predictions of a model of this library's own kind.

    Args:
      trained: the model.
      steps: points on the path.

    Raises:
      UserError: a model of another kind, or one for pairs of texts.
    """

    def __init__(self, trained: TrainedModel, steps: int):
        if not isinstance(trained.model, Network):
            raise UserError(
                f"--explain needs the encoder of this library, the model is of"
                f" {trained.config.model.factory!r}: leave it out"
            )
        if trained.task.pairs:
            raise UserError("--explain takes single texts, the model pairs: leave it out")
        if not trained.task.explains or trained.task.own_head:
            raise UserError(
                "--explain needs a task that gives a text one of several answers, by a head of"
                " this library: leave it out"
            )
        self._trained, self._steps = trained, steps
        tokenizer = trained.tokenizer
        self._special = set(tokenizer.all_special_ids)
        mask = tokenizer.mask_token_id
        self._blank = trained.encoder.pad_id if mask is None else mask
        ids = tf.TensorSpec([None], tf.int32)
        self._integrate = tf.function(
            self._along_path, input_signature=[ids, ids, tf.TensorSpec([], tf.int32)]
        )

    def explain(self, text: str, output: int) -> Attribution:
        """Attributes the prediction of a text whose output, one of C, is the largest."""
        (encoded,) = self._trained.encoder.encode([text])
        ids = encoded.ids.astype(np.int32)
        blank = np.where(np.isin(ids, list(self._special)), ids, self._blank).astype(np.int32)
        values, margin, base = self._integrate(ids, blank, output)
        tokens = self._trained.tokenizer.convert_ids_to_tokens(ids)
        error = float(abs(tf.reduce_sum(values) - (margin - base)))
        spans = self._trained.encoder.spans(text)
        return Attribution(tokens, spans, values.numpy(), float(margin), error)

    def _along_path(self, ids_T, blank_T, output):
        table = self._trained.model.encoder.embeddings.tokens
        end_TD, begin_TD = (tf.cast(table(each), tf.float32) for each in (ids_T, blank_T))
        length = tf.shape(ids_T)[0]
        # The middles of equal parts of the path: the midpoint rule.
        points = (tf.range(self._steps, dtype=tf.float32) + 0.5) / self._steps
        sums_TD = tf.zeros_like(end_TD)
        for start in tf.range(0, self._steps, _ROWS):
            part_B = points[start : start + _ROWS]
            vectors_BTD = begin_TD + part_B[:, None, None] * (end_TD - begin_TD)
            with tf.GradientTape() as tape:
                tape.watch(vectors_BTD)
                total = tf.reduce_sum(self._margins(vectors_BTD, ids_T, output))
            sums_TD += tf.reduce_sum(tape.gradient(total, vectors_BTD), 0)
        values_T = tf.reduce_sum(sums_TD / self._steps * (end_TD - begin_TD), -1)
        ends = tf.stack([end_TD, begin_TD])
        margins = self._margins(ends, ids_T, output)
        return tf.ensure_shape(values_T, [None])[:length], margins[0], margins[1]

    @tf.autograph.experimental.do_not_convert
    def _margins(self, vectors_BTD, ids_T, output):
        """[B]: the output's logit less the mean of the others."""
        rows = tf.shape(vectors_BTD)[0]
        ids_BT = tf.repeat(ids_T[None], rows, 0)
        whole = (ids_BT, tf.ones_like(ids_BT), tf.zeros_like(ids_BT))
        inputs = dict(zip(INPUTS, whole, strict=True))
        logits_BC = tf.cast(self._trained.model.logits_of_vectors(vectors_BTD, inputs), tf.float32)
        own_B = logits_BC[:, output]
        others = tf.cast(tf.shape(logits_BC)[1] - 1, tf.float32)
        return own_B - (tf.reduce_sum(logits_BC, -1) - own_B) / others
