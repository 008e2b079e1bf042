"""Paths as people write them: which are folders and files of this machine, and which are not."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError, shown

_LONGEST_NAME, _LONGEST = 240, 3800  # bytes: Linux has 255 and 4096, with what we add to a name
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")  # file:/x and s3:/x too, as pathlib writes s3://x
_GLOB = re.compile(r"[][*?\\]")  # what TensorFlow takes for a pattern
_TEMPLATE = re.compile(r"[{}]")  # what TFDS fills in


def local(text: str, what: str) -> Path:
    """The path that `text` names on this machine, `~` expanded; nothing is looked up.

    Args:
      text: as written in a flag or field. A name such as "~x" or "s3:/x" can be had as "./~x".
      what: the flag or field, as messages begin: "--workdir".

    Raises:
      UserError: a URL, the home of a person who has none, or a name that no file can have.
    """
    said = f"{what}={shown(text, 200)}"
    if not text:
        raise UserError(f"{what} is empty: give a path")
    if _URL.match(text.strip()):
        raise UserError(
            f"{said} is a URL, and no path of this machine: mount that storage, or copy it here,"
            " and give the path"
        )
    if "\0" in text:
        raise UserError(f"{said} holds a NUL byte, which no path can")
    try:
        path = Path(text).expanduser() if text.startswith("~") else Path(text)
    except RuntimeError as error:
        raise UserError(f"{said}: {_homeless(text)}") from error
    if str(path).startswith("~") or _URL.match(str(path)):
        path = path.absolute()  # written out, it must not be taken for a home or a URL
    try:
        names = [os.fsencode(part) for part in path.parts]
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{said}: {not_unicode(text)}") from error
    longest = max(map(len, names), default=0)
    if longest > _LONGEST_NAME:
        raise UserError(
            f"{said} has a name of {longest} bytes: give one of at most {_LONGEST_NAME}"
        )
    if len(os.fsencode(path)) > _LONGEST:
        raise UserError(f"{said} is over {_LONGEST} bytes long: give a shorter path")
    return path


def not_unicode(text: str) -> str:
    """Why a text cannot be written as UTF-8, or its name not be used, and what to do."""
    try:
        os.fsencode(text).decode()
    except UnicodeError:
        return "it holds bytes that are not UTF-8: rename it, or correct it"
    return "this environment has no UTF-8: set PYTHONUTF8=1, or LC_ALL=C.UTF-8"


def _homeless(text: str) -> str:
    name = text[1:].partition("/")[0]
    if name:
        return f"there is no user {name[:40]!r}: write out the folder, or ./{text[:40]}"
    return "this user has no home: set HOME, or write out the folder"


def temporary_folder() -> Path:
    """The folder of temporary files.

    Raises:
      UserError: there is no folder that can be written.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise UserError(
            "there is no temporary folder that can be written: set TMPDIR to one"
        ) from error


def glob_character(path: Path) -> str:
    """The first character of a path that TensorFlow takes for a pattern, or nothing."""
    found = _GLOB.search(str(path))
    return found[0] if found else ""


def real(path: Path) -> Path:
    """The path as it is without links.

    Unlike `Path.resolve` it raises nothing where they lead in a circle: what opens it will.
    """
    return Path(os.path.realpath(path))


def below(folder: Path) -> Iterator[Path]:
    """All that lies below a folder, however deep; of links their own names alone.

    Raises:
      OSError: a folder there cannot be read.
    """
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            yield path
            if path.is_dir() and not path.is_symlink():
                pending.append(path)


@contextlib.contextmanager
def without_globs(folder: Path) -> Iterator[Path]:
    """A name of an existing folder, for a while, that holds no glob characters.

    TensorFlow takes the path of a checkpoint as a pattern: in `runs/[1]` it finds nothing, and
    `runs/a?` may be another run's. Most folders have such a name already.

    Raises:
      UserError: there is no temporary folder to make a link in.
    """
    if not glob_character(folder) and not _TEMPLATE.search(str(folder)):
        yield folder
        return
    where = temporary_folder()
    try:
        made = tempfile.TemporaryDirectory(prefix="thaw-", dir=where)
        link = Path(made.name) / "folder"
        link.symlink_to(folder.absolute(), target_is_directory=True)
    except OSError as error:
        raise UserError(f"cannot write to the temporary folder {where}: set TMPDIR") from error
    with made:
        yield link
