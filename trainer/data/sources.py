"""Labelled texts, from TFDS or from files, split into train, validation and test.

A source reads the same examples in the same order every time, so that an example is known by its
row number, and knows a fingerprint of what it read, so that everything made from it can be cached.
"""

import hashlib
import importlib
import json
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from trainer import config
from trainer.data.labels import Distinct
from trainer.data.rows import listed
from trainer.errors import UserError, shown

SPLITS = ("train", "validation", "test")


class Example(NamedTuple):
    """One labelled text, or two."""

    id: int  # its row, from 0, in the split or file that it was read from
    text: str
    pair: str | None
    label: int


class Row(NamedTuple):
    """One row of a file or split; the label by its name."""

    text: str
    pair: str | None
    label: str


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
    """Three splits of labelled texts.

    Attributes:
      id2label: class names, in the order of their ids.
      cut: True if validation is a part of train.
    """

    def __init__(self, data: config.Data, records: dict[str, Records], id2label: list[str]):
        self.id2label = id2label
        self._data = data
        self._records = records
        self._label_ids = {name: i for i, name in enumerate(id2label)}
        self.cut = "validation" not in records

    def fingerprint(self, split: str) -> str:
        """sha256 in hex of everything that determines the examples of `split`."""
        data = self._data
        what: list[object] = [
            self._records_of(split).fingerprint,
            [data.text, data.text_pair, data.label],
            self.id2label,
        ]
        if self._is_cut(split):
            what.append([split, data.validation_share])
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def examples(self, split: str) -> Iterator[Example]:
        """Reads the examples of "train", "validation" or "test", always in the same order.

        Raises:
          UserError: a row cannot be read, has a label that train has not, or there is none.
        """
        records = self._records_of(split)
        cut, count = self._is_cut(split), 0
        for number, row in enumerate(records.rows()):
            if cut and self._in_validation(row) != (split == "validation"):
                continue
            label = self._label_ids.get(row.label)
            if label is None:
                raise UserError(
                    f"{records.title}, row {number + 1}: label {shown(row.label)} is not one of"
                    f" the labels of train: {listed(self.id2label)}"
                )
            count += 1
            yield Example(number, row.text, row.pair, label)
        if not count:
            raise UserError(self._why_empty(split, records))

    def remarks(self, split: str) -> str:
        """Oddities found by the last reading of the whole split, in one line; empty if none."""
        return self._records_of(split).remarks

    def _records_of(self, split: str) -> Records:
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: one of {SPLITS}")
        return self._records["train" if self._is_cut(split) else split]

    def _is_cut(self, split: str) -> bool:
        return self.cut and split in ("train", "validation")

    def _in_validation(self, row: Row) -> bool:
        """By a hash of the text: a duplicate never stands on both sides."""
        return text_share(row.text, row.pair) < self._data.validation_share

    def _why_empty(self, split: str, records: Records) -> str:
        if self._is_cut(split):
            return (
                f"config.data.validation_share={self._data.validation_share} of {records.title}"
                f" leaves no example for {split}: change the share or give more data"
            )
        return f"{records.title} is empty: it has no example for {split}"


def text_share(text: str, pair: str | None = None) -> float:
    """Where in [0, 1) a hash puts this text (or pair): the same text always at the same place."""
    joined = text if pair is None else text + "\0" + pair
    digest = hashlib.sha256(("validation\0" + joined).encode()).hexdigest()
    return int(digest[:16], 16) / 2**64


def open_source(data: config.Data, labels_before: list[str] | None = None) -> Source:
    """Opens the dataset or the files that the settings name; reads train's labels if it must.

    Args:
      data: the settings.
      labels_before: what they were when the run began: with the same fingerprint they are so now.

    Raises:
      UserError: data that is missing, cannot be read, has not the features or columns named, or
        whose validation split is the one that is reported.
    """
    # Imported here: both need this module, and TFDS takes seconds that files need not wait for.
    kind = importlib.import_module(
        "trainer.data.files" if data.source == "files" else "trainer.data.tfds_records"
    )
    records, labels = kind.open_records(data)
    _check_apart(data, records)
    if labels is None:
        labels = labels_before
    if labels is None:
        distinct = Distinct(records["train"].title, data.label, data.labels)
        for row in records["train"].rows():
            distinct.add(row.label)
        labels = distinct.names()
    return Source(data, records, labels)


def _check_apart(data: config.Data, records: dict[str, Records]) -> None:
    """No row may be learned from, or chosen by, and reported on as well."""
    reasons = {
        ("validation", "test"): "this would be selecting on the split that is reported; name"
        " another, or leave config.data.validation empty to cut one from train",
        ("train", "test"): "this would report on examples that were trained on; name another",
        ("train", "validation"): "this would select on examples that were trained on; leave"
        " config.data.validation empty to cut it from train",
    }
    for (one, other), reason in reasons.items():
        if one in records and other in records and records[one].overlaps(records[other]):
            raise UserError(
                f"config.data.{one}={getattr(data, one)!r} overlaps"
                f" config.data.{other}={getattr(data, other)!r}: {reason}"
            )
