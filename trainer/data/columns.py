"""Cells of rows: the kinds of columns that tasks have, and values of each kind."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from trainer.errors import UserError, shown

TEXT, LABEL, NUMBER = "text", "label", "number"
LABELS, WORDS, TAGS = "labels", "words", "tags"
KINDS = {
    TEXT: "text",
    LABEL: "a label: text or a whole number",
    NUMBER: "a number",
    LABELS: "a list of labels",
    WORDS: "a list of words",
    TAGS: "a list of tags, one a word",
}
LISTS = (LABELS, WORDS, TAGS)
MAX_LABEL = 1_000  # characters of a label: a longer one is a text
_LARGEST = 1e18  # a number, whose square float32 still holds
MAX_ITEMS = 100_000  # of a list in one cell


class Column(NamedTuple):
    """A column of the data that a task reads.

    Attributes:
      key: the task's field that names it, and its key in a Row.
      name: what the file or dataset calls it.
      kind: one of KINDS.
      setting: the field that names it; empty: the task's.
    """

    key: str
    name: str
    kind: str
    setting: str = ""

    @property
    def field(self) -> str:
        """The setting that names it, for a message."""
        return self.setting or f"config.task.{self.key}"


class Row(dict[str, Any]):
    """The cells of a row by the keys of their columns.

    A TEXT or LABEL is a str, a NUMBER a float, the others are lists of str.

    Attributes:
      id: its number in the set that it was read from, from 0; parts of a long document have one.
      title: of the split or file that it stands in, for a message.
      number: of the row there, from 0; None: its id.
    """

    def __init__(self, cells: Mapping[str, Any], id_: int, title: str, number: int | None = None):
        super().__init__(cells)
        self.id, self.title = id_, title
        self.number = id_ if number is None else number

    @property
    def where(self) -> str:
        """Its place, for a message: "file train.csv, row 7"."""
        return f"{self.title}, row {self.number + 1}"


def value_of(column: Column, cell: object, where: str, typed: bool) -> Any:
    """A cell of a file as a value of its column's kind.

    Args:
      column: where it stands.
      cell: what was read.
      where: the row, for a message.
      typed: whether the file has types of its own (JSON), so that a number is no text.

    Raises:
      UserError: it is none of its kind.
    """
    name, kind = column.name, column.kind
    if kind == TEXT:
        return check_text(cell, f"{where}: {name!r}")
    if kind == LABEL:
        return _label(cell, column, where)
    if kind == NUMBER:
        return _number(cell, f"{where}: {name!r}", typed)
    if not isinstance(cell, list):
        hint = "" if typed else ": in CSV and TSV a cell is text, so write the rows as JSONL"
        raise UserError(f"{where}: {name!r} must be {KINDS[kind]}, is {shown(cell)}{hint}")
    if len(cell) > MAX_ITEMS:
        raise UserError(f"{where}: {name!r} has {len(cell):,} items: at most {MAX_ITEMS:,}")
    if kind == WORDS:
        return [_word(each, f"{where}: {name!r}") for each in cell]
    return [_label(each, column, where) for each in cell]


class LabelTypes:
    """Sees that files have either texts or numbers as labels: 1 and "1" would be one class."""

    def __init__(self) -> None:
        # By column: a type, and the row and the file that it is of.
        self._first: dict[str, tuple[type, int, str]] = {}

    def check(self, column: Column, cell: object, number: int, title: str) -> None:
        """Takes the cell of the next row.

        Raises:
          UserError: it is of another type than a cell before it.
        """
        if column.kind not in (LABEL, LABELS, TAGS):
            return
        for label in cell if isinstance(cell, list) else [cell]:
            found = (type(label), number, title)
            first, row, other = self._first.setdefault(column.key, found)
            if type(label) is not first:
                words = {str: "a text", int: "a number"}
                there = f"row {row}" + (f" of {other}" if other != title else "")
                raise UserError(
                    f"{title}, row {number}: {column.name!r} is {words[type(label)]},"
                    f" {shown(label)}, and in {there} {words[first]}: write all as texts, or all"
                    " as numbers"
                )


def check_text(cell: object, what: str) -> str:
    """The cell, which must be text and valid Unicode; `what` it is, for a message."""
    if not isinstance(cell, str):
        raise UserError(f"{what} must be text, is {shown(cell)}")
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        half = ascii(cell[error.start])
        raise UserError(
            f"{what} holds {half}, half of a surrogate pair"
            " and no character: remove it, or write the whole pair"
        ) from error
    return cell


def _word(cell: object, what: str) -> str:
    word = check_text(cell, what)
    if not word.strip():
        raise UserError(f"{what} holds an empty word: leave it out, with its tag")
    return word


def _label(cell: object, column: Column, where: str) -> str:
    name, what = column.name, "label" if column.kind != TAGS else "tag"
    if not isinstance(cell, str) and type(cell) is not int:
        hint = ": a regression, as in configs/files.py:regression, learns such numbers"
        raise UserError(
            f"{where}: {what} {name!r} must be text or a whole number, is {shown(cell)}"
            f"{hint if isinstance(cell, float) and column.kind == LABEL else ''}"
        )
    label = check_text(str(cell), f"{where}: {name!r}")
    if not label.strip():
        raise UserError(f"{where}: the {what} is empty")
    if len(label) > MAX_LABEL:
        raise UserError(
            f"{where}: a {what} of {len(label):,} characters, {shown(label)}: is {name!r} the"
            f" column of {what}s? ({column.field})"
        )
    return label


def _number(cell: object, what: str, typed: bool) -> float:
    text = cell if isinstance(cell, str) and not typed and "_" not in cell else ""
    number = cell if isinstance(cell, (int, float)) and not isinstance(cell, bool) else text
    try:
        value = float(number)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{what} must be a finite number, is {shown(cell)}")
    if abs(value) > _LARGEST:
        raise UserError(f"{what} must be from -{_LARGEST:g} to {_LARGEST:g}, is {shown(cell)}")
    return value
