"""Rows to predict, from lines of text, CSV, TSV or JSONL."""

import io
import math
import os
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from trainer.data import column_files, rows
from trainer.data.columns import LISTS, TEXT, Column, Row, check_text, value_of
from trainer.data.rows import MAX_CHARACTERS
from trainer.errors import Interrupted, UserError, shown
from trainer.tasks.task import Task


class Given(NamedTuple):
    """A row to predict.

    Attributes:
      id: its number from 0, or its own.
      row: the cells that the task reads.
      kept: cells that stand beside the prediction, by column.
    """

    id: int | str
    row: Row
    kept: Mapping[str, Any] = {}

    @property
    def characters(self) -> int:
        """The number of them in all its cells."""
        return sum(len(part) for cell in self.row.values() for part in _parts(cell))


class Columns(NamedTuple):
    """Names of columns.

    Attributes:
      texts: by the key of the task's column.
      id: empty: rows are numbered from 0.
      kept: those that stand beside the prediction; of plain text "text" may be.
    """

    texts: Mapping[str, str]
    id: str = ""
    kept: Sequence[str] = ()


class Input(NamedTuple):
    """The texts to predict.

    Attributes:
      texts: in order.
      size: how much there is in all, in `unit` ("B": bytes); None: not known.
      progress: told how many texts were predicted; returns how much that was in `unit`.
    """

    texts: Iterator[Given]
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
    task: Task,
    title: str,
    *,
    remarks: rows.Remarks | None = None,
    header: bool = True,
) -> Iterator[Given]:
    """The rows of a file, in order.

    In "text" each line is one; "\\r\\n" ends a line too. Empty lines are texts.

    Args:
      file: where to read from.
      format_: how it is written.
      columns: where the texts stand.
      task: what the texts are given to.
      title: what to call the file in a message.
      remarks: told of all that is read.
      header: whether a first row names the columns.

    Raises:
      UserError: a row that cannot be read, or is too long, with its number.
    """
    file = rows.unpacked(file, format_)
    if format_.kind == "text":
        for number, line in enumerate(rows.bare_lines(file, title)):
            cells = task.cells_of(line)
            where = f"{title}, line {number + 1}"
            kept: dict[str, Any] = {"text": line} if columns.kept else {}
            yield _check_length(Given(number, Row(cells, number, title), kept), where)
        return
    kinds = {column.key: column for column in task.text_columns}
    if format_.kind == "columns":
        yield from _sentences(
            file, [kinds[k]._replace(name=n) for k, n in columns.texts.items()], title
        )
        return
    names = [*columns.texts.values(), *([columns.id] if columns.id else []), *columns.kept]
    found = rows.read(file, format_, names, title, remarks=remarks, header=header)
    for number, read_ in found:
        where = f"{title}, row {number}"
        values: dict[str, Any] = {}
        for key, cell in zip(columns.texts, read_, strict=False):
            if kinds[key].kind != TEXT and isinstance(cell, str):
                values |= task.cells_of(check_text(cell, f"{where}: {columns.texts[key]!r}"))
            else:
                column = kinds[key]._replace(name=columns.texts[key])
                values[key] = value_of(column, cell, where, format_.kind not in rows.DELIMITERS)
        own = read_[len(columns.texts)] if columns.id else number - 1
        others = read_[len(names) - len(columns.kept) :]
        kept = {name: _plain(cell) for name, cell in zip(columns.kept, others, strict=True)}
        if not isinstance(own, (int, str)) or isinstance(own, bool):
            raise UserError(
                f"{where}: id {columns.id!r} must be text or a whole number, is {shown(own)}"
            )
        if isinstance(own, str):
            check_text(own, f"{where}: {columns.id!r}")
        yield _check_length(Given(own, Row(values, number - 1, title), kept), where)


def _sentences(file: BinaryIO, columns: Sequence[Column], title: str) -> Iterator[Given]:
    """The sentences of a file of columns."""
    if any(column.kind not in LISTS for column in columns):
        raise UserError(f"{title} holds words in columns: the model takes texts")
    places = [column_files.place(column.name, "--text", title) for column in columns]
    found = column_files.sentences(rows.bare_lines(file, title), places, title)
    for number, cells in enumerate(found):
        where = f"{title}, row {number + 1}"
        given = zip(columns, cells, strict=True)
        values = {c.key: value_of(c, cell, where, typed=True) for c, cell in given}
        yield _check_length(Given(number, Row(values, number, title)), where)


def _check_length(given: Given, where: str) -> Given:
    if given.characters > MAX_CHARACTERS:
        raise UserError(
            f"{where}: a text of {given.characters:,} characters: cut it to {MAX_CHARACTERS:,}"
        )
    return given


def _plain(cell: Any) -> Any:
    """A cell as JSON can hold it: dates and such as text, NaN and infinities as None."""
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if isinstance(cell, list):
        return [_plain(each) for each in cell]
    if isinstance(cell, dict):
        return {str(key): _plain(each) for key, each in cell.items()}
    return cell if cell is None or isinstance(cell, (str, int)) else str(cell)


def _parts(cell: Any) -> Sequence[str]:
    if isinstance(cell, str):
        return [cell]
    return [part for part in cell if isinstance(part, str)] if isinstance(cell, list) else []
