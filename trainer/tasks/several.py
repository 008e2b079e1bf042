"""Several tasks at once, each as text to text with a metric of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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

Values = dict[str, float]
_HUNDREDS = ("bleu", "chrf")  # metrics from 0 to 100


def _of_labels(written: Sequence[str], wanted: Sequence[Sequence[str]]) -> Values:
    """Accuracy and Matthews' correlation of labels that were written."""
    true = np.array([each[0].strip() for each in wanted])
    found = np.array([each.strip() for each in written])
    matthews = sklearn_metrics.matthews_corrcoef(true, found)
    return {"accuracy": float((true == found).mean()), "matthews": float(matthews)}


def _of_numbers(written: Sequence[str], wanted: Sequence[Sequence[str]]) -> Values:
    """Correlations of numbers that were written; 0 where all of one side are the same.

    A text that is no number counts as the smallest one that was wanted.
    """
    import scipy.stats  # which takes half a second

    true = np.array([number(each[0]) for each in wanted])
    found = np.array([number(each) for each in written])
    found = np.where(np.isfinite(found), found, true.min())
    if len(np.unique(true)) < 2 or len(np.unique(found)) < 2:
        return {"pearson": 0.0, "spearman": 0.0}
    pearson = scipy.stats.pearsonr(true, found).statistic
    return {"pearson": float(pearson), "spearman": float(scipy.stats.spearmanr(true, found)[0])}


def number(text: str) -> float:
    """The number that a text is; NaN if it is none, or not finite."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


# The metrics of a corpus by what its targets are. The first line is of written texts.
_KINDS: tuple[tuple[tuple[str, ...], Callable[..., Values]], ...] = (
    (text_metrics.NAMES, text_metrics.score),
    (("accuracy", "matthews"), _of_labels),
    (("pearson", "spearman"), _of_numbers),
    (text_metrics.ANSWERS, text_metrics.score_answers),
    (text_metrics.SPANS, text_metrics.score_spans),
)
_NUMBERS = _KINDS[2][0]
METRICS = tuple(name for names, _ in _KINDS for name in names)


@dataclass
class SeveralTasks(TextToText):
    """Learns several tasks as text to text (Raffel et al., 2020), each of a corpus of its own.

    Labels are words that the model writes: any other text is wrong, and for Matthews' correlation a
    class of its own. Ratings are numbers, answers have the metrics of SQuAD, and tags are written
    as "label: words" with ";" between them: see `text_metrics.score_spans`.

    "mean" is the mean of the metrics of the corpora in a set, BLEU and chrF in hundredths. A set of
    one corpus has its metrics by their own names, one of several as "corpus_metric". Gold has
    "corpus", the place of each row's in `metrics`.
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
        rated = self._metrics[row["corpus"]] in _NUMBERS
        if rated and math.isnan(number(row["target"])):
            raise UserError(
                f"{row.where}: the target {shown(row['target'])} is no number, which"
                f" '{row['corpus']}={self._metrics[row['corpus']]}' of config.task.metrics needs"
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
            (score,) = (score for names, score in _KINDS if metric in names)
            values = score(written, wanted)
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
