"""Rows of CSV, TSV and JSONL, read one by one as UTF-8, with where a mistake stands."""

import csv
import json
from collections.abc import Iterator
from typing import BinaryIO

from trainer.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".jsonl")
MAX_LINE = 2**26  # bytes: what has no end so far is no text
MAX_CELL = 2**24  # characters, of 4 bytes each while it is read: a quote was left open


def read(
    file: BinaryIO, suffix: str, columns: list[str], title: str
) -> Iterator[tuple[int, list[object]]]:
    """The cells of `columns` in every row.

    Args:
      file: where to read from; it need not be seekable.
      suffix: one of SUFFIXES: a header and rows (.csv, .tsv), or one JSON object a line (.jsonl).
      title: what to call it in a message.

    Yields:
      The number of a row, from 1, and its cells: text, or in JSON any value.

    Raises:
      UserError: what cannot be read, with row and line.
    """
    if suffix == ".jsonl":
        return _jsonl(file, columns, title)
    return _csv(file, DELIMITERS[suffix], columns, title)


def lines(file: BinaryIO, title: str) -> Iterator[str]:
    """Lines, each with its end, which is "\\n" only: other line separators are part of a text.

    Raises:
      UserError: a line that is not UTF-8, or longer than MAX_LINE.
    """
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
        if len(line) == MAX_LINE:
            raise UserError(f"{title}, line {number}: over {MAX_LINE:,} bytes: is it text?")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{title}, line {number}: not UTF-8 (byte {line[error.start]:#04x} at"
                f" position {error.start}): save the file as UTF-8"
            ) from error


def check_text(cell: object, name: str, number: int, title: str) -> str:
    """The cell, which must be text and valid Unicode."""
    if not isinstance(cell, str):
        raise UserError(f"{title}, row {number}: {name!r} must be text, is {cell!r}")
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        half = ascii(cell[error.start])
        raise UserError(
            f"{title}, row {number}: {name!r} holds {half}, half of a surrogate pair"
            " and no character: remove it, or write the whole pair"
        ) from error
    return cell


def _csv(
    file: BinaryIO, delimiter: str, columns: list[str], title: str
) -> Iterator[tuple[int, list[object]]]:
    csv.field_size_limit(MAX_CELL)
    whole = 0  # the line where the last row ended
    reader = csv.reader(lines(file, title), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        whole = reader.line_num
        at = [_column(header, name, title) for name in columns]
        for number, cells in enumerate((row for row in reader if row), start=1):
            if len(cells) != len(header):
                raise UserError(
                    f"{title}, row {number} (line {reader.line_num}): {len(cells)} cells"
                    f" under {len(header)} columns: quote the cells that hold a delimiter"
                )
            whole = reader.line_num
            yield number, [cells[i] for i in at]
    except csv.Error as error:
        raise UserError(
            f"{title}, line {reader.line_num}: {error}: mend the quotes after line {whole}"
        ) from error


def _jsonl(file: BinaryIO, columns: list[str], title: str) -> Iterator[tuple[int, list[object]]]:
    held = (line for line in lines(file, title) if line.strip())
    for number, line in enumerate(held, start=1):
        try:
            values = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{title}, row {number}: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise UserError(f"{title}, row {number}: not a JSON object: {line[:40]!r}")
        for name in columns:
            _column(list(values), name, f"{title}, row {number}")
        yield number, [values[name] for name in columns]


def _column(names: list[str], name: str, where: str) -> int:
    if name not in names:
        listed = ", ".join(map(repr, names)) or "none"
        raise UserError(f"{where} has no column {name!r}; its columns: {listed}")
    return names.index(name)
