"""Progress of long work, as a bar on a terminal or not at all."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from tqdm import tqdm

Advance = Callable[[int], None]
Progress = Callable[[str, int | None], AbstractContextManager[Advance]]
"""`with progress("Tokenising train", total) as advance: advance(n)`; total None: not known."""


@contextlib.contextmanager
def quiet(description: str, total: int | None) -> Iterator[Advance]:
    """Shows nothing."""
    del description, total
    yield lambda count: None


@contextlib.contextmanager
def bar(description: str, total: int | None, unit: str = " examples") -> Iterator[Advance]:
    """A bar on stderr, of `total` examples or bytes ("B"); nothing where it is not a terminal."""
    hidden, scaled = not sys.stderr.isatty(), unit == "B"
    with tqdm(total=total, desc=description, unit=unit, unit_scale=scaled, disable=hidden) as line:

        def advance(count: int) -> None:
            line.update(count)

        yield advance
