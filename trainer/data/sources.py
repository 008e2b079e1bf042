"""Rows from TFDS or from files, split into train, validation and test.

A source reads the same rows in the same order every time, so that one is known by its number, and
knows a fingerprint of what it read, so that everything made from it can be cached.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from trainer import config
from trainer.data.columns import TEXT, Column, Row
from trainer.data.corpora import open_corpora
from trainer.data.excluded import Without
from trainer.data.mixture import Mixed
from trainer.data.survey import Strata, place_of
from trainer.errors import UserError
from trainer.imports import blamed_on
from trainer.storage.paths import without_globs
from trainer.tasks.task import Task, check_columns, class_path, unnamed

_LEARNED = ("train", "validation")  # from them a run learns, or chooses


class Records(Protocol):
    """One split or file as it lies on disk."""

    @property
    def title(self) -> str:
        """Its name in a message, such as "split 'test'"."""

    @property
    def fingerprint(self) -> str:
        """sha256 in hex of the bytes that it is read from, and of which of them are read."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns that are read, each with its name."""

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
      task: with the names of all its columns, those that were found in the file among them.
      facts: what it learned from the rows of train.
      cut: the sets that are parts of train, as validation is where it has no rows of its own.
      names: of all sets.
    """

    def __init__(
        self,
        data: config.Data,
        task: Task,
        records: Mapping[str, Records],
        facts: Mapping[str, Any],
    ):
        self.task, self.facts = task, facts
        self._data, self._records = data, records
        self._shares = config.cut_from_train(data)
        self.cut = [*self._shares]
        self.names = config.set_names(data)

    def fingerprint(self, split: str) -> str:
        """sha256 in hex of everything that determines the rows of `split`."""
        columns = [[column.key, column.name] for column in self.task.columns()]
        facts = {k: fact for k, fact in self.facts.items() if k not in self.task.of_losses}
        what: list[object] = [self._records_of(split).fingerprint, columns, facts]
        if self._is_cut(split):
            what.append([split, self._data.validation_share])
            if self._data.test_share or self._data.stratify:
                what.append([self._shares, self._data.stratify])
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def rows(self, split: str) -> Iterator[Row]:
        """Reads the rows of a set, always in the same order.

        Raises:
          UserError: a row cannot be read, or there is none.
        """
        records = self._records_of(split)
        cut, count = self._is_cut(split), 0
        for row in records.rows():
            if cut and self._part(row) != split:
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
        return split in self._shares or (bool(self._shares) and split == "train")

    def _part(self, row: Row) -> str:
        """The part of train that a row is in, by a hash of its texts: never on two sides."""
        place = place_of(*self.task.identity(row))
        if self._data.stratify:
            return self._strata.part(place)
        for name, share in self._shares.items():
            if place < share:
                return name
            place -= share
        return "train"

    @functools.cached_property
    def _strata(self) -> Strata:
        return Strata(self._records["train"].rows(), self.task, self._shares)

    def _why_empty(self, split: str, records: Records) -> str:
        if self._is_cut(split):
            name = split if split in self._shares else self.cut[0]
            return (
                f"config.data.{name}_share={self._shares[name]} of {records.title}"
                f" leaves no example for {split}: change the share or give more data"
            )
        said = f" ({records.remarks})" if records.remarks else ""
        return f"{records.title} is empty: it has no example for {split}{said}"


def readable(data: config.Data, links: contextlib.ExitStack) -> config.Data:
    """The settings with a folder whose name TFDS takes for no pattern; it goes with `links`."""
    folder = Path(data.data_dir)
    if data.source != "tfds" or not data.data_dir or not folder.is_dir():
        return data
    link = links.enter_context(without_globs(folder))
    return dataclasses.replace(data, data_dir=str(link))


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
    task, records, known = _opened(data, task)
    _check_apart(data, records)
    if data.exclude:
        later = []
        for where, name in config.excluded(data):
            column = Column("text", name, TEXT, "config.data.exclude")
            of_later = _kind(data).open_records(data, [column], {"exclude": where})
            later.append(of_later[0]["exclude"])
        records["train"] = Without(records["train"], later, task)
    if facts is None:
        with blamed_on(class_path(task), "config.task"):
            facts = task.learn(records["train"].rows(), records["train"].title, known)
        _check_facts(task, facts)
    return Source(data, task, records, facts)


def _check_facts(task: Task, facts: Any) -> None:
    """Refuses facts that would be others when config.json is read. Raises UserError."""
    with contextlib.suppress(TypeError, ValueError):
        if isinstance(facts, dict) and json.loads(json.dumps(facts)) == facts:
            return
    raise UserError(
        f"config.task={class_path(task)!r}: learn must return a dict that JSON can hold: texts as"
        " names, and texts, numbers of Python's, lists and dicts as values"
    )


def look(data: config.Data, task: Task) -> None:
    """Opens the files that the settings name, and reads a row of each; nothing of TFDS.

    Raises:
      UserError: one is missing, cannot be read, or has not the columns named.
    """
    if data.source == "files":
        _opened(data, task)


def _kind(data: config.Data) -> ModuleType:
    """The module that opens the data."""
    # Imported here: both need this module, and TFDS takes seconds that files need not wait for.
    return importlib.import_module(
        "trainer.data.many_files" if data.source == "files" else "trainer.data.tfds_records"
    )


def _opened(
    data: config.Data, task: Task
) -> tuple[Task, dict[str, Records], dict[str, Sequence[str]]]:
    """The task with the columns that were found, the records, and the names of labels known."""
    kind = _kind(data)
    records: dict[str, Records]
    known: dict[str, Sequence[str]]
    wanted = unnamed(task)
    more = {f"{config.MIXTURE} {i}": where for i, where in enumerate(data.mixture)}
    of_corpora = open_corpora(data, kind.open_records)
    sets = {name: where for name, where in config.sets(data).items() if name not in of_corpora}
    records, known = of_corpora, {}
    if sets or more:
        found, known = kind.open_records(data, [*task.columns(), *wanted], {**sets, **more})
        records |= found
    if more:
        records["train"] = Mixed([records["train"], *(records.pop(name) for name in more)])
    if wanted:
        names = {column.key: column.name for column in records["train"].columns}
        task = dataclasses.replace(task, **{column.key: names[column.key] for column in wanted})
        check_columns(task)
    return task, records, known


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
