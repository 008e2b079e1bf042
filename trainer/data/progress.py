"""Progress of long work, as a bar on a terminal or not at all."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from tqdm import tqdm

Advance = Callable[..., None]
Progress = Callable[[str, int | None], AbstractContextManager[Advance]]
"""`with progress("Tokenising train", total) as advance: advance(n)`; total None: not known."""


@contextlib.contextmanager
def quiet(description: str, total: int | None) -> Iterator[Advance]:
    """Shows nothing."""
    del description, total
    yield lambda count: None


class _Bar(tqdm):
    """A bar whose estimate of the time left leaves out a start, where there was one.

    Attributes:
      begins: the time at which the start was over, and what was done then.
    """

    begins: tuple[float, float] | None = None

    @property
    def format_dict(self) -> dict[str, Any]:
        shown = dict(super().format_dict)
        if self.begins:
            began, before = self.begins
            shown["rate"] = (self.n - before) / max(time.monotonic() - began, 1e-9)
        return shown


@contextlib.contextmanager
def bar(
    description: str, total: int | None, unit: str = " examples", counted: str = ""
) -> Iterator[Advance]:
    """A bar on stderr, of `total` examples or bytes ("B"); nothing where it is not a terminal.

    Where other things are `counted`, such as "rows", `advance(n, rate)` is told how many of them a
    second there are: None as long as what is done is a start, which the time left leaves out.
    """
    hidden, scaled = not sys.stderr.isatty(), unit == "B"
    with _Bar(total=total, desc=description, unit=unit, unit_scale=scaled, disable=hidden) as line:

        def advance(count: int, rate: float | None = None) -> None:
            if rate is not None:
                line.set_postfix_str(f"{rate:,.0f} {counted}/s", refresh=False)
            elif counted:
                line.begins = time.monotonic(), line.n + count
            line.update(count)

        yield advance
