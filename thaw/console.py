"""Words to the person who watches: on a terminal, in a log, or below the cell of a notebook."""

import contextlib
import sys
from typing import TextIO

from trainer.errors import printable


def in_notebook() -> bool:
    """True in a kernel of Jupyter, where standard error is shown as a fault."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def stream() -> TextIO:
    """The stream that words go to: standard error, or standard output in a notebook."""
    return sys.stdout if in_notebook() else sys.stderr


def say(message: str) -> None:
    """A line for the person who watches; where nobody can, a full disk or a lost terminal, none."""
    with contextlib.suppress(OSError, ValueError):
        print(printable(message), file=stream(), flush=True)
