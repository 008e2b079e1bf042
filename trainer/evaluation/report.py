"""The judgement of a split's scores: metrics, the worst mistakes, tables and figures."""

from dataclasses import dataclass
from typing import Any

from trainer.evaluation.scores import Kept, WrongPrediction
from trainer.objectives.metrics import softmax
from trainer.run import Run
from trainer.tasks.shown import Shown
from trainer.tasks.task import Examples, Scores

WRONG_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """An evaluation of one split.

    Attributes:
      metrics: by name.
      mistakes: those that the model was surest of.
      shown: the task's tables and figures.
    """

    split: str
    metrics: dict[str, Any]
    mistakes: Examples
    shown: list[Shown]


def make_report(run: Run, split: str, scores: Scores) -> Report:
    """Works out everything that is logged of an evaluation."""
    table, task = run.split(split), run.task
    worst = task.mistakes(table.gold, scores)[:WRONG_SHOWN]
    mistakes = Examples(worst, table.rows[worst].tolist(), run.texts(split, worst))
    metrics = task.metrics(table.gold, scores)
    return Report(split, metrics, mistakes, task.show(table.gold, scores, mistakes))


def keep(run: Run, split: str, scores: Scores, report: Report) -> Kept:
    """The part of an evaluation that is stored for launch.report."""
    table = run.split(split)
    labels, logits = table.array("label"), scores.answers["logits"]
    probabilities, predictions = softmax(logits), logits.argmax(-1)
    wrong = [
        WrongPrediction(
            text, int(labels[i]), int(predictions[i]), float(probabilities[i].max()), id_
        )
        for i, id_, text in zip(*report.mistakes, strict=True)
    ]
    return Kept(
        ids=table.rows,
        labels=labels,
        logits=logits,
        losses=scores.mean_losses("loss"),
        lengths=table.lengths,
        metrics=report.metrics,
        wrong=wrong,
    )
