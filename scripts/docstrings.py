"""Finds docstrings that begin with neither a noun nor a verb, for `make lint`.

    .venv/bin/python scripts/docstrings.py trainer thaw launch scripts configs tests

A docstring begins with a noun for a value and with a verb for an act: "True if", not "Whether".
"""

import ast
import re
import sys
from collections.abc import Sequence
from pathlib import Path

_BEGINS = re.compile(r"(What|Whether|Which|Who|Whom|Whose|How|The same|So many|So much)\b")
_HOLDERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def found(source: str) -> list[tuple[int, str]]:
    """Line and first words of each such docstring in a module's source."""
    held = [node for node in ast.walk(ast.parse(source)) if isinstance(node, _HOLDERS)]
    texts = [(getattr(node, "lineno", 1), ast.get_docstring(node) or "") for node in held]
    return [(line, text.splitlines()[0]) for line, text in texts if _BEGINS.match(text)]


def main(folders: Sequence[str]) -> int:
    """Prints those of all Python files in the folders; returns 1 if there are any."""
    lines = [
        f"{path}:{line}: begins with neither a noun nor a verb: {text}"
        for folder in folders
        for path in sorted(Path(folder).rglob("*.py"))
        for line, text in found(path.read_text(encoding="utf-8"))
    ]
    print("\n".join(lines) or "Docstrings begin with a noun or a verb.")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
