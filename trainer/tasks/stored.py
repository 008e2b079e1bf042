"""Tasks as config.json holds them: the import path of the class, and its fields."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.errors import UserError
from trainer.imports import load
from trainer.settings import stored_type, types_of
from trainer.tasks.task import Task, class_path

# The tasks of this library that a config may name.
OWN_TASKS = (
    "trainer.tasks.causal:Causal",
    "trainer.tasks.classification:Classification",
    "trainer.tasks.masked:MaskedWords",
    "trainer.tasks.regression:Regression",
    "trainer.tasks.replaced:ReplacedTokens",
    "trainer.tasks.several:SeveralTasks",
    "trainer.tasks.span_corruption:SpanCorruption",
    "trainer.tasks.tagging:Tagging",
    "trainer.tasks.text_to_text:TextToText",
)
CLASS = "class"  # the key of the import path


@dataclass
class StoredTask(Task):
    """A task of which only the settings are known: its class may be a stranger's.

    Attributes:
      path: the import path of the class.
      fields: its fields, as they were read.
    """

    path: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    def imported(self) -> Task:
        """The task itself; importing its module runs it, so it must be trusted before.

        Raises:
          UserError: the class cannot be had, or has other fields.
        """
        return _made(load(self.path, "config.task"), self.fields, self.path)


def to_dict(task: Task) -> dict[str, Any]:
    """A task as JSON can hold it."""
    if isinstance(task, StoredTask):
        return {CLASS: task.path, **task.fields}
    return {CLASS: class_path(task), **dataclasses.asdict(task)}


def from_dict(values: Mapping[str, Any], like: Task | None = None) -> Task:
    """The inverse of `to_dict`: a StoredTask where the class is not this library's.

    Args:
      values: parsed JSON.
      like: a task whose class may be used as well.

    Raises:
      UserError: no class is named, or it has other fields.
    """
    fields = dict(values)
    path = fields.pop(CLASS, None)
    if not isinstance(path, str):
        raise UserError(f"config.task.{CLASS} must be the import path of a task")
    if like is not None and path == class_path(like):
        return _made(type(like), fields, path)
    if path not in OWN_TASKS:
        return StoredTask(path, fields)
    module, _, name = path.partition(":")
    return _made(getattr(importlib.import_module(module), name), fields, path)


def check_class(task: Task) -> None:
    """Refuses a task that no other process could find by its class.

    Raises:
      UserError: the class is not at the top of a module that can be imported.
    """
    path = class_path(task)
    if path in OWN_TASKS or isinstance(task, StoredTask):
        return
    if "<" in path or path.startswith("__main__:") or load(path, "config.task") is not type(task):
        raise UserError(
            f"config.task={path[:100]!r}: define the class at the top of a module of its own, not"
            " in the config file, so that it can be imported when the run is used"
        )
    settings = {spec.name for spec in dataclasses.fields(task)}
    for kind in type(task).__mro__[: type(task).__mro__.index(Task)]:
        for name, hint in vars(kind).get("__annotations__", {}).items():
            if name not in settings and "ClassVar" not in str(hint):
                raise UserError(
                    f"config.task={path[:100]!r}: {name} is no setting: write @dataclass above the"
                    " class, or ClassVar where it is none"
                )


def _made(kind: Any, fields: Mapping[str, Any], path: str) -> Task:
    if not (isinstance(kind, type) and issubclass(kind, Task) and dataclasses.is_dataclass(kind)):
        raise UserError(f"config.task={path[:100]!r} is no dataclass of trainer.tasks.task.Task")
    known = {spec.name for spec in dataclasses.fields(kind) if spec.init}
    if unknown := sorted(set(fields) - known):
        raise UserError(f"config.task has an unknown field: {unknown[0][:100]}")
    if missing := sorted(known - set(fields)):
        raise UserError(f"config.task.{missing[0]} is missing")
    hints = {name: stored_type(hint) for name, hint in types_of(kind).items()}
    values = {
        name: tuple(value)
        if isinstance(value, list) and typing.get_origin(hints[name]) is tuple
        else value
        for name, value in fields.items()
    }
    made: Task = kind(**values)
    return made
