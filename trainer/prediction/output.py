"""Predictions as JSON lines or a table, of which an interrupted program wrote the first whole."""

import contextlib
import csv
import io
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from trainer.data.rows import DELIMITERS
from trainer.errors import UserError, shown
from trainer.imports import blamed_on
from trainer.storage import strict_json
from trainer.storage.plain import to_json
from trainer.tasks.task import Task, class_path

_BLOCK = 2**20  # bytes
_BEGIN = b'{"id": '  # of every line
_LONGEST = 2**26  # bytes of a line of a table


def is_table(path: Path | None) -> bool:
    """True for a file that its ending makes a `TableOutput`."""
    return path is not None and path.suffix.lower()[1:] in DELIMITERS


def as_json(values: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """A prediction as a JSON object, with the cells that are kept of its row."""
    return to_json({**values, **({"row": kept} if kept else {})})


class Output:
    """A file of JSON lines, one a text.

    Attributes:
      done: how many lines it has.
    """

    def __init__(self, path: Path, resume: bool, fields: Collection[str]):
        """Opens a new file, or goes on after the last whole line of one; a half one is removed.

        Args:
          path: of the file.
          resume: whether there may be one.
          fields: what each line has besides "id".

        Raises:
          UserError: it is there already and shall not be resumed, is no file of predictions, or
            cannot be written.
        """
        self._path, self.done, self._fields = path, 0, {"id", *fields}
        self._is_new = not path.exists()
        self._last_line = b""
        with _told(f"--output={path}"):
            if not self._is_new and not resume:
                raise UserError(
                    f"--output={path} is there already: choose another file, remove it, or go on"
                    " with --resume"
                )
            self._file = path.open("ab+")
            if resume:
                self._find_end()

    def _find_end(self) -> None:
        """Counts the lines in blocks: the file may be larger than memory."""
        self._file.seek(0)
        start = end = position = 0  # of the last whole line, and where the next block begins
        while block := self._file.read(_BLOCK):
            self.done += block.count(b"\n")
            last = block.rfind(b"\n")
            if last >= 0:
                before = block.rfind(b"\n", 0, last)
                start, end = position + before + 1 if before >= 0 else end, position + last + 1
            position += len(block)
        self._file.seek(start)
        ours = end - start <= strict_json.MAX_BYTES
        if ours:
            self._last_line = self._file.read(end - start)
            ours = _BEGIN.startswith(self._file.read(len(_BEGIN)))
        if ours and self._last_line:
            try:
                ours = strict_json.as_object(self._last_line).keys() >= self._fields
            except strict_json.InvalidJson:
                ours = False
        if not ours:  # nothing of another file is removed
            self._file.close()
            raise UserError(f"--output={self._path} holds no predictions: choose another file")
        self._file.truncate(end)

    def render(self, values: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
        """The line of a prediction.

        Args:
          values: "id", and what the task says of a row.
          kept: cells of the row, by column.
        """
        return as_json(values, kept)

    def check(self, line: str) -> None:
        """Refuses to go on with other texts or another model: `line` must be the last one.

        Raises:
          UserError: it is not.
        """
        if self._last_line != f"{line}\n".encode():
            raise UserError(
                f"--output={self._path}, line {self.done}, is not what would stand there now:"
                " --resume needs the same texts, model, flags and kind of machine as before"
            )

    def write(self, line: str) -> None:
        """Appends a line; it has reached the operating system when it returns.

        Raises:
          UserError: the disk is full, say.
        """
        with _told(f"--output={self._path}"):
            _write(self._file, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Forces what was written onto the disk; a new file without a line goes after an error."""
        with _told(f"--output={self._path}"), self._file:
            os.fsync(self._file.fileno())
            if error[0] and self._is_new and not self._file.tell():
                self._path.unlink()


class TableOutput(Output):
    """A CSV or TSV file: the columns that are kept of the input, and those of the predictions."""

    def __init__(
        self,
        path: Path,
        resume: bool,
        task: Task,
        *,
        kept: Sequence[str],
        with_id: bool,
    ):
        """See `Output`.

        Args:
          path, resume: of the file.
          task: says what the columns of a prediction are.
          kept: columns of the input, in order.
          with_id: whether the id has a column.

        Raises:
          UserError: as `Output` does; or a column would stand twice.
        """
        self._delimiter = DELIMITERS[path.suffix.lower()[1:]]
        self._task, self._path_of_task = task, class_path(task)
        self._head = (["id"] if with_id else []) + list(kept)
        with blamed_on(self._path_of_task, "config.task"):
            columns = [*self._head, *task.table_columns()]
        self._count = len(columns)
        for column in columns:
            if columns.count(column) > 1:
                raise UserError(
                    f"--output={path} would have two columns {column!r}: name those to keep, as"
                    " --keep=a,b"
                )
        self._header = self._row(columns)
        super().__init__(path, resume, task.line_fields)

    def _find_end(self) -> None:
        """Counts the rows; one ends at a line end outside of quotes."""
        self._file.seek(0)
        quotes = position = end = rows = 0
        row = b""
        while line := self._file.readline(_LONGEST):
            position += len(line)
            row += line
            quotes += line.count(b'"') if self._delimiter == "," else 0
            if quotes % 2 == 0 and line.endswith(b"\n"):
                if not rows and row != f"{self._header}\n".encode():
                    self._refuse()
                rows, end, quotes, self._last_line, row = rows + 1, position, 0, row, b""
            if len(row) > _LONGEST:
                self._refuse()
        if not rows and not f"{self._header}\n".encode().startswith(row):
            self._refuse()
        self.done = max(rows - 1, 0)
        self._file.truncate(end)
        self._file.seek(end)

    def _refuse(self) -> None:
        self._file.close()
        raise UserError(
            f"--output={self._path} holds no predictions with these columns: choose another file"
        )

    def render(self, values: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
        line = {name: value for name, value in values.items() if name != "id"}
        cells = [values["id"] if n == "id" and n not in kept else kept[n] for n in self._head]
        with blamed_on(self._path_of_task, "config.task"):
            cells += self._task.cells(line)
            if len(cells) != self._count:
                raise UserError(
                    f"config.task={self._path_of_task!r}: cells and table_columns do not give as"
                    " many values"
                )
            return self._row([_cell(each) for each in cells])

    def write(self, line: str) -> None:
        if (
            not self._file.tell()
        ):  # the header comes with the first row: without one no file is left
            super().write(self._header)
        super().write(line)

    def _row(self, cells: Sequence[str]) -> str:
        if self._delimiter == "\t":
            for cell in cells:
                if any(mark in cell for mark in "\t\n\r"):
                    raise UserError(
                        f"{shown(cell)} has a tab or a line end, which no cell of TSV can hold:"
                        " write --output=….csv"
                    )
            return "\t".join(cells)
        written = io.StringIO()
        csv.writer(written, lineterminator="\r\n").writerow(cells)  # quotes cells with either
        return written.getvalue().removesuffix("\r\n")


def _cell(value: Any) -> str:
    """The text of a cell: lists and objects as JSON, nothing for None."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value)


class Pipe:
    """Standard output."""

    done = 0

    def render(self, values: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
        """The line of a prediction, see `Output`."""
        return as_json(values, kept)

    def check(self, line: str) -> None:
        """Never asked: nothing is done before."""

    def write(self, line: str) -> None:
        """Appends a line; it is with the reader, or on its way, when it returns.

        Raises:
          BrokenPipeError: the reader went away.
          UserError: the disk is full, say.
        """
        with _told("standard output"):
            try:
                _write(sys.stdout.buffer, line)
            except OSError:  # what is left would fail once more when Python ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Makes a UserError of what cannot be written, but for a reader that went away."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot write {name}: {error.strerror}") from error


def _write(file: BinaryIO, line: str) -> None:
    file.write(f"{line}\n".encode())
    file.flush()
