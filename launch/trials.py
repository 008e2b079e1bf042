"""The trials of a sweep: which settings each has, checked before any of them starts."""

import itertools
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from absl import flags
from ml_collections import config_flags

from trainer import config as config_lib
from trainer.errors import UserError
from trainer.storage import fields, strict_json
from trainer.storage.disk import replace

MOST = 10**5  # trials of a sweep, or flags that they share
Settings = dict[str, str]  # values as on the command line, by field without "config."
_RANDOM = re.compile(r"(log|uniform|int):([^:]+):([^:]+)")


class Plan(NamedTuple):
    """A sweep.

    Attributes:
      train: flags of launch.train that all trials share. trials: the settings of each.
    """

    train: list[str]
    trials: list[Settings]

    def flags(self, number: int, workdir: Path) -> list[str]:
        """The flags of launch.train for a trial."""
        settings = self.trials[number].items()
        return [
            *self.train,
            *(f"--config.{field}={value}" for field, value in settings),
            f"--workdir={workdir}",
        ]

    def check(self) -> None:
        """Refuses settings that launch.train would refuse.

        Raises:
          UserError: the first trial that is wrong, and why.
        """
        for number in range(len(self.trials)):
            try:
                config_lib.validate(experiment(self.flags(number, Path("trial"))))
            except UserError as error:
                raise UserError(f"trial {number}: {error}") from error

    def save(self, path: Path) -> None:
        """Writes it; refuses another plan in the same place.

        Raises:
          UserError: there is another one.
        """
        text = json.dumps(self._asdict(), indent=2) + "\n"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise UserError(f"{path} holds another sweep: choose another --output")

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """The inverse of `save`.

        Raises:
          UserError: there is none, or it cannot be read.
        """
        try:
            values = strict_json.read(path)
            trials = [_texts(trial) for trial in fields.items(values, "trials", MOST)]
            train = fields.items(values, "train", MOST)
            if not all(isinstance(flag, str) for flag in train):
                raise fields.Invalid("train must be flags")
            return cls(train, trials)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: it is no folder of a sweep") from error
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from error


def _texts(trial: object) -> Settings:
    if not isinstance(trial, dict) or not all(isinstance(each, str) for each in trial.values()):
        raise fields.Invalid("a trial must be texts by field")
    return trial


def experiment(arguments: Sequence[str]) -> config_lib.Experiment:
    """The experiment that launch.train makes of its flags.

    Raises:
      UserError: a flag, a field or a type is wrong.
    """
    values = flags.FlagValues()
    argv = ["launch.train", *arguments]
    try:
        with mock.patch.object(sys, "argv", argv):
            config_flags.DEFINE_config_file("config", None, flag_values=values)
            flags.DEFINE_string("workdir", None, "", flag_values=values)
            flags.DEFINE_string("cache_dir", None, "", flag_values=values)
            flags.DEFINE_integer("cpu_devices", None, "", flag_values=values)
            values(argv)
        made = values["config"].value
    except (flags.Error, KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        said = error.args[0] if error.args else error
        raise UserError(" ".join(str(said).split())) from error
    if not isinstance(made, config_lib.Experiment):
        raise UserError("--config: get_config() must return a trainer.config.Experiment")
    return made


def grid(lists: Sequence[str]) -> list[Settings]:
    """Every combination of "field=a,b,c" lists, the last one changing fastest."""
    parsed = [_field(each) for each in lists]
    columns = [[(field, value) for value in values.split(",")] for field, values in parsed]
    return [dict(row) for row in itertools.product(*columns)]


def draws(randoms: Sequence[str], trials: int, seed: int) -> list[Settings]:
    """Settings drawn for each trial from "field=log:1e-5:1e-3", "uniform:…", "int:1:4" or "a|b|c".

    A draw depends on the seed, the trial and the field only: more trials leave the first the same.

    Raises:
      UserError: a distribution that is none.
    """
    made: list[Settings] = [{} for _ in range(trials)]
    for text in randoms:
        field, what = _field(text)
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
    except ValueError as error:
        raise UserError(
            f"--random {text}: write FIELD=log:1e-5:1e-3, uniform:0:0.5, int:1:4, or a|b|c"
        ) from error


def _field(text: str) -> tuple[str, str]:
    field, equals, values = text.partition("=")
    if not (equals and field and values):
        raise UserError(f"{text!r}: write FIELD=VALUES, as in model.depth=1,2")
    return field.removeprefix("config."), values
