"""The one exception for mistakes that a user can mend, and what their own code raised."""

import os
import traceback
from pathlib import Path

_NOT_THEIRS = (str(Path(os.__file__).parent), str(Path(__file__).parent), "<")


class UserError(Exception):
    """A wrong path, field, file, flag, label or checkpoint.

    The message is one line that says what is wrong and what to do. The programs in launch/
    print it without a traceback and end with exit status 2.
    """


def in_one_line(error: BaseException) -> str:
    """What a user's own code raised and where: "KeyError: 'a' (my_parts.py, line 7)"."""
    text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
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
