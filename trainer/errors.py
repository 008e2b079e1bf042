"""The one exception for mistakes that a user can mend, and words that are safe to print."""

import os
import re
import traceback
from pathlib import Path
from typing import Any

MOST = 1000  # characters of a message
_OURS = (str(Path(__file__).parents[1] / name) for name in ("trainer", "thaw", "launch"))
_NOT_THEIRS = (str(Path(os.__file__).parent), *_OURS, "<")


class Interrupted(Exception):
    """A signal asked the program to end; what is done so far is kept."""


class UserError(Exception):
    """A wrong path, field, file, flag, label or checkpoint.

    The message is one line that says what is wrong and what to do. The programs in launch/
    print it without a traceback and end with exit status 2.
    """


class NoColumn(UserError):
    """A file, or a row of it, lacks the column `name`."""

    def __init__(self, where: str, name: str, there: str):
        super().__init__(f"{where} has no column {name!r}; its columns: {there}")
        self.name = name


def printable(text: str) -> str:
    """The text with all that a terminal cannot show, or would obey, as escapes; line ends stay."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str, most: int = MOST) -> str:
    """The text on one line of at most some `most` characters, cut in the middle; see `printable`.

    How a message begins says what is wrong, how it ends what to do.
    """
    text = re.sub(r"\s*[\n\r\x0b\x0c\x85\u2028\u2029]+\s*", " ", text.strip())
    if len(text) > most:
        kept = most // 3
        text = f"{text[: 2 * kept]} … ({len(text) - 3 * kept:,} characters more) … {text[-kept:]}"
    return printable(text)


def shown(value: Any, most: int = 80) -> str:
    """The value as Python writes it, for a message, in one line: of a text, `most` characters."""
    try:
        if isinstance(value, str):
            return printable(repr(value[:most])) + "…" * (len(value) > most)
        text = printable(repr(value))
        return text if len(text) <= most else f"{text[:most]}…"
    except Exception:  # an integer of thousands of digits, or a __repr__ that fails
        return f"a value of type {type(value).__name__} that is too long to show"


def in_one_line(error: BaseException) -> str:
    """An error of a user's own code, and its place: "KeyError: 'a' (my_parts.py, line 7)"."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    except Exception:  # its own __str__ fails
        text = "no message"
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    own = [
        (file, line)
        for file, line in frames
        if not file.startswith(_NOT_THEIRS) and "site-packages" not in file
    ]
    where = f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""
    return f"{type(error).__name__}: {text[:300]}{where}"
