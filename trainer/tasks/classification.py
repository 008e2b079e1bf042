"""Classification: one label a text or pair of texts."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.batch import WEIGHT
from trainer.data.columns import Row
from trainer.errors import UserError, shown
from trainer.lazy import tf
from trainer.storage import fields
from trainer.tasks import parts
from trainer.tasks.calibration import (
    UNFITTED,
    Calibration,
    Reliability,
    reliability,
    temperature_note,
)
from trainer.tasks.classes import ClassTask
from trainer.tasks.labels import MAX_CLASSES
from trainer.tasks.losses import FOCAL_GAMMA, make_loss
from trainer.tasks.metrics import (
    check_metrics,
    classification_metrics,
    confusion_matrix,
    metric_names,
    own_metrics,
    softmax,
)
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.shown import Bars, Curve, Matrix, Note, Shown, Table
from trainer.tasks.task import Array, Examples, Gold, Piece, Scores, Task, check_finite

if TYPE_CHECKING:
    from trainer.data.subwords import Subwords
    from trainer.tasks.task import Batch

BALANCED = "balanced"
_NO_VALIDATION = "not calibrated, as there was no validation"
_OF_ONE_LABEL = ("loss", "class_weights", "focal_gamma", "metrics", "precision_target")


@dataclass
class Classification(ClassTask):
    """Learns the label of each row.

    Gold has "label" int32 [N].
    """

    lower: ClassVar[tuple[str, ...]] = ("loss", "calibration_error")
    of_losses: ClassVar[tuple[str, ...]] = ("counts",)
    multi_label: bool = False  # rows have lists of labels: see `trainer.tasks.multi_label`
    loss: str = settings.code("cross_entropy")  # cross_entropy | focal | "package.module:function"
    # One a class; empty: all 1; "balanced": each class counts as much as any other.
    class_weights: tuple[float | str, ...] | str = settings.numbers(
        0.0, 1e6, MAX_CLASSES, word=BALANCED
    )
    focal_gamma: float = settings.number(FOCAL_GAMMA, 0.0, 1000.0)
    metrics: tuple[str, ...] = settings.code(())  # further ones, each "package.module:function"
    precision_target: float = settings.how(0.95, 0.0, 1.0)  # of a threshold; two classes only

    @property
    def _balanced(self) -> bool:
        return self.class_weights in (BALANCED, (BALANCED,))

    @property
    def several(self) -> bool:
        return self.multi_label

    # The rows

    def validate(self) -> None:
        super().validate()
        if self._balanced:
            self.class_weights = (BALANCED,)  # however it was written
        plain = Classification()
        set_ = [name for name in _OF_ONE_LABEL if getattr(self, name) != getattr(plain, name)]
        if self.multi_label and set_:
            raise UserError(
                "config.task.multi_label has the binary cross-entropy of each class: leave"
                f" config.task.{set_[0]} out"
            )

    def bound(self, facts: Mapping[str, Any], tokenizer: Subwords | None = None) -> Task:
        if not self.multi_label:
            return super().bound(facts, tokenizer)
        if type(self) is not Classification:
            raise UserError(
                "config.task.multi_label of a class of your own: derive it from"
                " trainer.tasks.multi_label.MultiLabel"
            )
        return MultiLabel.of(self).bound(facts, tokenizer)

    def learn(
        self, rows: Iterator[Row], title: str, known: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        if not self._balanced:
            return super().learn(rows, title, known)
        counts = Counter[str]()

        def counted() -> Iterator[Row]:
            for row in rows:
                counts[row["label"]] += 1
                yield row

        facts = super().learn(counted(), title, known)
        deque(counted(), maxlen=0)  # what is not read yet
        return {**facts, "counts": [counts[name] for name in facts["labels"]]}

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        super().check_facts(facts)
        if self._balanced:
            counts = fields.items(facts, "counts", MAX_CLASSES)
            if len(counts) != len(facts["labels"]) or not all(
                type(count) is int and 0 <= count < 2**53 for count in counts
            ):
                raise fields.Invalid("counts must hold a number of rows for each label")

    def _weights(self) -> tuple[float, ...]:
        """The weight of each class: for "balanced", rows / (classes × rows of the class)."""
        if not self._balanced:
            return tuple(float(weight) for weight in self.class_weights)
        counts = self.facts["counts"]
        return tuple(sum(counts) / (len(counts) * max(count, 1)) for count in counts)

    def start(self) -> None:
        super().start()
        self._class_weights = self._weights()
        self._loss = make_loss(self, len(self.names), self._class_weights)
        self._own = own_metrics(self.metrics)

    def arrays(self) -> dict[str, Array]:
        return {"label": Array("int32")}

    def gold(self, row: Row, piece: Piece) -> dict[str, Any]:
        return {"label": self.id_of(row["label"], row)}

    # The model

    def native_config(self) -> dict[str, Any]:
        return {**self.named_outputs(), "problem_type": "single_label_classification"}

    # In the graph

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        return {"loss": self._loss.example_weights(batch["label"], batch[WEIGHT])}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {"loss": self._loss.example_losses(batch["label"], outputs)}

    def serve(
        self, answers: Mapping[str, tf.Tensor], fitted: Calibration | None
    ) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(answers["logits"] / _temperature(fitted))}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        if self.multi_label:
            return MultiLabel().metric_names()
        count = len(self.facts.get("labels", self.labels))  # 0: they are found in the rows
        return [*metric_names(count), "calibration_error", *own_metrics(self.metrics)]

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        lines, notes = super().about(sets, cut, fresh)
        if len(self.names) == 2:
            lines.append(f"precision, recall, F1 and AUC are those of {shown(self.names[1])}")
        return lines, notes

    def counts(self, gold: Gold) -> np.ndarray:
        return np.bincount(gold["label"], minlength=len(self.names))

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        labels, logits, count = gold["label"], scores.answers.get("logits"), len(self.names)
        if logits is None or logits.shape != (len(labels), count) or labels.ndim != 1:
            raise fields.Invalid(f"logits of {count} classes are needed")
        if labels.dtype.kind != "i" or labels.min() < 0 or labels.max() >= count:
            raise fields.Invalid(f"a label is not one of {count} classes")

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        weights, own = self._class_weights, self._own
        check_metrics(gold["label"], self.names, split, chosen, class_weights=weights, own=own)

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        labels, logits = gold["label"], scores.answers["logits"]
        found = classification_metrics(
            labels,
            logits,
            scores.weights["loss"],
            scores.mean_losses("loss"),
            self._own,
            names=self.names,
        )
        return {**found, "calibration_error": reliability(labels, softmax(logits)).error}

    def decided(self, scores: Scores) -> np.ndarray:
        found: np.ndarray = scores.answers["logits"].argmax(-1)
        return found

    def correct(self, gold: Gold, scores: Scores) -> np.ndarray:
        right: np.ndarray = self.decided(scores) == gold["label"]
        return right

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        """Mistakes, the ones that the model was surest of first."""
        wrong = np.flatnonzero(~self.correct(gold, scores))
        sure = softmax(scores.answers["logits"]).max(-1)[wrong]
        return wrong[np.argsort(-sure, kind="stable")]

    def captions(self, gold: Gold, answers: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        predictions = answers["logits"].argmax(-1)
        return {
            "label": [self.names[i] for i in gold["label"]],
            "prediction": [self.names[i] for i in predictions],
        }

    def show(
        self, gold: Gold, scores: Scores, mistakes: Examples, fitted: Calibration | None = None
    ) -> list[Shown]:
        """The confusions, precision against recall, calibration, parts, and the mistakes.

        Of two classes the curve is that of class 1; see `parts.with_curves`.
        """
        names, labels, logits = self.names, gold["label"], scores.answers["logits"]
        drawn, left_out = parts.with_curves(self.counts(gold), first=int(len(names) == 2))
        plain, predictions = softmax(logits), logits.argmax(-1)
        calibrated = softmax(logits / fitted.temperature) if fitted else plain
        wrong = [
            (id_, names[labels[i]], names[predictions[i]], float(plain[i].max()), text)
            for i, id_, text in zip(*mistakes[:3], strict=True)
        ]
        head = ("id", "label", "prediction", "probability", "text")
        return [
            Matrix("confusion", confusion_matrix(labels, predictions, len(names)), names),
            *(Curve(names[i], labels == i, calibrated[:, i]) for i in drawn),
            *left_out,
            _reliability("reliability", reliability(labels, plain)),
            *(self._calibrated(fitted, labels, plain, calibrated) if fitted else []),
            _by_length(gold["lengths"], labels, calibrated),
            Table("wrong predictions", head, wrong),
        ]

    def _calibrated(
        self,
        fitted: Calibration,
        labels: np.ndarray,
        plain: np.ndarray,
        calibrated: np.ndarray,
    ) -> list[Shown]:
        """Calibration of this set by the temperature and thresholds fitted on validation."""
        before, after = (reliability(labels, each) for each in (plain, calibrated))
        becomes = "becomes" if after.error <= before.error else "rises to"
        why = f". Yet {fitted.note}" if fitted.note else ", which was fitted on validation."
        said = (
            f"The expected calibration error here, {before.error:.4f}, {becomes} {after.error:.4f}"
            f" when logits are divided by the temperature {fitted.temperature:.3f}{why}"
        )
        if fitted.temperature == UNFITTED:
            said = f"The expected calibration error here is {before.error:.4f}; {fitted.note}."
        found: list[Shown] = [
            _reliability("reliability, calibrated", after),
            Note("calibration", said),
        ]
        if fitted.thresholds:
            rows: list[Any] = [
                tuple(parts.at_threshold(name, each.value, labels, calibrated[:, 1]))
                for name, each in fitted.thresholds.items()
            ]
            name = f"thresholds on the probability of {self.names[1]}, chosen on validation"
            if len(rows) > 1:
                name += f" (the second for a precision of {fitted.precision_target} there)"
            found.append(Table(name, ("chosen by", "threshold", "precision", "recall", "F1"), rows))
        return found

    def fit(self, step: int, gold: Gold, scores: Scores) -> Calibration | None:
        labels, logits = gold["label"], scores.answers["logits"]
        return Calibration.fit(step, labels, logits, self.precision_target)

    def load_fitted(self, path: Path) -> Calibration | None:
        return Calibration.load(path, len(self.names))

    def note(self, fitted: Calibration | None, result: Mapping[str, Any] | None) -> str:
        if fitted:
            return fitted.note
        if result is None:
            return "not calibrated, as the run has not ended"
        if "validation" not in result:
            return _NO_VALIDATION
        if result["temperature"] is None:
            return temperature_note(None)
        return "not calibrated, as calibration.json is missing"

    def check_results(self, values: Mapping[str, Any]) -> None:
        if self.multi_label or not {"validation", "test"} & values.keys():  # nothing is fitted
            return
        errors = fields.mapping(values, "test_calibration_error")
        for name in ("before", "after"):
            fields.number_or_nan(errors, name, 0, 1)
        fields.number_or_nan(values, "temperature", low=0)  # null: nothing was calibrated
        for split in {"validation", "test"} & values.keys():
            for name in ("accuracy", "calibration_error"):
                fields.number_or_nan(fields.mapping(values, split), name)

    def results(self, fitted: Calibration | None, gold: Gold, scores: Scores) -> dict[str, Any]:
        temperature = fitted.temperature if fitted else None
        labels, logits = gold["label"], scores.answers["logits"]
        errors = {
            name: reliability(labels, softmax(logits / each)).error if each else math.nan
            for name, each in (("before", 1.0), ("after", temperature))
        }
        return {"temperature": temperature, "test_calibration_error": errors}

    def summary(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        temperature, title = result["temperature"], "Test" if "test" in result else "Validation"
        test = result[title.lower()]
        error = result["test_calibration_error"]["after"]
        note = temperature_note(temperature)
        if temperature is None and "validation" not in result:
            note = _NO_VALIDATION
        at = ""
        if not note and math.isfinite(error):
            at = f", {error:.4f} at temperature {temperature:.3f}"
        said = (
            f"accuracy {test['accuracy']:.4f} on {test['examples']:,} examples, calibration error"
            f" {test['calibration_error']:.4f}{at}"
        )
        return [(title, said), *([("Calibration", note)] if note else [])]

    # Predictions

    line_fields: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    def rule(self, fitted: Calibration | None, threshold: str) -> Rule:
        if not threshold:
            return Rule(_temperature(fitted))
        if len(self.names) != 2:
            raise UserError(f"--threshold is for two classes, the run has {len(self.names)}")
        try:
            value = float(threshold)
        except ValueError:
            value = math.nan
        if 0 <= value <= 1:
            return Rule(_temperature(fitted), value)
        found = fitted.thresholds if fitted else {}
        if threshold not in found:
            raise UserError(
                f"--threshold={threshold!r} is no number in [0, 1], and no threshold that"
                f" validation gave: {', '.join(found) or 'none'}"
            )
        return Rule(_temperature(fitted), found[threshold].value)

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, np.ndarray], rule: Rule
    ) -> dict[str, Any]:
        (probabilities,) = softmax(answers["logits"].astype(np.float64) / rule.temperature)
        check_finite(probabilities, row)
        threshold = rule.threshold
        at = probabilities.argmax() if threshold is None else probabilities[1] >= threshold
        return {
            "label": self.names[int(at)],
            "probabilities": [float(f"{value:.9g}") for value in probabilities],
        }

    calibrates: ClassVar[bool] = True
    explains: ClassVar[bool] = True

    def explained(self, line: Mapping[str, Any]) -> tuple[int, str, float] | None:
        at = self.ids[line["label"]]
        return at, line["label"], line["probabilities"][at]


@dataclass(frozen=True)
class Rule:
    """The way from logits to a label.

    Attributes:
      temperature: logits are divided by it before the softmax.
      threshold: for two classes, from which probability on it is the second one; None: the more
        probable class.
    """

    temperature: float = 1.0
    threshold: float | None = None


def _reliability(name: str, bins: Reliability) -> Bars:
    return Bars(
        name,
        f"calibration error {bins.error:.4f}",
        xlabel="confidence",
        ylabel="accuracy",
        heights=bins.accuracy,
        counts=bins.counts,
        means=bins.confidence,
    )


def _by_length(lengths: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> Table:
    head = ("tokens", "examples", "accuracy", "from", "to", "calibration error")
    rows = [
        (each.name, each.examples, each.accuracy, *each.interval, each.calibration_error)
        for each in parts.by_length(lengths, labels, probabilities)
    ]
    return Table("by length", head, rows)


def _temperature(fitted: Calibration | None) -> float:
    return fitted.temperature if fitted else 1.0
