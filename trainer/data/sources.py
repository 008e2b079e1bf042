"""Rows from TFDS or from files, split into train, validation and test.

A source reads the same rows in the same order every time, so that one is known by its number, and
knows a fingerprint of what it read, so that everything made from it can be cached.
"""

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from trainer import config
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.imports import blamed_on
from trainer.tasks.task import Task, class_path

_LEARNED = ("train", "validation")  # from them a run learns, or chooses


class Records(Protocol):
    """One split or file as it lies on disk."""

    @property
    def title(self) -> str:
        """Its name in a message, such as "split 'test'"."""

    @property
    def fingerprint(self) -> str:
        """sha256 in hex of the bytes that it is read from, and of which of them are read."""

    def overlaps(self, other: "Records") -> bool:
        """True if some row may stand in both."""

    def rows(self) -> Iterator[Row]:
        """The rows, always in the same order."""

    @property
    def remarks(self) -> str:
        """Oddities found by the last reading of all rows, in one line; empty if none."""


class Source:
    """Sets of rows: train, validation, and those to report on.

    Attributes:
      facts: what the task learned from the rows of train.
      cut: True if validation is a part of train.
      names: of all sets.
    """

    def __init__(
        self,
        data: config.Data,
        task: Task,
        records: Mapping[str, Records],
        facts: Mapping[str, Any],
    ):
        self.facts = facts
        self._data, self._task, self._records = data, task, records
        self.cut = "validation" not in records
        self.names = ["train", "validation", *(n for n in records if n not in _LEARNED)]

    def fingerprint(self, split: str) -> str:
        """sha256 in hex of everything that determines the rows of `split`."""
        columns = [[column.key, column.name] for column in self._task.columns()]
        what: list[object] = [self._records_of(split).fingerprint, columns, self.facts]
        if self._is_cut(split):
            what.append([split, self._data.validation_share])
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def rows(self, split: str) -> Iterator[Row]:
        """Reads the rows of a set, always in the same order.

        Raises:
          UserError: a row cannot be read, or there is none.
        """
        records = self._records_of(split)
        cut, count = self._is_cut(split), 0
        for row in records.rows():
            if cut and self._in_validation(row) != (split == "validation"):
                continue
            count += 1
            yield row
        if not count:
            raise UserError(self._why_empty(split, records))

    def remarks(self, split: str) -> str:
        """Oddities found by the last reading of the whole split, in one line; empty if none."""
        return self._records_of(split).remarks

    def _records_of(self, split: str) -> Records:
        if split not in self.names:
            raise ValueError(f"no split {split!r}: one of {self.names}")
        return self._records["train" if self._is_cut(split) else split]

    def _is_cut(self, split: str) -> bool:
        return self.cut and split in _LEARNED

    def _in_validation(self, row: Row) -> bool:
        """By a hash of the texts: a duplicate never stands on both sides."""
        return text_share(*self._task.texts(row)) < self._data.validation_share

    def _why_empty(self, split: str, records: Records) -> str:
        if self._is_cut(split):
            return (
                f"config.data.validation_share={self._data.validation_share} of {records.title}"
                f" leaves no example for {split}: change the share or give more data"
            )
        return f"{records.title} is empty: it has no example for {split}"


def text_share(*texts: str) -> float:
    """Where in [0, 1) a hash puts these texts: the same ones always at the same place."""
    digest = hashlib.sha256(("validation\0" + "\0".join(texts)).encode()).hexdigest()
    return int(digest[:16], 16) / 2**64


def open_source(data: config.Data, task: Task, facts: Mapping[str, Any] | None = None) -> Source:
    """Opens the dataset or the files that the settings name; reads the rows of train if it must.

    Args:
      data: the settings.
      task: says which columns are read, and what is learned of them.
      facts: what the task learned when the run began: with the same fingerprint it would now.

    Raises:
      UserError: data that is missing, cannot be read, has not the features or columns named, or
        whose validation split is the one that is reported.
    """
    # Imported here: both need this module, and TFDS takes seconds that files need not wait for.
    kind = importlib.import_module(
        "trainer.data.files" if data.source == "files" else "trainer.data.tfds_records"
    )
    records: dict[str, Records]
    known: dict[str, Sequence[str]]
    records, known = kind.open_records(data, task.columns())
    _check_apart(data, records)
    if facts is None:
        with blamed_on(class_path(task), "config.task"):
            facts = task.learn(records["train"].rows(), records["train"].title, known)
    return Source(data, task, records, facts)


def _check_apart(data: config.Data, records: dict[str, Records]) -> None:
    """No row may be learned from, or chosen by, and reported on as well."""
    reasons = {
        "validation": "this would be selecting on the split that is reported; name"
        " another, or leave config.data.validation empty to cut one from train",
        "train": "this would report on examples that were trained on; name another",
    }
    pairs = [(one, other, reasons[one]) for one in reasons for other in records]
    chosen = (
        "this would select on examples that were trained on; leave config.data.validation empty to"
        " cut it from train"
    )
    pairs = [*(pair for pair in pairs if pair[1] not in _LEARNED), ("train", "validation", chosen)]
    named = config.sets(data)
    for one, other, reason in pairs:
        if one in records and other in records and records[one].overlaps(records[other]):
            raise UserError(
                f"config.data.{one}={named[one]!r} overlaps"
                f" config.data.{config.field_of(other)}={named[other]!r}: {reason}"
            )
