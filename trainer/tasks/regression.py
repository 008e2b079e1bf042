"""Regression: a number for a text or pair of texts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from absl import logging

from trainer import settings
from trainer.batch import WEIGHT
from trainer.data.columns import NUMBER, Row
from trainer.errors import UserError
from trainer.lazy import tf
from trainer.storage import fields
from trainer.tasks.shown import Points, Shown, Table
from trainer.tasks.task import Array, Examples, Gold, Piece, Scores, check_finite
from trainer.tasks.texts import TextTask

if TYPE_CHECKING:
    from trainer.tasks.task import Batch

_LARGEST = 1e30  # a score, or a bound
_FAR = 10  # from 0, for rates as they are usual
_PARTS = 5  # of the labels, in the table of errors


@dataclass
class Regression(TextTask):
    """Learns the number of each row, by squared error.

    Gold has "score" float32 [N], answers have "score" float [N]. With `bounds`, labels outside are
    refused and answers are cut to them. Where it is `standardized`, the facts are the "mean" and
    "deviation" of train's scores.
    """

    metric: ClassVar[str] = "pearson"
    lower: ClassVar[tuple[str, ...]] = ("loss", "rmse", "mae")
    of_losses: ClassVar[tuple[str, ...]] = ("mean", "deviation")

    score: str = settings.column(NUMBER, "score")  # its column; empty: found in a file
    # The lowest and the highest score; empty: there are none.
    bounds: tuple[float, ...] = settings.numbers(-_LARGEST, _LARGEST, 2, encodes=True)
    standardized: bool = False  # outputs learn (score - mean) / deviation of train's scores

    def validate(self) -> None:
        super().validate()
        bounds = self.bounds
        if bounds and not (len(bounds) == 2 and bounds[0] < bounds[1]):
            raise UserError(
                f"config.task.bounds={bounds} must be the lowest and the highest score, as (0, 5)"
            )

    # The rows

    def learn(
        self, rows: Iterator[Row], title: str, known: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        if not self.standardized:
            return super().learn(rows, title, known)
        scores = np.fromiter((row["score"] for row in rows), np.float64)
        if not scores.std() > 0:
            raise UserError(
                f"{title}: all of {self.score!r} are the same: nothing could be learned"
            )
        return {"mean": float(scores.mean()), "deviation": float(scores.std())}

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        if self.standardized:
            fields.number(facts, "mean", -_LARGEST, _LARGEST)
            fields.number(facts, "deviation", math.ulp(0), _LARGEST)

    def start(self) -> None:
        super().start()
        self._mean: float = self.facts.get("mean", 0.0)
        self._deviation: float = self.facts.get("deviation", 1.0)

    def arrays(self) -> dict[str, Array]:
        return {"score": Array("float32")}

    def gold(self, row: Row, piece: Piece) -> dict[str, Any]:
        score = row["score"]
        if self.bounds and not self.bounds[0] <= score <= self.bounds[1]:
            raise UserError(
                f"{row.where}: {self.score!r} is {score:g}, outside of config.task.bounds="
                f"{self.bounds}"
            )
        return {"score": score}

    # The model

    @property
    def outputs(self) -> int:
        return 1

    @property
    def output_unit(self) -> str:
        if not self.standardized:
            return ""
        return f"a score is an output times {self._deviation:.9g}, plus {self._mean:.9g}"

    def native_config(self) -> dict[str, Any] | None:
        if self.standardized:
            return None
        return {**self.named_outputs(), "problem_type": "regression"}

    # In the graph

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        return {"loss": batch[WEIGHT]}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        found = _exact(outputs)
        wanted = (tf.cast(batch["score"], found.dtype) - self._mean) / self._deviation
        return {"loss": tf.square(found[:, 0] - wanted)}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        score = _exact(outputs)[:, 0] * self._deviation + self._mean
        return {"score": tf.clip_by_value(score, *self.bounds) if self.bounds else score}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        return ["loss", "pearson", "spearman", "rmse", "mae"]

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        lines = []
        for name, gold in sets.items():
            score = gold["score"].astype(np.float64)
            lines.append(
                f"{name}: {self.score} from {score.min():g} to {score.max():g}, mean"
                f" {score.mean():.4g}, standard deviation {score.std():.4g}"
            )
        notes = []
        if not self.standardized and np.abs(sets["train"]["score"]).mean() > _FAR:
            notes.append(
                f"{self.score} is far from 0, where outputs begin: config.task.standardized=true"
                " learns it in standard deviations"
            )
        return lines, notes

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        if chosen in ("pearson", "spearman") and len(np.unique(gold["score"])) < 2:
            raise UserError(
                f"config.evaluation.metric={chosen!r} cannot choose the best weights: all scores of"
                f" {split} are the same; choose another metric, or give other data for validation"
            )

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        score = scores.answers.get("score")
        if score is None or score.shape != gold["score"].shape or score.dtype.kind != "f":
            raise fields.Invalid("a score a row is needed")

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        """Pearson and Spearman correlation are NaN where one side has one value only."""
        import scipy.stats  # which takes half a second

        labels = gold["score"].astype(np.float64)
        found = scores.answers["score"].astype(np.float64)
        error = found - labels
        metrics: dict[str, Any] = {"loss": scores.mean_loss()}
        if np.isfinite(found).all() and len(np.unique(labels)) > 1 and len(np.unique(found)) > 1:
            metrics["pearson"] = float(scipy.stats.pearsonr(labels, found).statistic)
            metrics["spearman"] = float(scipy.stats.spearmanr(labels, found).statistic)
        else:
            logging.warning("no correlation: scores or answers are all the same, or not finite")
            metrics["pearson"] = metrics["spearman"] = math.nan
        metrics["rmse"] = float(np.sqrt(np.mean(error**2)))
        metrics["mae"] = float(np.mean(np.abs(error)))
        return {**metrics, "examples": len(labels)}

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        """All rows, those with the largest errors first."""
        return np.argsort(-np.abs(scores.answers["score"] - gold["score"]), kind="stable")

    def captions(self, gold: Gold, answers: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        return {
            "label": [f"{score:.3f}" for score in gold["score"]],
            "prediction": [f"{score:.3f}" for score in answers["score"]],
        }

    def show(
        self, gold: Gold, scores: Scores, mistakes: Examples, fitted: Any = None
    ) -> list[Shown]:
        """The answers against the labels, the errors of parts, and the largest ones."""
        labels, found = gold["score"], scores.answers["score"]
        rows = [
            (id_, float(labels[i]), float(found[i]), text)
            for i, id_, text in zip(*mistakes[:3], strict=True)
        ]
        head = ("id", "label", "prediction", "text")
        return [
            Points("scores", "label", "prediction", labels, found),
            _by_label(labels.astype(np.float64), found.astype(np.float64)),
            Table("largest errors", head, rows),
        ]

    # Predictions

    line_fields: ClassVar[tuple[str, ...]] = ("score",)

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, np.ndarray], rule: Any
    ) -> dict[str, Any]:
        (score,) = answers["score"]
        check_finite(score, row)
        return {"score": float(f"{score:.9g}")}


def _exact(outputs: tf.Tensor) -> tf.Tensor:
    """The outputs in float32, or float64."""
    return outputs if outputs.dtype == tf.float64 else tf.cast(outputs, tf.float32)


def _by_label(labels: np.ndarray, found: np.ndarray) -> Table:
    """The errors in parts of about as many rows, from the lowest labels to the highest."""
    edges = np.unique(np.quantile(labels, np.arange(1, _PARTS) / _PARTS))
    part_of, rows = np.searchsorted(edges, labels, "left"), []
    for part in np.unique(part_of):
        held = part_of == part
        error = (found - labels)[held]
        name = f"{labels[held].min():g} to {labels[held].max():g}"
        rms, mean = float(np.sqrt(np.mean(error**2))), float(error.mean())
        rows.append((name, int(held.sum()), rms, mean))
    return Table("errors by label", ("label", "examples", "rmse", "mean error"), rows)
