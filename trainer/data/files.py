"""A user's own CSV, TSV and JSONL files, read row by row as UTF-8."""

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trainer import config
from trainer.data.labels import MAX_LENGTH
from trainer.data.rows import (
    DELIMITERS,
    Remarks,
    check_text,
    format_of,
    read,
    sha256,
    unpacked,
)
from trainer.data.sources import Records, Row
from trainer.errors import UserError, shown

ENDINGS = (".csv", ".tsv", ".jsonl")


class FileRecords:
    """One file: a header and rows (.csv, .tsv), or one JSON object a line (.jsonl); or its .gz."""

    def __init__(self, field: str, path: Path, columns: list[str], quoting: str):
        self._path, self._columns = path, columns
        self.title = f"file {path}"
        self._remarks = Remarks()
        format_ = format_of(path.name, quoting)
        if not format_ or format_.kind == "text":
            raise UserError(
                f"config.data.{field}={str(path)!r} must end in {', '.join(ENDINGS)}, or in one of"
                " them and .gz: the ending says how to read it"
            )
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{self.title} is no regular file: it must be read more than once")
        self._format = format_

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of the unpacked bytes and of how they are read; the name does not count."""
        kind, quoted, _ = self._format
        plain = " unquoted" if kind in DELIMITERS and not quoted else ""
        return hashlib.sha256(f".{kind}{plain} {self.content}".encode()).hexdigest()

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
        with self._open() as file:
            rows = read(file, self._format, self._columns, self.title, self._remarks)
            for number, cells in rows:
                yield self._row(cells, number)

    @contextlib.contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with self._path.open("rb") as file:
                yield unpacked(file, self._format)
        except OSError as error:
            raise UserError(f"cannot read {self.title}: {error.strerror}") from error

    def _row(self, cells: list[object], number: int) -> Row:
        """Checks the cells of the columns text, label and, where there is one, the second text."""
        text, label, *pair = cells
        names = self._columns
        where = f"{self.title}, row {number}"
        if not isinstance(label, str) and type(label) is not int:
            raise UserError(
                f"{where}: label {names[1]!r} must be text or a whole number, is {shown(label)}"
            )
        name = str(label)
        if not name.strip():
            raise UserError(f"{where}: the label is empty")
        if len(name) > MAX_LENGTH:
            raise UserError(
                f"{where}: a label of {len(name):,} characters, {shown(name)}: is {names[1]!r} the"
                " column of labels? (config.data.label)"
            )
        texts = [
            check_text(cell, column, number, self.title)
            for column, cell in zip(names, (text, name, *pair), strict=True)
        ]
        return Row(texts[0], texts[2] if pair else None, texts[1])


def open_records(data: config.Data) -> tuple[dict[str, Records], None]:
    """The files of each split; their labels are what stands in train."""
    columns = [data.text, data.label] + ([data.text_pair] if data.text_pair else [])
    records: dict[str, Records] = {}
    for split in ("train", "validation", "test"):
        if path := getattr(data, split):
            records[split] = FileRecords(split, Path(path).expanduser(), columns, data.quoting)
    for each in records.values():
        next(each.rows(), None)  # what is wrong with its name or header is said at the start
    return records, None
