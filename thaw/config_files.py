"""Config files: Python files with a function `get_config`."""

import dataclasses
import difflib
import os
import runpy
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thaw.environment import import_tensorflow, without_cpp
from trainer.errors import UserError, in_one_line, one_line
from trainer.imports import search_current_folder
from trainer.settings import stored_type, types_of
from trainer.storage.paths import local

if TYPE_CHECKING:
    from trainer.config import Experiment

LONGEST = 2**24  # bytes of a config file
# Where configs/ stands in a checkout, and in a wheel.
_SHIPPED = (Path(__file__).parents[1], Path(__file__).parent / "shipped")


def read_config(path: str | os.PathLike[str]) -> "Experiment":
    """The experiment that a config file makes, to be trained as it is or with changes.

    Args:
      path: of the file, such as "configs/files.py"; after a colon an argument of its get_config,
        "configs/files.py:tagging". Configs of this library are found from any folder.

    Raises:
      UserError: there is no such file, or it does something wrong.
    """
    return load(str(path), "config")


def load(text: str, what: str) -> "Experiment":
    """See `read_config`; `what` the path is, for messages: a flag."""
    from trainer.config import Experiment

    text = found(text)
    path, *argument = text.split(":", 1) if not text.lower().startswith("file:") else (text,)
    if argument and argument[0].startswith("//"):
        local(text, what)
    file = str(check_file(path, what))
    said = f"{what}={file}"
    search_current_folder()  # a config may import another
    for folder in _SHIPPED:
        if str(folder) not in sys.path and (folder / "configs").is_dir():
            sys.path.append(str(folder))
    try:
        with without_cpp():
            namespace = runpy.run_path(file)
            if "get_config" not in namespace:
                raise UserError(f"{said} has no function get_config()")
            config = namespace["get_config"](*argument)
        if "tensorflow" in sys.modules:  # a task or model of the user's needs it
            import_tensorflow()
    except UserError:
        raise
    except SystemExit as error:
        raise UserError(f"{said} ends the program: {words_of(error)}") from error
    except BaseException as error:  # whatever a user's own file does wrong is theirs to mend
        raise UserError(f"{said}: {in_one_line(error)}") from error
    if not isinstance(config, Experiment):
        raise UserError(f"{said}: get_config() must return a trainer.config.Experiment")
    if dataclasses.is_dataclass(config.task) and not isinstance(config.task, type):
        _resolve_types(config.task, said)
    return config


def found(path: str) -> str:
    """The path, or that of the library's own config of this name, where there is no such file."""
    if path.startswith("configs/") and not os.path.lexists(path.split(":")[0]):
        for folder in _SHIPPED:
            if (folder / path.split(":")[0]).is_file():
                return str(folder / path)
    return path


def check_file(text: str, what: str) -> Path:
    """Refuses what is no file to be read as a whole. Raises UserError."""
    path = local(text, what)
    try:
        status = path.stat()
    except OSError as error:
        near = _near(text)
        beside = f": is it {near}?" if near else ""
        raise UserError(f"{what}={text}: {error.strerror}{beside}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{what}={text}: Is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{what}={text} is no regular file: write it to one")
    if status.st_size > LONGEST:
        raise UserError(f"{what}={text} has {status.st_size:,} bytes: it is no such file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{what}={text}: Permission denied")
    return path


def _near(text: str) -> str:
    """The path of a config file with nearly that name, or "": there, or among the library's own."""
    path = Path(text)
    for folder in (Path(), *_SHIPPED):
        names = [each.name for each in (folder / path.parent).glob("*.py")]
        found = difflib.get_close_matches(path.name, names, 1, cutoff=0.8)
        if found or f"{path.name}.py" in names:
            return str(path.with_name(found[0] if found else f"{path.name}.py"))
    return ""


def _resolve_types(node: Any, said: str) -> None:
    """Makes types of annotations that are texts, as of a module that postpones their evaluation.

    ml_collections takes the types of fields as they stand.
    """
    try:
        hints = types_of(type(node))
    except Exception as error:  # of a task of the user's own
        raise UserError(f"{said}: config.task: {in_one_line(error)}") from error
    for spec in dataclasses.fields(node):
        spec.type = stored_type(hints[spec.name])


def words_of(error: BaseException) -> str:
    """Words of an error, in one line; a KeyError has no quotes."""
    first = error.args[0] if error.args and not isinstance(error, UnicodeError) else None
    text = first if isinstance(first, str) else str(error)
    return one_line(" ".join(text.split()) or type(error).__name__)
