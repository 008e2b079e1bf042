"""Shell commands for closing hints, with the interpreter and the words of this process."""

import re
import shlex
import shutil
import sys
from pathlib import Path


def program(name: str) -> str:
    """The words that start a program of launch/, such as "thaw predict".

    Args:
      name: of the program: "predict".
    """
    given = sys.orig_argv
    # Options of Python's end with -m, -c or the file of the program.
    ends = (i for i, word in enumerate(given) if i and not re.match("-(?![mc])", word))
    at = next(ends, len(given))
    begun, rest = given[:at], [*given[at:], "", ""]
    path = Path(rest[0])
    if rest[0] == "-m" and rest[1].startswith("launch."):
        return shlex.join([*begun, "-m", f"launch.{name}"])
    if path.name == "thaw":
        return f"{_found('thaw', path)} {name}"
    if path.suffix == ".py" and path.absolute().parent.name == "launch":
        return shlex.join([*begun, str(path.with_name(f"{name}.py"))])
    return shlex.join([sys.executable, "-m", f"launch.{name}"])


def tensorboard(folder: Path) -> str:
    """The command that shows a run, or all runs, below a folder."""
    # As it was typed, ".venv/bin/python", which has its tensorboard beside it; or else in whole.
    for python in map(Path, (*sys.orig_argv[:1], sys.executable)):
        beside = python.parent / "tensorboard"
        if len(python.parts) > 1 and beside.is_file():
            return f"{_found('tensorboard', beside)} --logdir={shlex.quote(str(folder))}"
    return shlex.join([sys.executable, "-m", "tensorboard.main", f"--logdir={folder}"])


def _found(name: str, file: Path) -> str:
    """The name, if a shell finds that file by it; else the file's path."""
    found = shutil.which(name)
    if found and file.exists() and Path(found).samefile(file):
        return name
    return shlex.quote(str(file))
