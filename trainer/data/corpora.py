"""Corpora with files, columns and words of their own: rows of a source and a target each."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from trainer import config
from trainer.data.columns import LABEL, TEXT, Column, Row
from trainer.data.mixture import Mixed
from trainer.errors import UserError, shown

if TYPE_CHECKING:
    from trainer.data.sources import Records

Opening = Callable[
    [config.Data, Sequence[Column], Mapping[str, str]],
    "tuple[dict[str, Records], dict[str, Sequence[str]]]",
]


class InWords:
    """Rows of a corpus as "source", with its prefix, "target", with labels in words, and "corpus".

    Args:
      records: with the columns "source" and "target".
      corpus: the settings.
      at: their path, for messages.
    """

    def __init__(self, records: "Records", corpus: config.Corpus, at: str):
        self._records, self._corpus, self._at = records, corpus, at
        self.title, self.columns = records.title, records.columns

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of those of the records, and of what is made of them."""
        corpus = self._corpus
        how = [corpus.name, corpus.source, corpus.target, corpus.prefix, corpus.words]
        what = [self._records.fingerprint, how]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def overlaps(self, other: "Records") -> bool:
        """True if some row may stand in both."""
        if isinstance(other, Mixed):
            return other.overlaps(self)
        return self._records.overlaps(other._records if isinstance(other, InWords) else other)

    def rows(self) -> Iterator[Row]:
        """The rows. Raises UserError: a label has no text."""
        corpus, texts = self._corpus, config.texts_of(self._corpus, self._at)
        for row in self._records.rows():
            target = row["target"]
            if texts and target not in texts:
                raise UserError(
                    f"{row.where}: the label {shown(target)} has no text in {self._at}.words: add"
                    f" '{target[:40]}=…'"
                )
            cells = {
                "source": corpus.prefix + row["source"],
                "target": texts.get(target, target),
                "corpus": corpus.name,
            }
            yield Row(cells, row.id, row.title, row.number)

    @property
    def remarks(self) -> str:
        """Oddities found by the last reading of all rows, in one line; empty if none."""
        return self._records.remarks


def open_corpora(data: config.Data, open_records: Opening) -> "dict[str, Records]":
    """Train and validation, of all corpora, and the test of each by its name; none without corpora.

    Args:
      data: the settings.
      open_records: opens the sets of one.

    Raises:
      UserError: a file or split of a corpus cannot be had, or has not its columns.
    """
    opened: dict[str, list[Records]] = {}
    for i, corpus in enumerate(data.corpora):
        at = f"config.data.corpora[{i}]"
        own = dataclasses.replace(
            data, corpora=[], name=corpus.dataset, format=corpus.format, header=corpus.header
        )
        kind = LABEL if corpus.words else TEXT
        columns = [
            Column("source", corpus.source, TEXT, f"{at}.source"),
            Column("target", corpus.target, kind, f"{at}.target"),
        ]
        names = {"train": "train", "validation": "validation", "test": corpus.name}
        fields = {f"corpora[{i}].{name}": name for name in names if getattr(corpus, name)}
        sets = {field: getattr(corpus, name) for field, name in fields.items()}
        for field, records in open_records(own, columns, sets)[0].items():
            opened.setdefault(names[fields[field]], []).append(InWords(records, corpus, at))
    together = ("train", "validation")
    return {n: Mixed(each) if n in together else each[0] for n, each in opened.items()}
