"""A run that has ended, read from its folder: no data, no model."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.config import Experiment
from trainer.errors import UserError
from trainer.evaluation.scores import MAX_BYTES, Kept
from trainer.monitor.metrics_log import read_records
from trainer.storage.contents import LOG, SCORES
from trainer.storage.disk import sha256_of
from trainer.storage.paths import real
from trainer.storage.workdir import Workdir
from trainer.tasks.stored import OWN_TASKS
from trainer.tasks.task import Task, class_path


class Curve(NamedTuple):
    """The points of a metric: steps int [N], values float [N]."""

    steps: np.ndarray
    values: np.ndarray


class FinishedRun(NamedTuple):
    """The files that a run left, read.

    Attributes:
      name: of its folder, with those above that tell it from other runs.
      config: its settings. derived: what followed from them and the data.
      result: result.json. task: bound to what it learned. fitted: what it fitted on validation.
      split: the set that is reported: "test", or where there is none "validation".
      scored: its scores; None: the run has neither.
      curves: every metric by name ("train/loss"), as metrics.jsonl has them.
    """

    name: str
    config: Experiment
    derived: Mapping[str, Any]
    result: Mapping[str, Any]
    task: Task
    fitted: Any
    split: str
    scored: Kept | None
    curves: Mapping[str, Curve]

    @property
    def phases(self) -> list[int]:
        """The steps at which a phase began, but for the first."""
        curve = self.curves.get("train/phase")
        if curve is None:
            return []
        return curve.steps[1:][np.diff(curve.values) != 0].tolist()


def read_runs(folders: Sequence[Path], trusted: Collection[str] = ()) -> list[FinishedRun]:
    """Reads the folders of several runs, and names no two of them alike.

    Args:
      folders, trusted: see `read_run`.

    Raises:
      UserError: see `read_run`.
    """
    runs = [read_run(folder, trusted) for folder in folders]
    paths = [real(folder).parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = [str(Path(*parts[-length:])) for parts in paths]
        if len(set(names)) == len(names):
            break
    return [run._replace(name=name) for run, name in zip(runs, names, strict=True)]


def read_run(folder: Path, trusted: Collection[str] = ()) -> FinishedRun:
    """Reads a run's folder; imports nothing that its settings name, but a task of the user's own.

    Args:
      folder: of the run.
      trusted: packages or modules, beside this library's own, that the settings may name.

    Raises:
      UserError: there is no run, it has not ended, a file of it is not what was written, or the
        settings name code that is not trusted: its numbers are of that code.
    """
    workdir = Workdir(folder)
    config, derived = workdir.read_to_run(trusted)
    result = workdir.result()
    if not result:
        raise UserError(
            f"--workdir={folder} holds a run that has not ended: let it end first, the command that"
            " began it goes on"
        )
    task = _without_code(config.task)
    tokenizer = workdir.load_tokenizer() if task.longest_target else None  # of written texts
    task = task.bound(derived["facts"], tokenizer)
    fitted = task.load_fitted(workdir.calibration_file)
    if not fitted and (note := task.note(None, result)):
        raise UserError(f"--workdir={folder}: {note}: there is nothing to report")
    if fitted and fitted.step != result["best_step"]:
        raise UserError(f"{workdir.calibration_file} and {workdir.result_file} are of two runs")
    digests = result["sha256"]
    split = "test" if "test" in result else "validation"
    scores, scored = SCORES[split], None
    if split in result:
        if scores not in digests:
            raise UserError(
                f"--workdir={folder} holds no scores of its {split} examples, of which a report is"
                f" made: they were over {MAX_BYTES:,} bytes, or not all finite"
            )
        scored = Kept.load(folder / scores, digests[scores], task)
    curves = _curves(folder / LOG, digests[LOG])
    return FinishedRun(
        real(folder).name,
        config=config,
        derived=derived,
        result=result,
        task=task,
        fitted=fitted,
        split=split,
        scored=scored,
        curves=curves,
    )


def _without_code(task: Task) -> Task:
    """The task without losses and metrics that are not this library's: their values are there."""
    if class_path(task) not in OWN_TASKS:
        return task
    code = {f.name: f.default for f in dataclasses.fields(task) if "code" in f.metadata}
    return dataclasses.replace(task, **code)


def _curves(path: Path, sha256: str) -> dict[str, Curve]:
    def damaged(what: str) -> None:
        raise UserError(f"cannot read {path}: {what}; restore it from a backup")

    found: dict[str, list[tuple[int, float]]] = {}
    try:
        if not path.is_file() or sha256_of(path) != sha256:
            damaged("it is missing, or not what was written")
        for _, values in read_records(path, damaged):
            step = values.pop("step")
            for name, value in values.items():
                found.setdefault(name, []).append((step, np.nan if value is None else value))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    columns = {name: np.array(points).T for name, points in found.items()}
    return {name: Curve(steps.astype(int), values) for name, (steps, values) in columns.items()}
