"""A user's own files, read row by row as UTF-8: CSV, TSV, JSONL, and columns of words."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from trainer import config
from trainer.data import column_files
from trainer.data.columns import LISTS, TAGS, WORDS, Column, LabelTypes, Row, value_of
from trainer.data.rows import (
    DELIMITERS,
    ENDINGS,
    Format,
    Remarks,
    bare_lines,
    format_of,
    read,
    sha256,
    unpacked,
)
from trainer.data.sources import Records
from trainer.errors import UserError

OF_ROWS = (".csv", ".tsv", ".jsonl")


class FileRecords:
    """One file: rows under a header (.csv, .tsv), JSON objects (.jsonl), or columns of words.

    Args:
      field: of config.data, for messages.
      path: of the file; it may be packed by gzip.
      columns: those that are read.
      data: says how it is written, where the ending does not.
    """

    def __init__(self, field: str, path: Path, columns: Sequence[Column], data: config.Data):
        self._path, self._columns, self._header = path, list(columns), data.header
        self.title = f"file {path}"
        self._remarks = Remarks()
        kind = "" if data.format == "suffix" else data.format
        words = any(column.kind in LISTS for column in columns)
        format_ = format_of(path.name, data.quoting, kind)
        if not kind and words and format_ and format_.kind == "text":
            format_ = format_._replace(kind="columns")
        if not format_ or format_.kind == "text":
            columns_of_words = any(column.kind in (WORDS, TAGS) for column in columns)
            of_words = [f".{ending}" for ending in ENDINGS] if columns_of_words else []
            raise UserError(
                f"config.data.{field}={str(path)!r} must end in {', '.join([*OF_ROWS, *of_words])},"
                " or in one of them and .gz: the ending says how to read it, unless"
                " config.data.format does"
            )
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{self.title} is no regular file: it must be read more than once")
        self._format: Format = format_

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of the unpacked bytes and of how they are read; the name does not count."""
        kind, quoted, _ = self._format
        how = " unquoted" if kind in DELIMITERS and not quoted else ""
        how += "" if self._header else " headless"
        return hashlib.sha256(f".{kind}{how} {self.content}".encode()).hexdigest()

    @functools.cached_property
    def content(self) -> str:
        """sha256 in hex of the file's bytes, unpacked."""
        with self._open() as file:
            return sha256(file, self.title)

    @property
    def remarks(self) -> str:
        """Oddities found by the last reading of all rows, in one line; empty if none."""
        return str(self._remarks)

    def overlaps(self, other: Records) -> bool:
        """True if the other is the same file, or a copy of it."""
        assert isinstance(other, FileRecords)
        return self.content == other.content

    def rows(self) -> Iterator[Row]:
        """Raises UserError, with file and row, for what cannot be read."""
        self._remarks = Remarks()
        typed, types = self._format.kind in ("jsonl", "columns"), LabelTypes()
        with self._open() as file:
            for number, cells in self._cells(file):
                where = f"{self.title}, row {number}"
                values = {
                    column.key: value_of(column, cell, where, typed)
                    for column, cell in zip(self._columns, cells, strict=True)
                }
                for column, cell in zip(self._columns, cells, strict=True):
                    types.check(column, cell, number, self.title)
                yield Row(values, number - 1, self.title)

    def _cells(self, file: BinaryIO) -> Iterator[tuple[int, list[object]]]:
        if self._format.kind == "columns":
            places = [column_files.place(c.name, c.field, self.title) for c in self._columns]
            found = column_files.sentences(bare_lines(file, self.title), places, self.title)
            return ((number, list(cells)) for number, cells in enumerate(found, start=1))
        names = [column.name for column in self._columns]
        return read(
            file,
            self._format,
            names,
            self.title,
            remarks=self._remarks,
            header=self._header,
        )

    @contextlib.contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with self._path.open("rb") as file:
                yield unpacked(file, self._format)
        except OSError as error:
            raise UserError(f"cannot read {self.title}: {error.strerror}") from error


def open_records(
    data: config.Data, columns: Sequence[Column]
) -> tuple[dict[str, Records], dict[str, Sequence[str]]]:
    """The files of each split; a file has no names for its labels but those that stand in it."""
    records: dict[str, Records] = {}
    for name, path in config.sets(data).items():
        records[name] = FileRecords(config.field_of(name), _found(data, path), columns, data)
    for each in records.values():
        next(each.rows(), None)  # what is wrong with its name or header is said at the start
    return records, {}


def _found(data: config.Data, name: str) -> Path:
    """The path of a file: in config.data.data_dir or its subfolder config.data.name, or its .gz."""
    path, folder = Path(name).expanduser(), Path(data.data_dir).expanduser()
    parts = Path(data.name).parts
    places = [folder, *(folder.joinpath(*parts[i:]) for i in range(len(parts)))]
    if not data.data_dir or path.is_absolute():
        places = [folder]
    for place in places:
        for each in (place / path, place / f"{path}.gz"):
            if os.path.lexists(each):
                return each
    return folder / path
