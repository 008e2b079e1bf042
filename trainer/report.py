"""What the scores of a split say: metrics, confusion matrix, the worst mistakes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.calibration import reliability
from trainer.evaluation import Scores
from trainer.monitor.tables import WrongPrediction
from trainer.objectives.metrics import (
    classification_metrics,
    confusion_matrix,
    own_metrics,
    softmax,
)
from trainer.run import Run
from trainer.scores import Kept

WRONG_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """An evaluation of one split.

    Attributes:
      metrics: by name. confusion: int64 [C, C], true label by prediction.
      wrong: the mistakes that the model was surest of.
      labels: int32 [N]. probabilities: float64 [N, C].
    """

    split: str
    metrics: dict[str, Any]
    confusion: np.ndarray
    wrong: list[WrongPrediction]
    labels: np.ndarray
    probabilities: np.ndarray


def make_report(run: Run, split: str, scores: Scores) -> Report:
    """Works out everything that is logged of an evaluation."""
    table = run.split(split)
    labels, logits = table.array("label"), scores.answers["logits"]
    metrics = classification_metrics(
        labels,
        logits,
        scores.weights["loss"],
        scores.mean_losses("loss"),
        own_metrics(run.config.objective),
        names=run.source.id2label,
    )
    probabilities = softmax(logits)
    metrics["calibration_error"] = reliability(labels, probabilities).error
    certain, predictions = probabilities.max(-1), logits.argmax(-1)
    wrong = np.flatnonzero(predictions != labels)
    worst = wrong[np.argsort(-certain[wrong], kind="stable")][:WRONG_SHOWN]
    rows = [
        WrongPrediction(
            text,
            int(labels[i]),
            int(predictions[i]),
            float(certain[i]),
            int(table.rows[i]),
        )
        for i, text in zip(worst, run.texts(split, worst), strict=True)
    ]
    matrix = confusion_matrix(labels, predictions, run.classes)
    return Report(split, metrics, matrix, rows, labels, probabilities)


def keep(run: Run, split: str, scores: Scores, report: Report) -> Kept:
    """What is stored of an evaluation for launch.report."""
    table = run.split(split)
    return Kept(
        table.rows,
        table.array("label"),
        scores.answers["logits"],
        scores.mean_losses("loss"),
        table.lengths,
        report.metrics,
        report.wrong,
    )
