"""The judgement of a split's scores: metrics, the worst mistakes, tables and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer.evaluation import groups
from trainer.evaluation.groups import Groups
from trainer.evaluation.scores import Kept, Mistake
from trainer.imports import blamed_on
from trainer.run import Run
from trainer.tasks.shown import Shown
from trainer.tasks.task import Examples, Scores, class_path

WRONG_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """An evaluation of one split.

    Attributes:
      metrics: by name.
      mistakes: those that the model was surest of.
      shown: the task's tables and figures.
      groups: of `trainer.evaluation.groups.judged`.
      group_metrics: those of each group that change as training goes on.
    """

    split: str
    metrics: dict[str, Any]
    mistakes: Examples
    shown: list[Shown]
    groups: Groups = field(default_factory=dict)
    group_metrics: Sequence[str] = ()


def make_report(run: Run, split: str, scores: Scores) -> Report:
    """Works out everything that is logged of an evaluation."""
    table, task = run.split(split), run.task
    gold = table.gold
    with blamed_on(class_path(task), "config.task"):
        worst = task.mistakes(gold, scores)[:WRONG_SHOWN]
        texts, tokens = run.texts(split, worst), run.tokens(split, worst)
        mistakes = Examples(worst, table.rows[worst].tolist(), texts, tokens)
        of_groups = groups.judged(task, gold, scores)
        metrics = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in task.judge(gold, scores).items()
        }
        return Report(
            split,
            metrics,
            mistakes,
            [*groups.tables(task, of_groups), *task.show(gold, scores, mistakes)],
            groups=of_groups,
            group_metrics=task.group_metrics,
        )


def keep(run: Run, split: str, scores: Scores, report: Report) -> Kept:
    """The part of an evaluation that is stored for launch.report."""
    table = run.split(split)
    mistakes = zip(*report.mistakes, strict=True)
    return Kept(
        gold=table.gold,
        scores=scores,
        metrics=report.metrics,
        mistakes=[Mistake(int(row), id_, text, tokens) for row, id_, text, tokens in mistakes],
    )
