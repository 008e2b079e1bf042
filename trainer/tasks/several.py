"""Several tasks at once, each as text to text with a metric of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from trainer import settings
from trainer.data.columns import LABEL, Row
from trainer.errors import UserError, shown
from trainer.lazy import sklearn_metrics
from trainer.storage import fields
from trainer.tasks import text_metrics
from trainer.tasks.shown import Shown, Table
from trainer.tasks.task import Array, Examples, Gold, Piece, Scores
from trainer.tasks.text_to_text import WORDS, TextToText

_HUNDREDS = ("bleu", "chrf")  # metrics from 0 to 100
_OF_TEXTS = ("bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL")
_OF_LABELS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda true, found: float((true == found).mean()),
    "matthews": lambda true, found: float(sklearn_metrics.matthews_corrcoef(true, found)),
}
METRICS = (*_OF_TEXTS, *_OF_LABELS)


@dataclass
class SeveralTasks(TextToText):
    """Learns several tasks as text to text (Raffel et al., 2020), each of a corpus of its own.

    Labels are words that the model writes: any other text is wrong, and for Matthews' correlation a
    class of its own. "mean" is the mean of the metrics of the corpora in a set, BLEU and chrF in
    hundredths. A set of one corpus has its metrics by their own names, one of several as
    "corpus_metric". Gold has "corpus", the place of each row's in `metrics`.
    """

    metric: ClassVar[str] = "mean"

    corpus: str = settings.column(LABEL, "corpus")  # its column, in files of several corpora
    metrics: tuple[str, ...] = settings.encoded(())  # of each corpus, "name=metric"

    def validate(self) -> None:
        super().validate()
        pairs = [each.partition("=") for each in self.metrics]
        wrong = [name for name, _, metric in pairs if not name or metric not in METRICS]
        if wrong or not pairs or len(dict.fromkeys(name for name, *_ in pairs)) < len(pairs):
            raise UserError(
                f"config.task.metrics={shown(self.metrics)}: give one to each corpus, such as"
                f" 'sst2=accuracy', of: {', '.join(METRICS)}"
            )

    @property
    def _metrics(self) -> dict[str, str]:
        """The metric of each corpus by its name."""
        return {name: metric for name, _, metric in (m.partition("=") for m in self.metrics)}

    # The rows

    def arrays(self) -> dict[str, Array]:
        return {**super().arrays(), "corpus": Array("int32")}

    def gold(self, row: Row, piece: Piece) -> dict[str, Any]:
        names = [*self._metrics]
        if row["corpus"] not in names:
            raise UserError(
                f"{row.where}: config.task.metrics has none for {shown(row['corpus'])}: add one,"
                f" such as '{row['corpus'][:40]}=accuracy'"
            )
        return {**super().gold(row, piece), "corpus": names.index(row["corpus"])}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        of_corpora = [f"{name}_{metric}" for name, metric in self._metrics.items()]
        return ["mean", *of_corpora, "loss", "perplexity"]

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        name = chosen.rpartition("_")[0]
        names = [*self._metrics]
        if name in names and names.index(name) not in gold["corpus"]:
            raise UserError(f"config.evaluation.metric={chosen!r}: {split} has no row of {name}")

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        super().check_kept(gold, scores)
        if not 0 <= gold["corpus"].min() <= gold["corpus"].max() < len(self.metrics):
            raise fields.Invalid("rows are of a corpus that there is not")

    def _of_corpora(self, gold: Gold, scores: Scores) -> dict[str, tuple[int, dict[str, float]]]:
        """For each corpus in a set, the number of its texts and their metrics, its own first."""
        hypotheses, references, first = self._judged(gold, scores)
        of, found = np.asarray(gold["corpus"])[first], {}
        for i, (name, metric) in enumerate(self._metrics.items()):
            at = np.flatnonzero(of == i)
            if not len(at):
                continue
            written, wanted = [hypotheses[j] for j in at], [references[j] for j in at]
            if metric in _OF_TEXTS:
                values = text_metrics.score(written, wanted)
            else:
                true = np.array([each[0].strip() for each in wanted])
                texts = np.array([each.strip() for each in written])
                values = {label: value(true, texts) for label, value in _OF_LABELS.items()}
            found[name] = len(at), {metric: values[metric], **values}
        return found

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        """The loss, "mean", and the metrics of each corpus."""
        of_corpora = self._of_corpora(gold, scores)
        own = {name: (self._metrics[name], values) for name, (_, values) in of_corpora.items()}
        mean = np.mean([v[m] / (100 if m in _HUNDREDS else 1) for m, v in own.values()])
        metrics = {f"{name}_{metric}": values[metric] for name, (metric, values) in own.items()}
        if len(own) == 1:
            ((_, values),) = own.values()
            metrics |= values
        loss = scores.mean_loss()
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "mean": float(mean),
            **metrics,
            "tokens": int(scores.weights[WORDS].sum(dtype=np.float64)),
            "examples": sum(count for count, _ in of_corpora.values()),
        }

    def show(
        self, gold: Gold, scores: Scores, mistakes: Examples, fitted: Any = None
    ) -> list[Shown]:
        """The metrics of each corpus, and some texts."""
        rows = [
            (name, count, metric, value)
            for name, (count, values) in self._of_corpora(gold, scores).items()
            for metric, value in values.items()
        ]
        table = Table("corpora", ("corpus", "texts", "metric", "value"), rows)
        return [table, *self._examples(gold, scores, mistakes)]

    def summary(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        sets = {"Test": result.get("test"), "Validation": result.get("validation")}
        sets |= {f"Test {name}": values for name, values in result.get("more_tests", {}).items()}
        hidden = ("loss", "perplexity", "tokens", "examples")
        return [
            (
                title,
                ", ".join(f"{n} {v:.4f}" for n, v in values.items() if n not in hidden)
                + f", loss {values['loss']:.4f} on {values['examples']:,} examples",
            )
            for title, values in sets.items()
            if values
        ]
