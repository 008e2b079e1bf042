"""Several labels a text: a classification in which each class is a question of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from trainer.batch import WEIGHT
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.lazy import sklearn_metrics, tf
from trainer.storage import fields
from trainer.tasks.classes import ClassTask
from trainer.tasks.parts import with_curves
from trainer.tasks.shown import Curve, Shown, Table
from trainer.tasks.task import Array, Examples, Gold, Piece, Scores, check_finite

if TYPE_CHECKING:
    from trainer.tasks.task import Batch


@dataclass
class MultiLabel(ClassTask):
    """Learns the labels of each row, by the mean binary cross-entropy of all classes.

    Gold has "label" uint8 [N, C]. A label is given from a probability of 0.5 on.
    """

    @classmethod
    def of(cls, task: ClassTask) -> Self:
        """The task that a classification with `multi_label` stands for."""
        return cls(**{spec.name: getattr(task, spec.name) for spec in dataclasses.fields(cls)})

    @property
    def several(self) -> bool:
        return True

    def arrays(self) -> dict[str, Array]:
        return {"label": Array("uint8", size=len(self.names))}

    def gold(self, row: Row, piece: Piece) -> dict[str, Any]:
        wanted = np.zeros(len(self.names), np.uint8)
        wanted[[self.id_of(label, row) for label in row["label"]]] = 1
        return {"label": wanted}

    def native_config(self) -> dict[str, Any]:
        return {**self.named_outputs(), "problem_type": "multi_label_classification"}

    # In the graph

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        return {"loss": batch[WEIGHT]}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """The mean over the classes; smoothing makes of labels 1 - smoothing / 2 and its rest."""
        wide = outputs if outputs.dtype == tf.float64 else tf.cast(outputs, tf.float32)
        smoothing = self.label_smoothing
        wanted = tf.cast(batch["label"], wide.dtype) * (1 - smoothing) + smoothing / 2
        losses = tf.nn.sigmoid_cross_entropy_with_logits(wanted, wide)
        return {"loss": tf.reduce_mean(losses, -1)}

    def serve(self, answers: Mapping[str, tf.Tensor], fitted: Any) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.sigmoid(answers["logits"])}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        micro = ("precision_micro", "recall_micro", "f1_micro")
        return ["loss", "accuracy", *micro, "f1_macro"]

    def counts(self, gold: Gold) -> np.ndarray:
        return gold["label"].sum(0, np.int64)

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        shape, logits = (len(gold["rows"]), len(self.names)), scores.answers.get("logits")
        if logits is None or logits.shape != shape or gold["label"].shape != shape:
            raise fields.Invalid(f"labels and logits of shape {shape} are needed")
        if (
            gold["label"].dtype.kind not in "iu"
            or gold["label"].max() > 1
            or gold["label"].min() < 0
        ):
            raise fields.Invalid("a label is neither 0 nor 1")

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        if chosen not in ("loss", "accuracy", "") and not gold["label"].any():
            raise UserError(
                f"config.evaluation.metric={chosen!r} cannot choose the best weights: no row of"
                f" {split} has a label; choose another metric, or give other data for validation"
            )

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        """Accuracy is the share of rows of which every label is right.

        Micro: of all labels together; macro: the plain mean of the classes. What divides by zero
        counts as 0.
        """
        labels, found = gold["label"], given(scores.answers["logits"])
        precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
            labels, found, average="micro", zero_division=0
        )
        macro = sklearn_metrics.f1_score(labels, found, average="macro", zero_division=0)
        return {
            "loss": scores.mean_loss(),
            "accuracy": float(self.correct(gold, scores).mean()),
            "precision_micro": float(precision),
            "recall_micro": float(recall),
            "f1_micro": float(f1),
            "f1_macro": float(macro),
            "examples": len(labels),
        }

    def decided(self, scores: Scores) -> np.ndarray:
        return given(scores.answers["logits"])

    def correct(self, gold: Gold, scores: Scores) -> np.ndarray:
        right: np.ndarray = (self.decided(scores) == (gold["label"] > 0)).all(-1)
        return right

    def captions(self, gold: Gold, answers: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        return {
            "labels": [self._named(row) for row in gold["label"]],
            "predictions": [self._named(row) for row in given(answers["logits"])],
        }

    def show(
        self, gold: Gold, scores: Scores, mistakes: Examples, fitted: Any = None
    ) -> list[Shown]:
        """Precision against recall, see `with_curves`, and the mistakes."""
        labels, logits = gold["label"], scores.answers["logits"]
        wrong = [
            (id_, self._named(labels[i]), self._named(given(logits[i])), text)
            for i, id_, text in zip(*mistakes[:3], strict=True)
        ]
        drawn, left_out = with_curves(self.counts(gold))
        shares = sigmoid(logits)
        return [
            *(Curve(self.names[i], labels[:, i] > 0, shares[:, i]) for i in drawn),
            *left_out,
            Table("wrong predictions", ("id", "labels", "predictions", "text"), wrong),
        ]

    def _named(self, labels: np.ndarray) -> str:
        return ", ".join(self.names[i] for i in np.flatnonzero(labels).tolist()) or "none"

    # Predictions

    line_fields: ClassVar[tuple[str, ...]] = ("labels", "probabilities")

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, np.ndarray], rule: Any
    ) -> dict[str, Any]:
        (shares,) = sigmoid(answers["logits"])
        check_finite(shares, row)
        return {
            "labels": [self.names[i] for i in np.flatnonzero(given(answers["logits"][0])).tolist()],
            "probabilities": [float(f"{share:.9g}") for share in shares],
        }


def given(logits: np.ndarray) -> np.ndarray:
    """True where a label is given: its probability is 0.5 or more."""
    found: np.ndarray = np.asarray(logits) >= 0
    return found


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64."""
    found: np.ndarray = (1 + np.tanh(np.asarray(logits, np.float64) / 2)) / 2
    return found
