"""A user's own CSV, TSV and JSONL files, read row by row as UTF-8."""

import csv
import functools
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from trainer import config
from trainer.data.sources import Records, Row
from trainer.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl")


class FileRecords:
    """One file: a header and rows (.csv, .tsv), or one JSON object a line (.jsonl)."""

    def __init__(self, field: str, path: Path, columns: list[str]):
        self._path, self._columns = path, columns
        self.title = f"file {path}"
        if path.suffix not in SUFFIXES:
            raise UserError(
                f"config.data.{field}={str(path)!r} must end in {', '.join(SUFFIXES)}:"
                " the ending says how to read it"
            )

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of the file's bytes and its format; its name does not matter."""
        return hashlib.sha256(f"{self._path.suffix} {self.content}".encode()).hexdigest()

    @functools.cached_property
    def content(self) -> str:
        """sha256 in hex of the file's bytes."""
        try:
            with self._path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {self.title}: {error.strerror}") from error

    def overlaps(self, other: Records) -> bool:
        """Whether the other is the same file, or a copy of it."""
        assert isinstance(other, FileRecords)
        return self.content == other.content

    def rows(self) -> Iterator[Row]:
        """Raises UserError, with file and row, for what cannot be read."""
        try:
            with self._path.open("rb") as file:
                yield from self._jsonl(file) if self._path.suffix == ".jsonl" else self._csv(file)
        except OSError as error:
            raise UserError(f"cannot read {self.title}: {error.strerror}") from error

    def _lines(self, file: BinaryIO) -> Iterator[str]:
        """Lines end at "\\n" only: other line separators are part of a text."""
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{self.title}, line {number}: not UTF-8 (byte {line[error.start]:#04x} at"
                    f" position {error.start}): save the file as UTF-8"
                ) from error

    def _csv(self, file: BinaryIO) -> Iterator[Row]:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        reader = csv.reader(self._lines(file), delimiter=DELIMITERS[self._path.suffix], strict=True)
        try:
            header = next(reader, [])
            at = [self._column(header, name) for name in self._columns]
            for number, cells in enumerate((row for row in reader if row), start=1):
                if len(cells) != len(header):
                    raise UserError(
                        f"{self.title}, row {number} (line {reader.line_num}): {len(cells)} cells"
                        f" under {len(header)} columns: quote the cells that hold a delimiter"
                    )
                yield self._row([cells[i] for i in at], number)
        except csv.Error as error:
            raise UserError(f"{self.title}, line {reader.line_num}: {error}") from error

    def _jsonl(self, file: BinaryIO) -> Iterator[Row]:
        lines = (line for line in self._lines(file) if line.strip())
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{self.title}, row {number}: not JSON: {error}") from error
            if not isinstance(values, dict):
                raise UserError(f"{self.title}, row {number}: not a JSON object: {line[:40]!r}")
            for name in self._columns:
                self._column(list(values), name, f", row {number}")
            yield self._row([values[name] for name in self._columns], number)

    def _column(self, names: list[str], name: str, where: str = "") -> int:
        if name not in names:
            listed = ", ".join(map(repr, names)) or "none"
            raise UserError(f"{self.title}{where} has no column {name!r}; its columns: {listed}")
        return names.index(name)

    def _row(self, cells: list[object], number: int) -> Row:
        """Checks the cells of the columns text, label and, where there is one, the second text."""
        text, label, *pair = cells
        for name, cell in zip(self._columns, cells, strict=True):
            if not isinstance(cell, str) and (cell is not label or type(cell) is not int):
                raise UserError(
                    f"{self.title}, row {number}: {name!r} must be text, is {cell!r}"
                    if cell is not label
                    else f"{self.title}, row {number}: label {name!r} must be text or a whole"
                    f" number, is {cell!r}"
                )
            try:
                str(cell).encode()
            except UnicodeEncodeError as error:
                half = ascii(str(cell)[error.start])
                raise UserError(
                    f"{self.title}, row {number}: {name!r} holds {half}, half of a surrogate pair"
                    " and no character: remove it, or write the whole pair"
                ) from error
        if label == "":
            raise UserError(f"{self.title}, row {number}: the label is empty")
        return Row(str(text), str(pair[0]) if pair else None, str(label))


def open_records(data: config.Data) -> tuple[dict[str, Records], None]:
    """The files of each split; their labels are what stands in train."""
    columns = [data.text, data.label] + ([data.text_pair] if data.text_pair else [])
    records: dict[str, Records] = {}
    for split in ("train", "validation", "test"):
        if path := getattr(data, split):
            records[split] = FileRecords(split, Path(path).expanduser(), columns)
    for each in records.values():
        next(each.rows(), None)  # what is wrong with its name or header is said at the start
    return records, None
