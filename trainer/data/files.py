"""A user's own CSV, TSV and JSONL files, read row by row as UTF-8."""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from trainer import config
from trainer.data.rows import SUFFIXES, check_text, read
from trainer.data.sources import Records, Row
from trainer.errors import UserError


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
                for number, cells in read(file, self._path.suffix, self._columns, self.title):
                    yield self._row(cells, number)
        except OSError as error:
            raise UserError(f"cannot read {self.title}: {error.strerror}") from error

    def _row(self, cells: list[object], number: int) -> Row:
        """Checks the cells of the columns text, label and, where there is one, the second text."""
        text, label, *pair = cells
        names = self._columns
        if not isinstance(label, str) and type(label) is not int:
            raise UserError(
                f"{self.title}, row {number}: label {names[1]!r} must be text or a whole number,"
                f" is {label!r}"
            )
        if label == "":
            raise UserError(f"{self.title}, row {number}: the label is empty")
        texts = [
            check_text(cell, name, number, self.title)
            for name, cell in zip(names, (text, str(label), *pair), strict=True)
        ]
        return Row(texts[0], texts[2] if pair else None, texts[1])


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
