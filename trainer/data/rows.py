"""Rows of CSV, TSV and JSONL, read one by one as UTF-8, with where a mistake stands."""

import contextlib
import csv
import gzip
import hashlib
import itertools
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import BinaryIO, NamedTuple, cast

from trainer.errors import NoColumn, UserError, shown
from trainer.storage import strict_json

DELIMITERS = {"csv": ",", "tsv": "\t"}
KINDS = (*DELIMITERS, "jsonl", "text", "columns", "parquet")
E2E = "e2e_aligned.tar.gz"  # an archive that is known by its name: see `trainer.data.e2e`
ENDINGS = {"txt": "text", "conll": "columns", "iob": "columns", "bio": "columns"}
MAX_LINE = 2**26  # bytes: what has no end so far is no text
MAX_CHARACTERS = 2**22  # of a text that is cut into tokens whole, at some 100 B each
MAX_CELL = 2**24  # characters, of 4 bytes each while it is read: a quote was left open
NAMES_SHOWN = 8  # columns, in a message
_LONG = "is it text? If so, break the line"
_LONE = "a carriage return inside the line: end lines with \\n or \\r\\n"


class Format(NamedTuple):
    """The way a file is written.

    Attributes:
      kind: one of KINDS, or "e2e".
      quoted: a cell of CSV or TSV may stand in quotes, and then hold delimiters and line ends.
      packed: by gzip.
    """

    kind: str
    quoted: bool = False
    packed: bool = False


class Remarks:
    """Counts what is read as it stands, and may be meant otherwise."""

    def __init__(self) -> None:
        self._spanning = 0  # cells with line ends in them
        self._longest = (0, 0)  # the first and last line of the row that spans most
        self._quoted = 0  # cells in quotes, where quotes are text
        self._cuts = 0  # in documents

    def span(self, cells: Sequence[str], first: int, last: int) -> None:
        """Counts the cells of a row that spans these lines."""
        self._spanning += sum("\n" in cell for cell in cells)
        self._longest = max(self._longest, (first, last), key=lambda lines: lines[1] - lines[0])

    def plain(self, cells: Sequence[str]) -> None:
        """Counts the cells of a row that look quoted."""
        self._quoted += sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)

    def cut(self) -> None:
        """Counts a cut in a document that is read in parts."""
        self._cuts += 1

    def __str__(self) -> str:
        """One line; empty if there is nothing to say."""
        found = []
        if self._spanning:
            first, last = self._longest
            found.append(
                f"cells that span lines: {self._spanning:,}, the longest from line {first:,} to"
                f" {last:,}: if rows are merged there, a quote is part of a text: double it, or"
                " read the file with quoting=none"
            )
        if self._quoted:
            found.append(
                f"cells that begin and end with a quote, which is read as part of them:"
                f" {self._quoted:,}: if it is not, read the file with quoting=minimal"
            )
        if self._cuts:
            found.append(
                f"documents of over {MAX_CHARACTERS:,} characters are read in parts: {self._cuts:,}"
                " cuts, at line ends or blanks"
            )
        return "; ".join(found)


def format_of(name: str, quoting: str, kind: str = "") -> Format | None:
    """The format of a file by its ending, in capitals or not, and packed if ".gz" comes after it.

    Args:
      name: of the file, or its path.
      quoting: "minimal" or "none" for CSV and TSV, or "suffix": only CSV is quoted.
      kind: one of KINDS, where it is known without the name.

    Returns:
      The format; None: the ending says none.
    """
    if not kind and PurePath(name).name == E2E:
        return Format("e2e", packed=True)
    name = name.lower()
    packed = name.endswith(".gz")
    _, dot, ending = name.removesuffix(".gz").rpartition(".")
    kind = kind or ENDINGS.get(ending, ending if dot else "")
    if kind not in KINDS:
        return None
    quoted = kind in DELIMITERS and (kind == "csv" if quoting == "suffix" else quoting != "none")
    return Format(kind, quoted, packed)


def unpacked(file: BinaryIO, format_: Format) -> BinaryIO:
    """The file's content, of which no more is unpacked than is read."""
    return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb")) if format_.packed else file


@contextlib.contextmanager
def damage(title: str) -> Iterator[None]:
    """Turns what gzip raises into a UserError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{title} is no whole gzip file ({shown(str(error))}): fetch or pack it again"
        ) from error


def sha256(file: BinaryIO, title: str) -> str:
    """The digest of the file's bytes, in hex; one that never ends a line is refused."""
    digest, open_ = hashlib.sha256(), 0  # bytes since the last line end
    with damage(title):
        while chunk := file.read(2**20):
            digest.update(chunk)
            line_end = chunk.rfind(b"\n")
            open_ = len(chunk) - line_end - 1 + (open_ if line_end < 0 else 0)
            if open_ > MAX_LINE:
                raise UserError(f"{title}: a line of over {MAX_LINE:,} bytes: {_LONG}")
    return digest.hexdigest()


def read(
    file: BinaryIO,
    format_: Format,
    columns: list[str],
    title: str,
    *,
    remarks: Remarks | None = None,
    header: bool = True,
) -> Iterator[tuple[int, list[object]]]:
    """The cells of `columns` in every row; empty lines are no rows.

    Args:
      file: where to read from, unpacked; it need not be seekable.
      format_: a header and rows (csv, tsv), one JSON object a line (jsonl), or parquet, whose file
        must be seekable.
      title: what to call it in a message.
      remarks: told of all that is read.
      header: whether the first row of CSV or TSV names the columns; else their names are their
        numbers, from 0.

    Yields:
      The number of a row, from 1, and its cells: text, or in JSON any value.

    Raises:
      UserError: what cannot be read, with row and line.
    """
    if format_.kind == "parquet":
        from trainer.data import parquet  # which needs this module

        return parquet.read(file, columns, title)
    if format_.kind == "e2e":
        from trainer.data import e2e

        return e2e.read(file, columns, title)
    if format_.kind == "jsonl":
        return _jsonl(file, columns, title)
    remarks = remarks or Remarks()
    quoted, delimiter = format_.quoted, DELIMITERS[format_.kind]
    cut = _quoted(file, delimiter, title, remarks) if quoted else _plain(file, delimiter, title)
    records = ((line, cells) for line, cells in cut if cells)
    names = next(records, (0, []))[1] if header else None
    return _table(records, columns, names, title, None if quoted else remarks)


def header_of(file: BinaryIO, format_: Format, title: str, header: bool = True) -> list[str]:
    """The names of the columns of a file: its first row, or the keys of its first object.

    Args: see `read`. Raises UserError: what cannot be read, or a file without a row.
    """
    if format_.kind == "parquet":
        from trainer.data import parquet

        return parquet.names(file, title)
    if format_.kind == "e2e":
        from trainer.data import e2e

        return e2e.COLUMNS
    if format_.kind == "jsonl":
        for line in lines(file, title):
            if line.strip():
                try:
                    values = strict_json.loads(line)
                except strict_json.InvalidJson as error:
                    raise UserError(f"{title}, row 1: not JSON: {error}") from error
                return list(values) if isinstance(values, dict) else []
        raise UserError(f"{title} is empty")
    delimiter = DELIMITERS[format_.kind]
    cut = _plain(file, delimiter, title)
    if format_.quoted:
        cut = _quoted(file, delimiter, title, Remarks())
    first = next((cells for _, cells in cut if cells), None)
    if first is None:
        raise UserError(f"{title} is empty")
    return first if header else [str(i) for i in range(len(first))]


def sample(
    file: BinaryIO,
    format_: Format,
    columns: list[str],
    title: str,
    *,
    header: bool,
    most: int,
) -> list[list[object]]:
    """The cells of `columns` in the first rows, at most so many; None for a key that JSONL lacks.

    Args: see `read`. Raises UserError: see there.
    """
    if format_.kind != "jsonl":
        found = read(file, format_, columns, title, header=header)
        return [cells for _, cells in itertools.islice(found, most)]
    held = itertools.islice((line for line in lines(file, title) if line.strip()), most)
    rows = []
    for number, line in enumerate(held, start=1):
        try:
            values = strict_json.loads(line)
        except strict_json.InvalidJson as error:
            raise UserError(f"{title}, row {number}: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise UserError(f"{title}, row {number}: not a JSON object: {shown(line)}")
        rows.append([values.get(name) for name in columns])
    return rows


def lines(file: BinaryIO, title: str) -> Iterator[str]:
    """Lines, each with its end, which is "\\n" only: other line separators are part of a text.

    Raises:
      UserError: a line that is not UTF-8, holds a NUL byte, or is longer than MAX_LINE.
    """
    with damage(title):
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
            where = f"{title}, line {number}"
            if len(line) == MAX_LINE:
                raise UserError(f"{where}: over {MAX_LINE:,} bytes: {_LONG}")
            if b"\0" in line:
                raise UserError(f"{where}: a NUL byte: is it text? Save the file as UTF-8")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{where}: not UTF-8 (byte {line[error.start]:#04x} at"
                    f" position {error.start}): save the file as UTF-8"
                ) from error


def unix_lines(file: BinaryIO, title: str) -> Iterator[str]:
    """Lines, each with its end, which is "\\n" for "\\r\\n" too.

    Raises:
      UserError: see `lines`; or a line with a carriage return inside.
    """
    for number, line in enumerate(lines(file, title), start=1):
        if "\r" not in line:
            yield line
            continue
        bare = line.removesuffix("\n").removesuffix("\r")
        if "\r" in bare:
            raise UserError(f"{title}, line {number}: {_LONE}, and take it out of the text")
        yield f"{bare}\n" if line.endswith("\n") else bare


def bare_lines(file: BinaryIO, title: str) -> Iterator[str]:
    """Lines without their ends. Raises UserError: see `unix_lines`."""
    return (line.removesuffix("\n") for line in unix_lines(file, title))


def listed(names: Sequence[str], most: int = NAMES_SHOWN) -> str:
    """Names as a message lists them, cut if there are many or long ones."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(shown(name, 40) for name in names[:most]) or "none") + more


def _table(
    records: Iterator[tuple[int, list[str]]],
    columns: list[str],
    header: list[str] | None,
    title: str,
    plain: Remarks | None,
) -> Iterator[tuple[int, list[object]]]:
    """The cells of `columns` in records that are not empty.

    Args:
      records: the line where each ends, and its cells.
      columns: their names.
      header: the names of all columns; None: they are the numbers.
      title: for messages.
      plain: told of the cells where quotes are text; None where they are not.
    """
    if header is None:
        first = next(records, (0, []))
        header = [str(i) for i in range(len(first[1]))]
        records = itertools.chain([first], records) if first[1] else records
    if len(header) == 1 and header[0].count(";"):
        raise UserError(
            f"{title}: its header is one column, {shown(header[0])}: if ; stands between cells,"
            " save the file with commas, or as .tsv with tabs"
        )
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:  # unnamed columns are what spreadsheets leave at the end
        raise UserError(f"{title} has more than one column {shown(twice[0])}: rename or remove one")
    in_quotes = plain and any(f'"{name}"' in header for name in columns)
    where = f"{title}, its quotes read as text (quoting=minimal)," if in_quotes else title
    at = [column_of(header, name, where) for name in columns]
    hint = "quote the cells that hold a delimiter"
    if plain:
        hint = "if cells stand in quotes, read it with quoting=minimal; else mend the row"
    for number, (line, cells) in enumerate(records, start=1):
        if len(cells) != len(header):
            raise UserError(
                f"{title}, row {number} (line {line}): {len(cells)} cells"
                f" under {len(header)} columns: {hint}"
            )
        if plain:
            plain.plain(cells)
        yield number, [cells[i] for i in at]


def _quoted(
    file: BinaryIO, delimiter: str, title: str, remarks: Remarks
) -> Iterator[tuple[int, list[str]]]:
    """The line where a row ends, and its cells, which may stand in quotes (RFC 4180)."""
    csv.field_size_limit(MAX_CELL)
    whole = size = 0  # the line where the last row ended, and the bytes since

    def counted() -> Iterator[str]:
        nonlocal size
        for number, line in enumerate(lines(file, title), start=1):
            size += len(line)
            if size > MAX_LINE:
                raise UserError(
                    f"{title}, lines {whole + 1} to {number}: over {MAX_LINE:,} characters in a"
                    f" row: mend the quotes after line {whole}"
                )
            yield line

    reader = csv.reader(counted(), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if reader.line_num > whole + 1:
                remarks.span(cells, whole + 1, reader.line_num)
            whole, size = reader.line_num, 0
            yield whole, cells
    except csv.Error as error:
        where = f"{title}, line {reader.line_num}"
        if "new-line character" in str(error):
            raise UserError(f"{where}: {_LONE}, or quote the cell") from error
        raise UserError(f"{where}: {error}: mend the quotes after line {whole}") from error


def _plain(file: BinaryIO, delimiter: str, title: str) -> Iterator[tuple[int, list[str]]]:
    """The line of a row, and its cells, in which a quote is a character like any other."""
    for number, line in enumerate(bare_lines(file, title), start=1):
        yield number, line.split(delimiter) if line else []


def _jsonl(file: BinaryIO, columns: list[str], title: str) -> Iterator[tuple[int, list[object]]]:
    held = (line for line in lines(file, title) if line.strip())
    for number, line in enumerate(held, start=1):
        try:
            values = strict_json.loads(line)
        except strict_json.InvalidJson as error:
            raise UserError(f"{title}, row {number}: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise UserError(f"{title}, row {number}: not a JSON object: {shown(line)}")
        for name in columns:
            column_of(list(values), name, f"{title}, row {number}")
        yield number, [values[name] for name in columns]


def column_of(names: list[str], name: str, where: str) -> int:
    """The place of a column among names. Raises UserError: there is none of that name."""
    if name not in names:
        raise NoColumn(where, name, listed(names))
    return names.index(name)
