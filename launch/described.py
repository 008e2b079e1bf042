"""Every field of a config: its value, its meaning by its comment, its default and its place."""

import ast
import dataclasses
import inspect
import io
import tokenize
from pathlib import Path
from typing import Any

from trainer.config import Experiment
from trainer.settings import FROM_ROWS
from trainer.tasks.task import class_path

ROOT = Path(__file__).parents[1]


def lines(config: Experiment) -> list[str]:
    """Two lines for each field: the path and value, then what it means."""
    return _of(config, "config")


def _of(node: Any, path: str) -> list[str]:
    found: list[str] = []
    comments = _comments(type(node))
    for spec in dataclasses.fields(node):
        value, at = getattr(node, spec.name), f"{path}.{spec.name}"
        if isinstance(value, list):
            for i, each in enumerate(value):
                found += _of(each, f"{at}[{i}]")
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            if spec.name == "task":
                found.append(f"{at} = {class_path(node.task)}")
            found += _of(value, at)
        else:
            comment, place = comments.get(spec.name, ("", ""))
            default = spec.default if spec.default is not dataclasses.MISSING else value
            parts = [comment, _bounds(spec), f"default {default!r}", place]
            found += [f"{at} = {value!r}", f"    {'; '.join(part for part in parts if part)}"]
    return found


def _bounds(spec: dataclasses.Field[Any]) -> str:
    """The values that a field may have, in words."""
    choices, low = spec.metadata.get("choices"), spec.metadata.get("low")
    if choices:
        return " | ".join(choices)
    if low is None:
        return ""
    from_rows = f", or {FROM_ROWS} from the rows" if spec.metadata.get("sized") else ""
    return f"{low:,} to {spec.metadata['high']:,}{from_rows}"


def _comments(kind: type) -> dict[str, tuple[str, str]]:
    """By field: the comment behind it, or above it, and the file and line of it."""
    found: dict[str, tuple[str, str]] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            source, first = inspect.getsourcelines(base)
            file = Path(inspect.getsourcefile(base) or "")
        except (OSError, TypeError):  # of code that has no file
            continue
        shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO("".join(source)).readline)
            if token.type == tokenize.COMMENT
        }
        (parsed,) = ast.parse("".join(source)).body
        assert isinstance(parsed, ast.ClassDef)
        for node in parsed.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                last = node.end_lineno or node.lineno
                behind = [comments[i] for i in range(node.lineno, last + 1) if i in comments]
                above: list[str] = []
                line = node.lineno - 1
                while not behind and source[line - 1].lstrip().startswith("#"):
                    above.insert(0, comments[line])
                    line -= 1
                said = " ".join(above or behind)
                found[node.target.id] = (said, f"{shown}:{first + node.lineno - 1}")
    return found
