"""The trials of a sweep: which settings each has, checked before any of them starts."""

import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from launch import sent
from launch.texts import shortened
from trainer.config import validates
from trainer.errors import UserError, shown
from trainer.storage import fields, sealed

MOST = 10**5  # trials of a sweep, or flags that they share
Settings = dict[str, str]  # values as on the command line, by field without "config."
_RANDOM = re.compile(r"(log|uniform|int):([^:]+):([^:]+)")
_FIELD = re.compile(r"[\w.\[\]]+", re.ASCII)  # such as phases[0].learning_rate


class Plan(NamedTuple):
    """A sweep.

    Attributes:
      train: flags of launch.train that all trials share.
      trials: the settings of each.
      metric: the metric of validation that sorts them.
      lower: True where a lower value of it is better.
    """

    train: list[str]
    trials: list[Settings]
    metric: str
    lower: bool

    @classmethod
    def checked(cls, train: list[str], trials: list[Settings], only: int | None = None) -> "Plan":
        """The plan of trials whose settings launch.train would take.

        Args:
          train, trials: see above.
          only: check this trial and the first one; the others were checked before.

        Raises:
          UserError: the first trial that is wrong, and why; or they have different metrics.
        """
        plan, found = cls(train, trials, "", False), []
        for number in range(len(trials)) if only is None else sorted({0, only}):
            try:
                config = sent.experiment(plan.flags(number, Path("trial")))
                metric = sent.check_values(config)
                if not validates(config.data):
                    raise UserError("trials are sorted by validation: name one, or a share")
            except UserError as error:
                raise UserError(f"trial {number}: {error}") from error
            found.append(metric)
            if found[-1] != found[0]:
                raise UserError(
                    f"trial {number} is sorted by {found[-1]}, and trial 0 by {found[0]}: one"
                    " table cannot compare them"
                )
        return plan._replace(metric=found[0], lower=found[0] in config.task.lower)

    def flags(self, number: int, workdir: Path) -> list[str]:
        """The flags of launch.train for a trial."""
        settings = self.trials[number].items()
        return [
            *self.train,
            *(f"--config.{field}={value}" for field, value in settings),
            f"--workdir={workdir}",
        ]

    def save(self, path: Path) -> None:
        """Writes it; refuses another plan in the same place.

        Raises:
          UserError: there is another one.
        """
        if not os.path.lexists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            sealed.write(path, self._asdict())
        elif self.load(path) != self:
            raise UserError(f"{path} holds another sweep: choose another --output")

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """The inverse of `save`.

        Raises:
          UserError: there is none, or it cannot be read.
        """
        try:
            values = sealed.read(path)
            trials = [_texts(trial) for trial in fields.items(values, "trials", MOST)]
            train = fields.items(values, "train", MOST)
            if not all(isinstance(flag, str) for flag in train):
                raise fields.Invalid("train must be flags")
            if not trials or any(trial.keys() != trials[0].keys() for trial in trials):
                raise fields.Invalid("trials must have the same fields")
            metric, lower = fields.text(values, "metric"), fields.flag(values, "lower")
            return cls(train, trials, metric, lower)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: it is no folder of a sweep") from error
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from error


def _texts(trial: object) -> Settings:
    if not isinstance(trial, dict) or not all(isinstance(each, str) for each in trial.values()):
        raise fields.Invalid("a trial must be texts by field")
    return trial


def grid(lists: Sequence[str]) -> list[Settings]:
    """Every combination of "field=a,b,c" lists, the last one changing fastest.

    Raises:
      UserError: a list that is none, or too many combinations.
    """
    parsed = _fields(lists)
    columns = [[(field, value) for value in values.split(",")] for field, values in parsed]
    check_count(math.prod(map(len, columns)))
    return [dict(row) for row in itertools.product(*columns)]


def check_count(trials: int) -> None:
    """Refuses more trials than anybody would run."""
    if trials > MOST:
        raise UserError(f"{trials:,} trials: give {MOST:,} at most")


def draws(randoms: Sequence[str], trials: int, seed: int) -> list[Settings]:
    """Settings drawn for each trial from "field=log:1e-5:1e-3", "uniform:…", "int:1:4" or "a|b|c".

    A draw depends on the seed, the trial and the field only: more trials leave the first the same.

    Raises:
      UserError: a distribution that is none, or too many trials.
    """
    check_count(trials)
    made: list[Settings] = [{} for _ in range(trials)]
    for text, (field, what) in zip(randoms, _fields(randoms), strict=True):
        for number, settings in enumerate(made):
            name = np.frombuffer(field.encode(), np.uint8)
            random = np.random.Generator(np.random.Philox([seed, number, *name.tolist()]))
            settings[field] = _draw(text, what, random)
    return made


def _draw(text: str, what: str, random: np.random.Generator) -> str:
    if "|" in what:
        choices = what.split("|")
        return choices[int(random.integers(len(choices)))]
    match = _RANDOM.fullmatch(what)
    try:
        if not match:
            raise ValueError
        kind, low, high = match[1], float(match[2]), float(match[3])
        if not low < high or (kind == "log" and low <= 0):
            raise ValueError
        if kind == "int":
            return str(int(random.integers(int(match[2]), int(match[3]) + 1)))
        drawn = random.random()
        value = low * (high / low) ** drawn if kind == "log" else low + (high - low) * drawn
        return f"{value:.4g}"
    except (OverflowError, ValueError) as error:
        forms = "FIELD=log:1e-5:1e-3, uniform:0:0.5, int:1:4, or a|b|c"
        raise UserError(f"--random {shortened(text)}: write {forms}") from error


def _fields(texts: Sequence[str]) -> list[tuple[str, str]]:
    """The field and the values of each "FIELD=VALUES"."""
    found: dict[str, str] = {}
    for text in texts:
        field, equals, values = text.partition("=")
        field = field.removeprefix("config.")
        if not (equals and values and _FIELD.fullmatch(field)):
            raise UserError(f"{shown(text)}: write FIELD=VALUES, as in model.depth=1,2")
        if field in found:
            raise UserError(f"{field} is there twice: give all its values at once")
        found[field] = values
    return list(found.items())
