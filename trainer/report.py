"""What the scores of a split say: metrics, confusion matrix, the worst mistakes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.calibration import reliability
from trainer.evaluation import Scores
from trainer.monitor.tables import WrongPrediction
from trainer.objectives.metrics import classification_metrics, confusion_matrix, own_metrics
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
    metrics = classification_metrics(
        scores.labels,
        scores.logits,
        scores.weights,
        scores.losses,
        own_metrics(run.config.objective),
        names=run.source.id2label,
    )
    probabilities = scores.probabilities
    metrics["calibration_error"] = reliability(scores.labels, probabilities).error
    certain = probabilities.max(-1)
    wrong = np.flatnonzero(scores.predictions != scores.labels)
    worst = wrong[np.argsort(-certain[wrong], kind="stable")][:WRONG_SHOWN]
    rows = [
        WrongPrediction(
            text,
            int(scores.labels[i]),
            int(scores.predictions[i]),
            float(certain[i]),
            int(scores.ids[i]),
        )
        for i, text in zip(worst, run.texts(split, worst), strict=True)
    ]
    matrix = confusion_matrix(scores.labels, scores.predictions, run.classes)
    return Report(split, metrics, matrix, rows, scores.labels, probabilities)


def keep(run: Run, split: str, scores: Scores, report: Report) -> Kept:
    """What is stored of an evaluation for launch.report."""
    return Kept(
        scores.ids,
        scores.labels,
        scores.logits,
        scores.losses,
        run.split(split).lengths,
        report.metrics,
        report.wrong,
    )
