"""A user's own files, read row by row as UTF-8: CSV, TSV, JSONL, plain text, columns of words."""

import collections
import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from trainer import config
from trainer.data import column_files
from trainer.data.columns import LISTS, TAGS, TEXT, WORDS, Column, LabelTypes, Row, value_of
from trainer.data.documents import between, documents, parts
from trainer.data.found_columns import LOOKED_AT, find
from trainer.data.rows import (
    DELIMITERS,
    ENDINGS,
    Format,
    Remarks,
    bare_lines,
    format_of,
    header_of,
    read,
    sample,
    sha256,
    unix_lines,
    unpacked,
)
from trainer.data.sources import Records
from trainer.errors import UserError

OF_ROWS = (".csv", ".tsv", ".jsonl", ".parquet")


WHOLE = (0, 100)  # percent of a file


class Share(NamedTuple):
    """A part of a file.

    Attributes:
      content: sha256 in hex of the file's bytes, unpacked.
      first, end: the percents of its rows where the part begins and ends.
    """

    content: str
    first: int
    end: int


class OfFiles:
    """Records that are read from files."""

    @property
    def shares(self) -> list[Share]:
        """The parts of files that are read."""
        raise NotImplementedError

    def overlaps(self, other: Records) -> bool:
        """True if both read the same part of a file, or of copies of it."""
        assert isinstance(other, OfFiles)
        theirs = collections.defaultdict(list)
        for share in other.shares:
            theirs[share.content].append(share)
        return any(
            max(mine.first, its.first) < min(mine.end, its.end)
            for mine in self.shares
            for its in theirs[mine.content]
        )


class FileRecords(OfFiles):
    """One file: rows under a header (.csv, .tsv), JSON objects (.jsonl), or columns of words.

    Where a single column, of text, is read, a row is a document, and plain text has such rows too.

    Args:
      field: of config.data, for messages.
      path: of the file; it may be packed by gzip.
      columns: those that are read.
      data: says how it is written, where the ending does not.
      share: where the rows that are read begin and end, in percent of all; of a file that is one
        document, the characters.
      label_types: what the labels of other files are; None: there are no others.
    """

    def __init__(
        self,
        field: str,
        path: Path,
        columns: Sequence[Column],
        data: config.Data,
        share: tuple[int, int] = WHOLE,
        label_types: LabelTypes | None = None,
    ):
        self._path, self._header, self._documents = path, data.header, data.documents
        self._share, self._label_types = share, label_types or LabelTypes()
        self.title = f"file {path}" + ("" if share == WHOLE else f" [{share[0]}%:{share[1]}%]")
        self._remarks = Remarks()
        self._one_text = one_text(columns)
        if data.format == "text" and not self._one_text:
            raise UserError(
                "config.data.format='text' is for a task with a single column, of text: name"
                " another format"
            )
        format_ = format_for(path.name, columns, data)
        if not format_:
            columns_of_words = any(column.kind in (WORDS, TAGS) for column in columns)
            more = [f".{ending}" for ending in ENDINGS] if columns_of_words else []
            more += [".txt"] if self._one_text else []
            raise UserError(
                f"config.data.{field}={str(path)!r} must end in {', '.join([*OF_ROWS, *more])},"
                " or in one of them and .gz: the ending says how to read it, unless"
                " config.data.format does"
                + (", as 'parallel' for a file of lines a column" if len(columns) > 1 else "")
            )
        if format_.kind == "parquet" and format_.packed:
            raise UserError(
                f"{self.title} is packed twice: unpack it, Parquet packs its own columns"
            )
        regular(path, self.title)
        self._format: Format = format_
        self.columns = self._named(columns)

    def _named(self, columns: Sequence[Column]) -> list[Column]:
        """The columns, with the names found in the file for those that have none."""
        wanted = [column for column in columns if not column.name]
        if not wanted:
            return list(columns)
        if self._format.kind == "columns":
            names = {WORDS: "0", TAGS: "-1"}  # as the shared tasks have them
            return [c._replace(name=c.name or names[c.kind]) for c in columns]
        if self._format.kind == "text":
            return [c._replace(name=c.name or c.key) for c in columns]
        with self._open() as file:
            there = header_of(file, self._format, self.title, self._header)

        def look() -> list[list[object]]:
            with self._open() as file:
                return sample(
                    file, self._format, there, self.title, header=self._header, most=LOOKED_AT
                )

        taken = [column for column in columns if column.name]
        found = find(wanted, taken, there, look, self.title)
        return [c._replace(name=c.name or found[c.key]) for c in columns]

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of the unpacked bytes and of how they are read; the name does not count."""
        kind, quoted, _ = self._format
        how = " unquoted" if kind in DELIMITERS and not quoted else ""
        how += "" if self._header else " headless"
        how += f" {self._documents}" if kind == "text" else ""
        how += "" if self._share == WHOLE else f" {self._share}"
        return hashlib.sha256(f".{kind}{how} {self.content}".encode()).hexdigest()

    @functools.cached_property
    def content(self) -> str:
        """sha256 in hex of the file's bytes, unpacked."""
        with self._open() as file:
            if self._format.kind == "parquet":
                digest = hashlib.sha256()
                for chunk in iter(lambda: file.read(2**20), b""):
                    digest.update(chunk)
                return digest.hexdigest()
            return sha256(file, self.title)

    @property
    def remarks(self) -> str:
        """Oddities found by the last reading of all rows, in one line; empty if none."""
        return str(self._remarks)

    @property
    def shares(self) -> list[Share]:
        return [Share(self.content, *self._share)]

    def look(self) -> None:
        """Reads the first row. Raises UserError: its name or header is wrong."""
        next(self._rows(0, None), None)

    def rows(self) -> Iterator[Row]:
        """Raises UserError, with file and row, for what cannot be read."""
        if self._share == WHOLE:
            return self._rows(0, None)
        first, end = (share * self._size // 100 for share in self._share)
        return self._rows(first, end)

    @functools.cached_property
    def _size(self) -> int:
        """The number of rows, or of the characters of a file that is one document."""
        with self._open() as file:
            if self._is_document:
                return sum(map(len, unix_lines(file, self.title)))
            return max((number for number, _ in self._cells(file, 0, None)), default=0)

    @property
    def _is_document(self) -> bool:
        return self._format.kind == "text" and self._documents == "file"

    def _rows(self, first: int, end: int | None) -> Iterator[Row]:
        """The rows or characters from `first` to before `end`, or to the last."""
        self._remarks = Remarks()
        typed = self._format.kind not in DELIMITERS
        types = self._label_types if typed else LabelTypes()  # a table's cells are texts
        with self._open() as file:
            for number, cells in self._cells(file, first, end):
                if not self._is_document and not first < number <= (number if end is None else end):
                    continue
                where = f"{self.title}, row {number}"
                values = {
                    column.key: value_of(column, cell, where, typed)
                    for column, cell in zip(self.columns, cells, strict=True)
                }
                for column, cell in zip(self.columns, cells, strict=True):
                    types.check(column, cell, number, self.title)
                yield Row(values, number - 1, self.title)

    def _cells(
        self, file: BinaryIO, first: int, end: int | None
    ) -> Iterator[tuple[int, list[object]]]:
        """The number of each row, from 1, and its cells; of a document those characters alone."""
        if self._format.kind == "columns":
            places = [column_files.place(c.name, c.field, self.title) for c in self.columns]
            found = column_files.sentences(bare_lines(file, self.title), places, self.title)
            return ((number, list(cells)) for number, cells in enumerate(found, start=1))
        if self._format.kind == "text":
            lines: Iterator[str] = unix_lines(file, self.title)
            if self._is_document and end is not None:
                lines = between(lines, first, end)
            texts = documents(lines, self._documents, self.title, self._remarks)
            return ((number, [text]) for number, text in texts)
        cells = self._read(file, [column.name for column in self.columns])
        return self._parts(cells) if self._one_text else cells

    def _parts(
        self, rows: Iterator[tuple[int, list[object]]]
    ) -> Iterator[tuple[int, list[object]]]:
        """Rows of one text, or of a part of it where it is very long."""
        for number, (cell,) in rows:
            where = f"{self.title}, row {number}"
            held = parts([cell], where, self._remarks) if isinstance(cell, str) else [cell]
            for each in held:
                yield number, [each]

    def _read(self, file: BinaryIO, names: list[str]) -> Iterator[tuple[int, list[object]]]:
        return read(
            file,
            self._format,
            names,
            self.title,
            remarks=self._remarks,
            header=self._header,
        )

    def _open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        return opened(self._path, self._format, self.title)


@contextlib.contextmanager
def opened(path: Path, format_: Format, title: str) -> Iterator[BinaryIO]:
    """The content of a file, unpacked. Raises UserError: it cannot be read."""
    try:
        with path.open("rb") as file:
            yield unpacked(file, format_)
    except OSError as error:
        raise UserError(f"cannot read {title}: {error.strerror}") from error


def regular(path: Path, title: str) -> None:
    """Refuses a pipe or device. Raises UserError."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{title} is no regular file: it must be read more than once")


def one_text(columns: Sequence[Column]) -> bool:
    """True if a single column is read, and holds text: then a row is a document."""
    return [column.kind for column in columns] == [TEXT]


def format_for(name: str, columns: Sequence[Column], data: config.Data) -> Format | None:
    """The way a file is written that these columns are read from; None: its ending says none."""
    kind = "" if data.format == "suffix" else data.format
    found = format_of(name, data.quoting, kind)
    if not found or found.kind != "text" or one_text(columns):
        return found
    of_words = not kind and any(column.kind in LISTS for column in columns)
    return found._replace(kind="columns") if of_words else None
