"""The common part of tasks that learn named classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.data.columns import LABEL, LABELS, Column, Row
from trainer.data.rows import listed
from trainer.errors import UserError, shown
from trainer.storage import fields
from trainer.tasks import labels as classes
from trainer.tasks import parts
from trainer.tasks.task import Gold, Scores
from trainer.tasks.texts import TextTask

if TYPE_CHECKING:
    from trainer.lazy import tf
    from trainer.tasks.task import Batch

_PROBABILITIES = "probabilities"  # of a prediction, in the order of the classes


@dataclass
class ClassTask(TextTask):
    """A task of texts with a score for each of C classes: answers have "logits" float [N, C].

    The facts are the class names, "labels", in the order of their ids.
    """

    metric: ClassVar[str] = "accuracy"
    group: ClassVar[str] = "label"
    group_metrics: ClassVar[tuple[str, ...]] = parts.METRICS

    label: str = settings.column(LABEL, "label")  # its column; empty: found in a file
    labels: tuple[str, ...] = settings.texts(classes.MAX_CLASSES)  # by id; empty: sorted
    label_smoothing: float = settings.number(0.0, 0.0, 0.99)

    @property
    def several(self) -> bool:
        """True if a row has a list of labels."""
        raise NotImplementedError

    def decided(self, scores: Scores) -> np.ndarray:
        """The predictions, in the form of the labels: int [N], or of lists of labels [N, C]."""
        raise NotImplementedError

    def counts(self, gold: Gold) -> np.ndarray:
        """The rows of each class, int [C]."""
        raise NotImplementedError

    # The rows

    def validate(self) -> None:
        super().validate()
        names = self.labels
        if names and (len(names) < 2 or len(set(names)) < len(names)):
            raise UserError(
                f"config.task.labels={names!r}"[:200] + " must name each class once, at least two"
            )

    def columns(self) -> list[Column]:
        kind = LABELS if self.several else LABEL
        return [c._replace(kind=kind) if c.key == "label" else c for c in super().columns()]

    def stratum(self, row: Row) -> str:
        label = row["label"]
        return (label[0] if label else "") if self.several else label

    def learn(
        self, rows: Iterator[Row], title: str, known: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        if "label" in known:
            names = known["label"]
            if not 2 <= len(names) <= classes.MAX_CLASSES:
                raise UserError(
                    f"config.task.label={self.label!r} of {title} has {len(names):,} classes: 2 to"
                    f" {classes.MAX_CLASSES:,} can be told apart"
                )
            return {"labels": classes.reordered(names, self.labels, title)}
        distinct = classes.Distinct(title, self.label, self.labels)
        for row in rows:
            distinct.add(self._of_row(row), row)
        return {"labels": distinct.names()}

    def _of_row(self, row: Row) -> list[str]:
        return row["label"] if self.several else [row["label"]]

    def for_some(self, facts: Mapping[str, Any], rows: Sequence[Row]) -> ClassTask:
        there = {label for row in rows for label in self._of_row(row)}
        return dataclasses.replace(self, labels=tuple(n for n in facts["labels"] if n in there))

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        names = fields.items(facts, "labels", classes.MAX_CLASSES)
        if not all(isinstance(name, str) for name in names):
            raise fields.Invalid("labels must hold texts")
        if len(names) < 2 or len(set(names)) < len(names):
            raise fields.Invalid("labels must hold two or more names, each once")

    def start(self) -> None:
        super().start()
        self.names: list[str] = list(self.facts["labels"])
        self.ids = {name: i for i, name in enumerate(self.names)}

    def id_of(self, label: str, row: Row) -> int:
        """The id of a label of the row. Raises UserError: train has no such label."""
        if label not in self.ids:
            raise UserError(
                f"{row.where}: label {shown(label)} is not one of the labels of train:"
                f" {listed(self.names)}"
            )
        return self.ids[label]

    # The model

    @property
    def outputs(self) -> int:
        return len(self.names)

    @property
    def output_names(self) -> list[str]:
        return self.names

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {"logits": outputs}

    # The judgement of a set

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        counts = {name: self.counts(gold) for name, gold in sets.items()}
        if fresh:
            classes.check_learned(self.names, counts, cut)
        table = classes.table(self.names, counts)
        return [table], classes.notes(self.names, counts["train"], self.label)

    def judge_groups(self, gold: Gold, scores: Scores) -> dict[str, dict[str, Any]]:
        return parts.by_label(gold["label"], self.decided(scores), self.names)

    # Predictions

    def table_columns(self) -> list[str]:
        """Columns of `Task.table_columns`, and one of the probability of each class."""
        if _PROBABILITIES not in self.line_fields:
            return super().table_columns()
        each = [f"probability of {name}" for name in self.names]
        found: list[str] = []
        for name, column in zip(self.line_fields, super().table_columns(), strict=True):
            found += each if name == _PROBABILITIES else [column]
        return found

    def cells(self, line: Mapping[str, Any]) -> list[Any]:
        if _PROBABILITIES not in self.line_fields:
            return super().cells(line)
        found: list[Any] = []
        for name in self.line_fields:
            found += line[name] if name == _PROBABILITIES else [line[name]]
        return found
