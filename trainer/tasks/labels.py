"""The classes: in which order, with how many rows, and what of them looks like a mistake."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

import numpy as np

from trainer.data.columns import Row
from trainer.data.rows import listed
from trainer.errors import UserError, shown

MAX_CLASSES = 5_000  # of data, a run, a report: a confusion matrix has the square of it
_MANY = 5  # classes that are few, whatever the rows
_RATINGS = 20  # whole numbers that may well be classes
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?\b|\d\d?[./]\d\d?[./]\d{2,4}\b", re.ASCII)
FEW = 3  # rows of train below which a class is named
_SHARED = 50  # classes from which on most must have more than one row
_MOST, _LAST = 20, 5  # classes that the table shows, and how many of them are the rarest
_NUMBERS = (
    "to learn how large numbers are, take a regression, --config=configs/files.py:regression"
    " --config.task.score"
)
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})(e[+-]?[0-9]{1,3})?", re.I)


class Distinct:
    """The labels of a column, collected row by row.

    Args:
      title: what is read.
      column: what the labels' column is called.
      asked: config.task.labels; empty: whatever is there.
    """

    def __init__(self, title: str, column: str, asked: Sequence[str]):
        self._title, self._column, self._asked = title, column, asked
        self._found: set[str] = set()
        self._rows = 0

    def add(self, labels: Sequence[str], row: Row) -> None:
        """Takes the labels of the next row.

        Raises:
          UserError: one is not asked for, or there are too many.
        """
        self._rows += 1
        for label in labels:
            if label not in self._found and self._asked and label not in self._asked:
                raise UserError(
                    f"{row.where}: label {shown(label)} is not in config.task.labels:"
                    f" {listed(self._asked)}"
                )
        self._found.update(labels)
        if len(self._found) > MAX_CLASSES:
            raise self._too_many(f"at most {MAX_CLASSES:,} classes")

    def names(self) -> list[str]:
        """The classes in the order of their ids, when all rows were added.

        Raises:
          UserError: one that is asked for is missing, there is one only, or almost one a row.
        """
        count = len(self._found)
        if missing := [name for name in self._asked if name not in self._found]:
            raise UserError(
                f"{self._title} has no row of label {shown(missing[0])}, which config.task.labels"
                " lists: take it out, or give examples of it"
            )
        if count < 2:
            raise UserError(f"{self._title} has {count} distinct labels: at least 2 are needed")
        if not self._asked and count > max(_SHARED, self._rows / 2):
            raise self._too_many("most have one row only; config.task.labels may list them all")
        return list(self._asked) or in_order(self._found)

    def _too_many(self, limit: str) -> UserError:
        column = shown(self._column)
        numbers = f": {_NUMBERS}={column}" if all(map(_NUMBER.fullmatch, self._found)) else ""
        return UserError(
            f"{self._title} has {len(self._found):,} distinct labels in {self._rows:,} rows: is"
            f" {column} the column of labels? (config.task.label; {limit}){numbers}"
        )


def in_order(names: Collection[str]) -> list[str]:
    """The names by value if all are numbers, else as text."""
    if all(_NUMBER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (Decimal(name), name))
    return sorted(names)


def reordered(names: Sequence[str], asked: Sequence[str], title: str) -> list[str]:
    """The names that a dataset gives its classes, in the order of config.task.labels.

    Raises:
      UserError: they are not the same names.
    """
    if asked and sorted(asked) != sorted(names):
        different = sorted(set(asked) ^ set(names))
        raise UserError(
            f"config.task.labels must list each class of {title} once, {shown(different[0])} is"
            f" not in both: its classes are {listed(names)}"
        )
    return list(asked or names)


def check_learned(
    names: Sequence[str],
    counts: Mapping[str, np.ndarray],
    cut: Collection[str],
    words: tuple[str, str] = ("label", "rows"),
) -> None:
    """Refuses a class that is scored and never learned.

    Args:
      names: of the C classes.
      counts: how often each class is there, int [C], by split.
      cut: those of the splits that were cut from train.
      words: for a class and for what is counted.

    Raises:
      UserError: the class has rows in another split, and none in train.
    """
    for split in counts.keys() - {"train"}:
        unseen = np.flatnonzero((counts["train"] == 0) & (counts[split] > 0)).tolist()
        if not unseen:
            continue
        label, unit = words
        name, rows = shown(names[unseen[0]]), f"{counts[split][unseen[0]]:,}"
        if split in cut:
            raise UserError(
                f"all {unit} of {label} {name} ({rows}) fell into the {split} part of train:"
                f" give more examples of it, take it out, or name a file or split for {split}"
            )
        raise UserError(
            f"{label} {name} has {rows} {unit} in {split} and none in train: nothing could learn it"
        )


def table(
    names: Sequence[str],
    counts: Mapping[str, np.ndarray],
    words: tuple[str, str] = ("classes", "rows"),
) -> str:
    """Lines with how often each class is in each split; of many classes, the ends.

    Args:
      names: of the C classes.
      counts: how often each class is there, int [C], by split.
      words: for classes and for what is counted.
    """
    order = list(range(len(names)))
    head = f"{len(names):,} {words[0]}, {words[1]} in {', '.join(counts)}:"
    if len(names) == 2 and words[0] == "classes":
        head = f"2 classes (F1, AUC and thresholds are of the second), rows in {', '.join(counts)}:"
    skipped = len(names) - _MOST
    if skipped > 0:
        order.sort(key=lambda i: -counts["train"][i])
        del order[_MOST - _LAST : -_LAST]
    cells = [[f"{i}", shown(names[i], 40), *(f"{c[i]:,}" for c in counts.values())] for i in order]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            ["", cell.rjust(widths[0]), name.ljust(widths[1])]
            + [count.rjust(width) for count, width in zip(rest, widths[2:], strict=True)]
        )
        for cell, name, *rest in cells
    ]
    if skipped > 0:
        head = head.replace(":", ", the most and the least frequent:")
        lines.insert(_MOST - _LAST, f"  … {skipped:,} more")
    return "\n".join([head, *lines])


def notes(
    names: Sequence[str],
    train: np.ndarray,
    column: str,
    words: tuple[str, str] = ("classes", "rows"),
) -> list[str]:
    """Notes on what looks like a mistake, a line each.

    Args:
      names: of the C classes.
      train: how often each class is there, int [C].
      column: what the labels' column is called.
      words: for classes and for what is counted.
    """
    what, unit = words
    found = []
    alike: dict[object, list[str]] = {}
    for name in names:
        alike.setdefault(_meaning(name), []).append(name)
    groups = [
        " and ".join(shown(name, 40) for name in group[:4])
        for group in alike.values()
        if len(group) > 1
    ]
    if groups:
        found.append(
            f"{what} that differ only in case, blanks, Unicode form or the form of a number:"
            f" {_some(groups)}: give them one name if they are one"
        )
    odd = [shown(name, 40) for name in names if name != name.strip() or not name.isprintable()]
    if odd:
        found.append(f"{what} with blanks around them or characters not seen: {_some(odd)}")
    if column in names:
        found.append(
            f"one of the {what} is called {shown(column)}, as its column: does a header stand"
            " among the rows?"
        )
    found += [f"{what} that look like {kind}" for kind in _of_another_kind(names, column)]
    rows = sum(train.tolist())
    if len(names) > max(rows / 10, _MANY):
        found.append(
            f"{what} of few {unit} each, {len(names):,} of {rows:,} in train: is {shown(column)}"
            f" the column of {what}?"
        )
    few = [f"{shown(names[i], 40)} ({train[i]})" for i in np.flatnonzero(train < FEW).tolist()]
    if few:
        found.append(f"{what} of fewer than {FEW} {unit} in train: {_some(few)}")
    return found


def _of_another_kind(names: Sequence[str], column: str) -> list[str]:
    """Names of the kinds that these look like, where they are no labels, with what to do."""
    found, known = [], set(names)
    for mark in "|;,":
        lists = [
            name for name in names if mark in name and {p.strip() for p in name.split(mark)} & known
        ]
        if lists:
            found.append(
                f"lists of others: {_some([shown(name, 40) for name in lists])}: for several"
                " labels a row, write lists in JSONL or Parquet and set"
                " config.task.multi_label=true"
            )
    dates = [name for name in names if _DATE.match(name)]
    if len(dates) > len(names) / 2:
        found.append(f"dates, such as {shown(dates[0], 40)}: is it the column of labels?")
    decimals = [name for name in names if _NUMBER.fullmatch(name)]
    if len(decimals) == len(names) and (
        len(names) > _RATINGS or any(Decimal(name) % 1 for name in names)
    ):
        found.append(f"numbers, such as {shown(names[0], 40)}: {_NUMBERS}={shown(column)}")
    return found


def _meaning(name: str) -> object:
    """A value that two ways to write a label share."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    plain = "".join(c for c in plain if unicodedata.category(c)[0] not in "ZC")
    return Decimal(plain) if _NUMBER.fullmatch(plain) else plain


def _some(texts: Sequence[str], most: int = 5) -> str:
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
