"""Training rows without those whose texts stand in other sets: tests of a later task."""

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trainer.data.columns import Column, Row
from trainer.data.survey import place_of
from trainer.tasks.task import Task

if TYPE_CHECKING:
    from trainer.data.sources import Records


class Without:
    """Records but for rows of which a text stands in others, character by character.

    Args:
      records: whose rows are read.
      others: each with one column of text.
      task: says which texts a row has.
    """

    def __init__(self, records: "Records", others: Sequence["Records"], task: Task):
        self._records, self._others, self._task = records, others, task
        self.title, self._left_out = records.title, 0

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of what is read and of what is left out."""
        others = [[each.fingerprint, each.columns[0].name] for each in self._others]
        what = [self._records.fingerprint, others]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    @property
    def columns(self) -> Sequence[Column]:
        """The columns that are read, each with its name."""
        return self._records.columns

    def overlaps(self, other: "Records") -> bool:
        """True if some row may stand in both."""
        return self._records.overlaps(other)

    def rows(self) -> Iterator[Row]:
        """The other rows, with the numbers that they have among all."""
        self._left_out = 0
        for row in self._records.rows():
            if any(place_of(text) in self._places for text in self._task.texts(row)):
                self._left_out += 1
            else:
                yield row

    @functools.cached_property
    def _places(self) -> frozenset[float]:
        """The hashes of the texts that are left out."""
        return frozenset(place_of(row["text"]) for each in self._others for row in each.rows())

    @property
    def remarks(self) -> str:
        """The number of rows that the last reading left out, and other oddities, in one line."""
        titles = " and ".join(each.title for each in self._others)
        said = f"{self._left_out:,} texts of {titles} left out"
        return "; ".join(filter(None, [said, self._records.remarks]))
