"""Metrics of the groups of a set, such as the rows of each label: in order, as a table, stored."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.tasks.shown import LARGE, Table
from trainer.tasks.task import Gold, Scores, Task

KEPT = 200  # of a set, in result.json
Groups = Mapping[str, Mapping[str, Any]]
"""Metrics of groups, by the group's name and their own."""


def judged(task: Task, gold: Gold, scores: Scores) -> Groups:
    """The metrics of each group of a set, the most frequent first; empty if the task has none."""
    found = task.judge_groups(gold, scores) if task.group else {}
    return dict(sorted(found.items(), key=lambda each: -each[1]["support"]))


def tables(task: Task, groups: Groups) -> list[Table]:
    """The table of the metrics of each group, of many those of the LARGE first; none of no groups.

    Args:
      groups: of `judged`.
    """
    if not groups:
        return []
    title, names = f"by {task.group}", ("support", *task.group_metrics)
    if len(groups) > LARGE:
        title += f", the {LARGE} most frequent of {len(groups):,}"
    rows = [
        (group, *(np.asarray(metrics[name]).item() for name in names))
        for group, metrics in itertools.islice(groups.items(), LARGE)
    ]
    return [Table(title, (task.group, *names), rows)]


def entries(sets: Mapping[str, Groups]) -> dict[str, Any]:
    """Entries of result.json: the metrics of the groups of several sets, by the set's name.

    Of a set with very many, of the first KEPT; "groups_left_out" has the number of others.
    """
    if not any(sets.values()):
        return {}
    kept = {name: dict(itertools.islice(groups.items(), KEPT)) for name, groups in sets.items()}
    left = {name: len(groups) - len(kept[name]) for name, groups in sets.items()}
    return {"groups": kept, **({"groups_left_out": left} if any(left.values()) else {})}
