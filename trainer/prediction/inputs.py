"""Texts to predict, from lines of text, CSV, TSV or JSONL."""

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from trainer.data import rows
from trainer.errors import UserError

FORMATS = ("text", "csv", "tsv", "jsonl")


class Text(NamedTuple):
    """One text, or two."""

    id: int | str
    text: str
    pair: str | None = None


class Columns(NamedTuple):
    """What the columns are called."""

    text: str
    pair: str = ""  # of the second text; empty: there is none
    id: str = ""  # empty: rows are numbered from 0


class Input(NamedTuple):
    """What is to be predicted.

    Attributes:
      texts: in order.
      size: how much there is in all, in `unit` ("B": bytes); None: not known.
      progress: told how many texts were predicted; returns how much that was in `unit`.
    """

    texts: Iterator[Text]
    size: int | None
    unit: str
    progress: Callable[[int], int]


def read(file: BinaryIO, format_: str, columns: Columns, title: str) -> Iterator[Text]:
    """The texts of a file, in order.

    In "text" each line is one; "\\r\\n" ends a line too. Empty lines are texts.

    Raises:
      UserError: a row that cannot be read, with its number.
    """
    if format_ == "text":
        for number, line in enumerate(rows.lines(file, title)):
            yield Text(number, line.removesuffix("\n").removesuffix("\r"))
        return
    names = [name for name in columns if name]
    for number, cells in rows.read(file, f".{format_}", names, title):
        values = dict(zip(names, cells, strict=True))
        texts = [rows.check_text(values[name], name, number, title) for name in columns[:2] if name]
        own = values[columns.id] if columns.id else number - 1
        if not isinstance(own, (int, str)) or isinstance(own, bool):
            raise UserError(
                f"{title}, row {number}: id {columns.id!r} must be text or a whole number,"
                f" is {own!r}"
            )
        if isinstance(own, str):
            rows.check_text(own, columns.id, number, title)
        yield Text(own, *texts)
