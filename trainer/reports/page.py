"""The report: one HTML page that needs nothing beside it."""

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np

from trainer import config as config_lib
from trainer.errors import UserError
from trainer.evaluation import groups, statistics
from trainer.reports import charts
from trainer.reports.finished import FinishedRun
from trainer.tasks import shown as forms

_LONGEST = 400  # characters of a text
_HEADS = 60  # characters of all names of a matrix that its columns can have as heads


class Pair(NamedTuple):
    """Two runs compared, by name."""

    first: str
    second: str
    found: statistics.Comparison


def render(runs: Sequence[FinishedRun]) -> str:
    """The page of one run, or of several with their comparison on top.

    Raises:
      UserError: runs that were not scored on the same test examples.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.2f}\N{NO-BREAK SPACE}%"
    environment.filters["cell"] = _cell
    environment.filters["points"] = lambda value: f"{100 * value:+.2f}".replace("-", "\u2212")
    return environment.get_template("report.html").render(
        title=" · ".join(run.name for run in runs),
        runs=[_section(run) for run in runs],
        pairs=compare(runs),
        differing=differing(runs),
        names=[run.name for run in runs],
        confidence=statistics.CONFIDENCE,
    )


def compare(runs: Sequence[FinishedRun]) -> list[Pair]:
    """Every pair of runs, p values adjusted for their number."""
    for one, two in itertools.combinations(runs, 2):
        if not _same_test(one, two):
            raise UserError(
                f"{one.name} and {two.name} were not scored on the same {one.split} examples:"
                " compare runs where they are read from the same file or split, with the same"
                " columns and labels"
            )
    scored = [(run.task, run.scored) for run in runs if run.scored]
    found = [task.correct(kept.gold, kept.scores) for task, kept in scored]
    right = [each for each in found if each is not None]
    if len(right) < len(runs):
        return []
    pairs = [
        Pair(runs[i].name, runs[j].name, statistics.compare(right[i], right[j]))
        for i, j in itertools.combinations(range(len(runs)), 2)
    ]
    adjusted = statistics.holm([pair.found.p for pair in pairs])
    return [
        pair._replace(found=pair.found._replace(p=p))
        for pair, p in zip(pairs, adjusted, strict=True)
    ]


def _same_test(one: FinishedRun, two: FinishedRun) -> bool:
    """By the fingerprint too: other texts may have the same numbers."""
    if one.split != two.split or not one.scored or not two.scored:
        return False
    prints = {run.derived["data_fingerprint"].get(one.split) for run in (one, two)}
    of_rows = [name for name, array in one.task.arrays().items() if not array.axis]
    mine, its = one.scored.gold, two.scored.gold
    same = all(name in its and np.array_equal(mine[name], its[name]) for name in of_rows)
    rows = np.array_equal(np.unique(mine["rows"]), np.unique(its["rows"]))
    return len(prints) == 1 and same and rows


def differing(runs: Sequence[FinishedRun]) -> dict[str, list[str]]:
    """The settings in which runs differ, by name: what each has, "" where it has no effect."""
    settings = [config_lib.defining(run.config) for run in runs]
    idle = [{f"{part}.{name}" for part, name in config_lib.idle(run.config)} for run in runs]
    found = {}
    for name in sorted(set().union(*settings)):
        values = [str(each.get(name, "")) for each in settings]
        if len(set(values)) > 1:
            pairs = zip(values, idle, strict=True)
            found[name] = ["" if name in without else value for value, without in pairs]
    return {name: values for name, values in found.items() if any(values)}


def _section(run: FinishedRun) -> dict[str, Any]:
    """Everything that the page says of a run."""
    scored, task, share, shown = run.scored, run.task, None, []
    metrics = dict(scored.metrics) if scored else {}
    count = metrics.pop("examples", 0)
    if scored:
        right = task.correct(scored.gold, scored.scores)
        if right is not None:
            interval = statistics.proportion(int(right.sum()), len(right))
            share = {"name": task.correct_name, "value": float(right.mean()), "interval": interval}
            metrics.pop(task.correct_name, None)
        by_group = groups.tables(task, groups.judged(task, scored.gold, scored.scores))
        shown = [*by_group, *task.show(scored.gold, scored.scores, scored.examples, run.fitted)]
    environment = {key: run.result[key] for key in ("replicas", "parameters", "skipped_steps")}
    return {
        "name": run.name,
        "result": run.result,
        "split": run.split if scored else "",
        "share": share,
        "metrics": metrics,
        "count": count,
        "curves": _curves(run),
        "shown": _blocks(shown),
        "config": json.dumps(config_lib.to_dict(run.config), indent=2, ensure_ascii=False),
        "data": run.derived["data_fingerprint"],
        "environment": {**environment, **run.result["versions"]},
    }


def _blocks(shown: Sequence[forms.Shown]) -> list[dict[str, Any]]:
    """The forms that a task shows, in order: tables, matrices, notes, and charts side by side."""
    found: list[dict[str, Any]] = []
    for kind, group in itertools.groupby(shown, _kind):
        held = list(group)
        if kind == "table":
            tables = [each.mistakes() if isinstance(each, forms.Matrix) else each for each in held]
            found += [
                {"kind": kind, **t._asdict(), "texts": _texts(t)}
                for t in tables
                if isinstance(t, forms.Table)
            ]
        elif kind == "matrix":
            found += [_matrix(each) for each in held if isinstance(each, forms.Matrix)]
        elif kind in ("note", "marked"):
            found += [{"kind": kind, **each._asdict()} for each in held]
        else:
            curves = [each for each in held if isinstance(each, forms.Curve)]
            drawn = [charts.curves(curves)] if curves else []
            single = [each for each in held if isinstance(each, forms.Bars | forms.Points)]
            found.append({"kind": kind, "charts": [*map(charts.chart, single), *drawn]})
    return found


def _matrix(shown: forms.Matrix) -> dict[str, Any]:
    """A matrix in full: each cell with its count and its share of the row."""
    counts, names = shown.counts, [_cell(name) for name in shown.names]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    short = sum(map(len, names)) <= _HEADS
    return {
        "kind": "matrix",
        "name": shown.name,
        "names": names,
        "short": short,
        "rows": [
            [*zip(row, share, strict=True)]
            for row, share in zip(counts.tolist(), shares.tolist(), strict=True)
        ],
    }


def _texts(shown: forms.Table) -> list[bool]:
    """True for each column of texts."""
    first = shown.rows[0] if shown.rows else ()
    return [isinstance(cell, str) for cell in first] or [False] * len(shown.head)


def _cell(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int):
        return f"{value:,}"
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"


def _kind(shown: forms.Shown) -> str:
    if isinstance(shown, forms.Matrix):
        return "table" if shown.large else "matrix"
    if isinstance(shown, forms.Table):
        return "table"
    if isinstance(shown, forms.Marked):
        return "marked"
    return "note" if isinstance(shown, forms.Note) else "charts"


def _curves(run: FinishedRun) -> list[str]:
    """The charts of what metrics.jsonl holds, each where it has any points."""
    task = run.task
    names = [name for name in task.metric_names() if name != "loss"]
    lower = [name for name in names if name in task.lower]
    higher = [name for name in names if name not in lower]
    wanted = (
        ("Loss", "loss", {"training": "train/loss", "validation": "validation/loss"}),
        *(
            (f"Validation, {side} is better", "", {n: f"validation/{n}" for n in metrics})
            for side, metrics in (("higher", higher), ("lower", lower))
        ),
        ("Learning rate", "rate", {"rate": "train/learning_rate"}),
        (
            "Where a step's time goes",
            "ms a step",
            {name: f"time/{name}_ms" for name in ("input", "compute", "host", "logging")},
        ),
    )
    found = []
    for title, ylabel, metrics in wanted:
        lines = {name: run.curves[key] for name, key in metrics.items() if key in run.curves}
        if lines:
            ylabel = ylabel or (next(iter(lines)) if len(lines) == 1 else "value")
            found.append(charts.steps(lines, title, ylabel, run.phases))
    return found
