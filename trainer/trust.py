"""Code that the settings of a workdir name: a stranger's is imported only if it is trusted."""

import dataclasses
import re
from collections.abc import Collection
from typing import Any

from trainer.config import Experiment
from trainer.errors import UserError
from trainer.imports import OWN
from trainer.tasks.stored import OWN_TASKS, StoredTask
from trainer.tasks.task import class_path

_NAMESPACE = re.compile(r"[^:/]*:(?![\d*])")  # of a TFDS name; a version comes after a colon too
_HERE = __name__.partition(".")[0]
OTHER_VERSION = (
    "another version of this library may have written it: use that version, or train the run again"
)


def foreign(config: Experiment) -> dict[str, str]:
    """The code that settings name and this library does not have: import paths by field.

    A dataset name with a namespace counts: TFDS imports code of that community.
    """
    task = config.task
    path = task.path if isinstance(task, StoredTask) else class_path(task)
    named = {"config.model.factory": config.model.factory, "config.task": path}
    for spec in dataclasses.fields(task):
        if "code" in spec.metadata:
            named |= _paths(f"config.task.{spec.name}", getattr(task, spec.name))
    if config.data.source == "tfds" and _NAMESPACE.match(config.data.name):
        named["config.data.name"] = config.data.name
    return {field: path for field, path in named.items() if path not in (*OWN, *OWN_TASKS)}


def _paths(field: str, value: Any) -> dict[str, str]:
    """The import paths that a field holds; a name without a colon needs no import."""
    if isinstance(value, str):
        return {field: value} if ":" in value else {}
    return {f"{field}[{i}]": each for i, each in enumerate(value)}


def packages(config: Experiment) -> list[str]:
    """The top packages of foreign code, each once, as `check_trusted` asks for them."""
    return sorted({_module(path).partition(".")[0] for path in foreign(config).values()})


def check_trusted(config: Experiment, trusted: Collection[str], where: str) -> None:
    """Refuses settings that name code of others; imports nothing.

    Args:
      config: the settings.
      trusted: packages or modules that they may name all the same.
      where: the file that they were read from.

    Raises:
      UserError: the first such code, and the flag that allows it; or, of this library's own
        package, that it is not, or no longer, among what a config may name.
    """
    for field, path in foreign(config).items():
        parts = _module(path).split(".")
        if any(".".join(parts[: i + 1]) in trusted for i in range(len(parts))):
            continue
        if parts[0] == _HERE:
            raise UserError(
                f"{where} names code that this library does not offer, {field}={path[:100]!r};"
                f" {OTHER_VERSION}"
            )
        raise UserError(
            f"{where} names code that is not this library's own, {field}={path[:100]!r}: if you"
            f" know it and trust it, give --trust={parts[0][:100]}"
        )


def _module(path: str) -> str:
    return path.partition(":")[0]
