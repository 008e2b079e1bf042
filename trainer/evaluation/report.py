"""The judgement of a split's scores: metrics, confusion matrix, the worst mistakes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.evaluation.scores import Kept
from trainer.monitor.tables import WrongPrediction
from trainer.objectives.metrics import confusion_matrix, softmax
from trainer.run import Run
from trainer.tasks.task import Scores

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
    worst = run.task.mistakes(table.gold, scores)[:WRONG_SHOWN]
    probabilities, predictions = softmax(logits), logits.argmax(-1)
    rows = [
        WrongPrediction(
            text,
            int(labels[i]),
            int(predictions[i]),
            float(probabilities[i].max()),
            int(table.rows[i]),
        )
        for i, text in zip(worst, run.texts(split, worst), strict=True)
    ]
    matrix = confusion_matrix(labels, predictions, run.classes)
    metrics = run.task.metrics(table.gold, scores)
    return Report(
        split,
        metrics=metrics,
        confusion=matrix,
        wrong=rows,
        labels=labels,
        probabilities=probabilities,
    )


def keep(run: Run, split: str, scores: Scores, report: Report) -> Kept:
    """The part of an evaluation that is stored for launch.report."""
    table = run.split(split)
    return Kept(
        ids=table.rows,
        labels=table.array("label"),
        logits=scores.answers["logits"],
        losses=scores.mean_losses("loss"),
        lengths=table.lengths,
        metrics=report.metrics,
        wrong=report.wrong,
    )
