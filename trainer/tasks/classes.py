"""The common part of tasks that learn named classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.data.columns import LABEL, LABELS, Column, Row
from trainer.data.rows import listed
from trainer.errors import UserError, shown
from trainer.storage import fields
from trainer.tasks import labels as classes
from trainer.tasks.task import Gold
from trainer.tasks.texts import TextTask

if TYPE_CHECKING:
    from trainer.lazy import tf
    from trainer.tasks.task import Batch


@dataclass
class ClassTask(TextTask):
    """A task of texts with a score for each of C classes: answers have "logits" float [N, C].

    The facts are the class names, "labels", in the order of their ids.
    """

    metric: ClassVar[str] = "accuracy"

    label: str = settings.column(LABEL, "label")
    labels: tuple[str, ...] = settings.texts(classes.MAX_CLASSES)  # by id; empty: sorted
    label_smoothing: float = settings.number(0.0, 0.0, 0.99)

    @property
    def several(self) -> bool:
        """True if a row has a list of labels."""
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
            distinct.add(row["label"] if self.several else [row["label"]], row)
        return {"labels": distinct.names()}

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
        self, sets: Mapping[str, Gold], cut: bool, fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        counts = {name: self.counts(gold) for name, gold in sets.items()}
        if fresh:
            classes.check_learned(self.names, counts, cut)
        table = classes.table(self.names, counts)
        return [table], classes.notes(self.names, counts["train"], self.label)
