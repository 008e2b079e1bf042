"""Texts to predict, from lines of text, CSV, TSV or JSONL."""

import io
import os
import select
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from trainer.data import rows
from trainer.errors import Interrupted, UserError, shown

MAX_CHARACTERS = 2**22  # of a text or pair: it is cut into tokens whole, at some 100 B each


class Text(NamedTuple):
    """One text, or two."""

    id: int | str
    text: str
    pair: str | None = None

    @property
    def characters(self) -> int:
        """How many there are in all."""
        return len(self.text) + len(self.pair or "")


class Columns(NamedTuple):
    """Names of the columns."""

    text: str
    pair: str = ""  # of the second text; empty: there is none
    id: str = ""  # empty: rows are numbered from 0


class Input(NamedTuple):
    """The texts to predict.

    Attributes:
      texts: in order.
      size: how much there is in all, in `unit` ("B": bytes); None: not known.
      progress: told how many texts were predicted; returns how much that was in `unit`.
    """

    texts: Iterator[Text]
    size: int | None
    unit: str
    progress: Callable[[int], int]


class Waiting(io.RawIOBase):
    """A pipe or terminal; a signal ends the wait for more of it.

    Args:
      number: its file descriptor.
      stop: asked ten times a second; where it says so, reading raises Interrupted.
    """

    def __init__(self, number: int, stop: Callable[[], bool]):
        self._number, self._stop = number, stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._stop():
            if select.select([self._number], [], [], 0.1)[0]:
                return os.readv(self._number, [buffer])
        raise Interrupted


def read(
    file: BinaryIO,
    format_: rows.Format,
    columns: Columns,
    title: str,
    remarks: rows.Remarks | None = None,
) -> Iterator[Text]:
    """The texts of a file, in order.

    In "text" each line is one; "\\r\\n" ends a line too. Empty lines are texts.

    Args:
      file: where to read from.
      format_: how it is written.
      columns: where the texts stand.
      title: what to call it in a message.
      remarks: told of all that is read.

    Raises:
      UserError: a row that cannot be read, or is too long, with its number.
    """
    file = rows.unpacked(file, format_)
    if format_.kind == "text":
        for number, line in enumerate(rows.lines(file, title)):
            text = Text(number, line.removesuffix("\n").removesuffix("\r"))
            yield _check_length(text, f"{title}, line {number + 1}")
        return
    names = [name for name in columns if name]
    for number, cells in rows.read(file, format_, names, title, remarks):
        values = dict(zip(names, cells, strict=True))
        texts = [rows.check_text(values[name], name, number, title) for name in columns[:2] if name]
        own = values[columns.id] if columns.id else number - 1
        if not isinstance(own, (int, str)) or isinstance(own, bool):
            raise UserError(
                f"{title}, row {number}: id {columns.id!r} must be text or a whole number,"
                f" is {shown(own)}"
            )
        if isinstance(own, str):
            rows.check_text(own, columns.id, number, title)
        yield _check_length(Text(own, *texts), f"{title}, row {number}")


def _check_length(text: Text, where: str) -> Text:
    if text.characters > MAX_CHARACTERS:
        raise UserError(
            f"{where}: a text of {text.characters:,} characters: cut it to {MAX_CHARACTERS:,}"
        )
    return text
