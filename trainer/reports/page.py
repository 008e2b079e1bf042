"""The report: one HTML page that needs nothing beside it."""

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np

from trainer import config as config_lib
from trainer.errors import UserError
from trainer.evaluation import statistics
from trainer.evaluation.calibration import reliability
from trainer.objectives.metrics import confusion_matrix
from trainer.reports import charts
from trainer.reports.finished import FinishedRun

_LARGE = 30  # classes above which a confusion matrix is too large to be drawn
_METRICS = ("loss", "precision", "recall", "f1", "auc")


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
                f"{one.name} and {two.name} were not scored on the same test examples: compare runs"
                " on the same test split"
            )
    right = {id(run): run.test.predictions == run.test.labels for run in runs}
    pairs = [
        Pair(one.name, two.name, statistics.compare(right[id(one)], right[id(two)]))
        for one, two in itertools.combinations(runs, 2)
    ]
    adjusted = statistics.holm([pair.found.p for pair in pairs])
    return [
        pair._replace(found=pair.found._replace(p=p))
        for pair, p in zip(pairs, adjusted, strict=True)
    ]


def _same_test(one: FinishedRun, two: FinishedRun) -> bool:
    """By the fingerprint too: other texts may have the same numbers."""
    prints = {run.derived["data_fingerprint"]["test"] for run in (one, two)}
    return (
        len(prints) == 1
        and np.array_equal(one.test.ids, two.test.ids)
        and np.array_equal(one.test.labels, two.test.labels)
    )


def differing(runs: Sequence[FinishedRun]) -> dict[str, list[str]]:
    """The settings in which runs differ, by name: what each has, "" where it has none."""
    settings = [config_lib.defining(run.config) for run in runs]
    names = sorted(set().union(*settings))
    rows = {name: [str(each.get(name, "")) for each in settings] for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def _section(run: FinishedRun) -> dict[str, Any]:
    """Everything that the page says of a run."""
    test, names = run.test, run.labels
    temperature = run.calibration.temperature
    plain, calibrated = test.probabilities(), test.probabilities(temperature)
    before, after = (reliability(test.labels, each) for each in (plain, calibrated))
    right = test.predictions == test.labels
    matrix = confusion_matrix(test.labels, test.predictions, len(names))
    versions = run.result["versions"]
    environment = {key: run.result[key] for key in ("replicas", "parameters", "skipped_steps")}
    return {
        "name": run.name,
        "result": run.result,
        "metrics": {name: test.metrics[name] for name in _METRICS if name in test.metrics},
        "count": len(right),
        "accuracy": float(right.mean()),
        "interval": statistics.proportion(int(right.sum()), len(right)),
        "before": before.error,
        "after": after.error,
        "temperature": temperature,
        "temperature_note": run.calibration.note,
        "curves": _curves(run),
        "confusion": charts.confusion(matrix, names) if len(names) <= _LARGE else "",
        "precision_recall": charts.precision_recall(test.labels, calibrated, names),
        "reliability": [
            charts.reliability(before, f"Before: error {before.error:.4f}"),
            charts.reliability(after, f"After: error {after.error:.4f}"),
        ],
        "thresholds": [
            statistics.at_threshold(name, each.value, test.labels, calibrated[:, 1])
            for name, each in run.calibration.thresholds.items()
        ],
        "precision_target": run.calibration.precision_target,
        "by_length": statistics.by_length(test.lengths, test.labels, calibrated),
        "by_label": statistics.by_label(test.labels, test.predictions, names),
        "labels": names,
        "wrong": test.wrong,
        "config": json.dumps(config_lib.to_dict(run.config), indent=2, ensure_ascii=False),
        "data": run.derived["data_fingerprint"],
        "environment": {**environment, **versions},
    }


def _curves(run: FinishedRun) -> list[str]:
    """The charts of what metrics.jsonl holds, each where it has any points."""
    wanted = (
        ("Loss", "loss", {"training": "train/loss", "validation": "validation/loss"}),
        (
            "Validation",
            "share",
            {name: f"validation/{name}" for name in ("accuracy", "f1", "auc")},
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
            found.append(charts.curves(lines, title, ylabel, run.phases))
    return found
