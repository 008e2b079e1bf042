"""A run that has ended, read from its folder: no data, no model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.calibration import Calibration
from trainer.config import Experiment
from trainer.errors import UserError
from trainer.scores import Kept
from trainer.workdir import Workdir


class Curve(NamedTuple):
    """The points of a metric: steps int [N], values float [N]."""

    steps: np.ndarray
    values: np.ndarray


class FinishedRun(NamedTuple):
    """What a run left.

    Attributes:
      name: of its folder, with those above that tell it from other runs.
      config: its settings. derived: what followed from them and the data.
      result: result.json. calibration: of validation. test: the scores of the test split.
      curves: every metric by name ("train/loss"), as metrics.jsonl has them.
    """

    name: str
    config: Experiment
    derived: Mapping[str, Any]
    result: Mapping[str, Any]
    calibration: Calibration
    test: Kept
    curves: Mapping[str, Curve]

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of their ids."""
        return self.derived["id2label"]

    @property
    def phases(self) -> list[int]:
        """The steps at which a phase began, but for the first."""
        curve = self.curves.get("train/phase")
        if curve is None:
            return []
        return curve.steps[1:][np.diff(curve.values) != 0].tolist()


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Reads the folders of several runs, and names no two of them alike.

    Raises:
      UserError: see `read_run`.
    """
    runs = [read_run(folder) for folder in folders]
    paths = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = [str(Path(*parts[-length:])) for parts in paths]
        if len(set(names)) == len(names):
            break
    return [run._replace(name=name) for run, name in zip(runs, names, strict=True)]


def read_run(folder: Path) -> FinishedRun:
    """Reads a run's folder.

    Raises:
      UserError: there is no run, it has not ended, or a file of it cannot be read.
    """
    workdir = Workdir(folder)
    config, derived = workdir.read()
    result = workdir.result()
    if not result:
        raise UserError(
            f"--workdir={folder} holds a run that has not ended: let it end first, the command that"
            " began it goes on"
        )
    calibration = Calibration.load(workdir.calibration_file)
    if not calibration:
        raise UserError(f"{workdir.calibration_file} is missing: restore it from a backup")
    test = Kept.load(workdir.scores / "test.npz")
    curves = _curves(folder / "metrics.jsonl")
    return FinishedRun(folder.resolve().name, config, derived, result, calibration, test, curves)


def _curves(path: Path) -> dict[str, Curve]:
    found: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                values = json.loads(line)
                step = values.pop("step")
                for name, value in values.items():
                    found.setdefault(name, []).append((step, np.nan if value is None else value))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    columns = {name: np.array(points).T for name, points in found.items()}
    return {name: Curve(steps.astype(int), values) for name, (steps, values) in columns.items()}
