"""Classification: one label a text or pair of texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import PreTrainedTokenizerFast

from trainer.config import Objective
from trainer.errors import UserError
from trainer.evaluation.calibration import Calibration, reliability
from trainer.models.random import keep_mask
from trainer.objectives.losses import make_loss
from trainer.objectives.metrics import (
    check_metrics,
    classification_metrics,
    confusion_matrix,
    own_metrics,
    softmax,
)
from trainer.tasks.shown import Bars, Curve, Matrix, Shown, Table
from trainer.tasks.task import Batch, Examples, Gold, Scores, Task


@dataclass(frozen=True)
class Masking:
    """Replaces a share of the input tokens while training (word dropout).

    Attributes:
      share: of the real tokens, special ones left out.
      mask_id: what they are replaced by.
      special_ids: tokens that are never replaced.
    """

    share: float
    mask_id: int
    special_ids: tuple[int, ...]

    @classmethod
    def of(cls, share: float, tokenizer: PreTrainedTokenizerFast) -> "Masking | None":
        """The masking of a share of the tokens; None for a share of 0.

        Raises:
          UserError: the tokenizer has no mask token.
        """
        if not share:
            return None
        if tokenizer.mask_token_id is None:
            raise UserError(
                "config.objective.mask_share needs a tokenizer with a mask token: set it to 0, or"
                " choose another tokenizer"
            )
        return cls(share, tokenizer.mask_token_id, tuple(sorted(tokenizer.all_special_ids)))

    def __call__(self, batch: Batch) -> Batch:
        """The batch with other input_ids [B, T]."""
        ids = batch["input_ids"]
        special = tf.reduce_any(ids[..., None] == tf.constant(self.special_ids, ids.dtype), -1)
        kept = keep_mask(tf.shape(ids), self.share) | special
        return {**batch, "input_ids": tf.where(kept, ids, self.mask_id)}


class Classification(Task):
    """Learns the label of each row.

    Gold has "label" int32 [N], answers have "logits" float [N, C].

    Args:
      objective: loss, class weights, further metrics.
      names: of the C classes, in the order of their ids.
      masking: replaces some input tokens while training, or None.
      precision_target: of the second threshold that is fitted, with two classes.

    Raises:
      UserError: the objective's loss or metrics cannot be had, or do not fit the classes.
    """

    def __init__(
        self,
        objective: Objective,
        names: Sequence[str],
        masking: Masking | None = None,
        precision_target: float = 0.95,
    ):
        self._objective, self._names = objective, list(names)
        self._loss = make_loss(objective, len(names))
        self._masking, self._precision_target = masking, precision_target

    def prepare(self, batch: Batch) -> Batch:
        return self._masking(batch) if self._masking else batch

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        return {"loss": self._loss.example_weights(batch["label"], batch["weight"])}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {"loss": self._loss.example_losses(batch["label"], outputs)}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {"logits": outputs}

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        check_metrics(gold["label"], self._names, self._objective, split, chosen)

    def metrics(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        labels, logits = gold["label"], scores.answers["logits"]
        found = classification_metrics(
            labels,
            logits,
            scores.weights["loss"],
            scores.mean_losses("loss"),
            own_metrics(self._objective),
            names=self._names,
        )
        return {**found, "calibration_error": reliability(labels, softmax(logits)).error}

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        logits = scores.answers["logits"]
        wrong = np.flatnonzero(logits.argmax(-1) != gold["label"])
        return wrong[np.argsort(-softmax(logits).max(-1)[wrong], kind="stable")]

    def show(self, gold: Gold, scores: Scores, mistakes: Examples) -> list[Shown]:
        """The mistakes, the confusions, precision against recall, and calibration.

        The curve is that of class 1, or with more than two classes of each.
        """
        names, labels, logits = self._names, gold["label"], scores.answers["logits"]
        probabilities, predictions = softmax(logits), logits.argmax(-1)
        wrong = [
            (id_, names[labels[i]], names[predictions[i]], float(probabilities[i].max()), text)
            for i, id_, text in zip(*mistakes, strict=True)
        ]
        bins = reliability(labels, probabilities)
        return [
            Table("wrong predictions", ("id", "label", "prediction", "probability", "text"), wrong),
            Matrix("confusion", confusion_matrix(labels, predictions, len(names)), names),
            *(
                Curve(names[i], labels == i, probabilities[:, i])
                for i in ([1] if len(names) == 2 else range(len(names)))
            ),
            Bars(
                "reliability",
                f"calibration error {bins.error:.4f}",
                xlabel="confidence",
                ylabel="accuracy",
                heights=bins.accuracy,
                counts=bins.counts,
                means=bins.confidence,
            ),
        ]

    def fit(self, step: int, gold: Gold, scores: Scores) -> Calibration | None:
        return Calibration.fit(
            step, gold["label"], scores.answers["logits"], self._precision_target
        )

    def results(self, fitted: Calibration | None, gold: Gold, scores: Scores) -> dict[str, Any]:
        temperature = fitted.temperature if fitted else None
        labels, logits = gold["label"], scores.answers["logits"]
        errors = {
            name: reliability(labels, softmax(logits / each)).error if each else math.nan
            for name, each in (("before", 1.0), ("after", temperature))
        }
        return {"temperature": temperature, "test_calibration_error": errors}
