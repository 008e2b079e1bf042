"""Classification: one label a text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.batch import WEIGHT
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.lazy import tf
from trainer.storage import fields
from trainer.tasks import parts
from trainer.tasks.calibration import Calibration, Reliability, reliability, temperature_note
from trainer.tasks.classes import ClassTask
from trainer.tasks.labels import MAX_CLASSES
from trainer.tasks.losses import FOCAL_GAMMA, make_loss
from trainer.tasks.metrics import (
    METRICS,
    check_metrics,
    classification_metrics,
    confusion_matrix,
    own_metrics,
    softmax,
)
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.shown import Bars, Curve, Matrix, Note, Shown, Table
from trainer.tasks.task import Array, Examples, Gold, Piece, Scores, Task, check_finite

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from trainer.tasks.task import Batch


_MOST_LABELS = 50  # of the table by label
_OF_ONE_LABEL = ("loss", "class_weights", "focal_gamma", "metrics", "precision_target")


@dataclass
class Classification(ClassTask):
    """Learns the label of each row.

    Gold has "label" int32 [N].
    """

    lower: ClassVar[tuple[str, ...]] = ("loss", "calibration_error")
    multi_label: bool = False  # rows have lists of labels: see `trainer.tasks.multi_label`
    loss: str = settings.code("cross_entropy")  # cross_entropy | focal | "package.module:function"
    class_weights: tuple[float, ...] = settings.numbers(0.0, 1e6, MAX_CLASSES)  # or all 1
    focal_gamma: float = settings.number(FOCAL_GAMMA, 0.0, 1000.0)
    metrics: tuple[str, ...] = settings.code(())  # further ones, each "package.module:function"
    precision_target: float = settings.how(0.95, 0.0, 1.0)  # of a threshold; two classes only

    @property
    def several(self) -> bool:
        return self.multi_label

    # The rows

    def validate(self) -> None:
        super().validate()
        plain = Classification()
        set_ = [name for name in _OF_ONE_LABEL if getattr(self, name) != getattr(plain, name)]
        if self.multi_label and set_:
            raise UserError(
                "config.task.multi_label has the binary cross-entropy of each class: leave"
                f" config.task.{set_[0]} out"
            )

    def bound(
        self, facts: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast | None = None
    ) -> Task:
        if not self.multi_label:
            return super().bound(facts, tokenizer)
        if type(self) is not Classification:
            raise UserError(
                "config.task.multi_label of a class of your own: derive it from"
                " trainer.tasks.multi_label.MultiLabel"
            )
        return MultiLabel.of(self).bound(facts, tokenizer)

    def start(self) -> None:
        super().start()
        self._loss = make_loss(self, len(self.names))
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
        return [*METRICS, "calibration_error", *own_metrics(self.metrics)]

    def counts(self, gold: Gold) -> np.ndarray:
        return np.bincount(gold["label"], minlength=len(self.names))

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        labels, logits, count = gold["label"], scores.answers.get("logits"), len(self.names)
        if logits is None or logits.shape != (len(labels), count) or labels.ndim != 1:
            raise fields.Invalid(f"logits of {count} classes are needed")
        if labels.dtype.kind != "i" or labels.min() < 0 or labels.max() >= count:
            raise fields.Invalid(f"a label is not one of {count} classes")

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        weights, own = self.class_weights, self._own
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

    def correct(self, gold: Gold, scores: Scores) -> np.ndarray:
        right: np.ndarray = scores.answers["logits"].argmax(-1) == gold["label"]
        return right

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        """Those that the model was surest of first."""
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

        The curve is that of class 1, or with more than two classes of each.
        """
        names, labels, logits = self.names, gold["label"], scores.answers["logits"]
        plain, predictions = softmax(logits), logits.argmax(-1)
        calibrated = softmax(logits / fitted.temperature) if fitted else plain
        wrong = [
            (id_, names[labels[i]], names[predictions[i]], float(plain[i].max()), text)
            for i, id_, text in zip(*mistakes[:3], strict=True)
        ]
        head = ("id", "label", "prediction", "probability", "text")
        return [
            Matrix("confusion", confusion_matrix(labels, predictions, len(names)), names),
            *(
                Curve(names[i], labels == i, calibrated[:, i])
                for i in ([1] if len(names) == 2 else range(len(names)))
            ),
            _reliability("reliability", reliability(labels, plain)),
            *(self._calibrated(fitted, labels, plain, calibrated) if fitted else []),
            _by_length(gold["lengths"], labels, calibrated),
            _by_label(labels, predictions, names),
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
        found: list[Shown] = [
            _reliability("reliability, calibrated", after),
            Note(
                "calibration",
                f"The expected calibration error here, {before.error:.4f}, {becomes}"
                f" {after.error:.4f} when logits are divided by the temperature"
                f" {fitted.temperature:.3f}{why}",
            ),
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
        if result["temperature"] is None:
            return temperature_note(None)
        return "not calibrated, as calibration.json is missing"

    def check_results(self, values: Mapping[str, Any]) -> None:
        if self.multi_label:  # nothing is fitted
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


def _by_label(labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]) -> Table:
    """The scores of each class; of many classes, of those with the most examples."""
    found = parts.by_label(labels, predictions, names)
    title = "by label"
    if len(found) > _MOST_LABELS:
        found = sorted(found, key=lambda each: -each.examples)[:_MOST_LABELS]
        title = f"by label, the {_MOST_LABELS} most frequent of {len(names):,}"
    rows: list[Any] = [tuple(each) for each in found]
    return Table(title, ("label", "examples", "precision", "recall", "F1"), rows)


def _temperature(fitted: Calibration | None) -> float:
    return fitted.temperature if fitted else 1.0
