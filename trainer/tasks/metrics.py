"""The metrics of an evaluation, from every example's label and logits at once, in float64.

They are computed from the gathered arrays, not averaged over batches or replicas, so they are
exact however the work was shared out. Padding rows must be dropped before.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import logging

from trainer.errors import UserError
from trainer.imports import blamed_on, load
from trainer.lazy import sklearn_metrics

# With more than two classes these are means over classes, and are called so: "f1_macro".
_AVERAGED = ("precision", "recall", "f1", "auc")
_OF_TWO = ("loss", "accuracy", "precision", "recall", "f1", "matthews", "auc")
_OF_MORE = tuple(f"{name}_macro" if name in _AVERAGED else name for name in _OF_TWO)
_NAMED = 10  # classes that a warning names

Metric = Callable[[np.ndarray, np.ndarray], float]  # (labels [N], probabilities [N, C])


def metric_names(classes: int) -> list[str]:
    """Names of the metrics; `classes`: how many, 0 if not known yet (then all names)."""
    if not classes:
        return list(dict.fromkeys([*_OF_TWO, *_OF_MORE]))
    return list(_OF_TWO if classes == 2 else _OF_MORE)


def classification_metrics(
    labels: np.ndarray,
    logits: np.ndarray,
    weights: np.ndarray | None,
    losses: np.ndarray,
    extra: Mapping[str, Metric] | None = None,
    *,
    names: Sequence[str] = (),
) -> dict[str, float]:
    """Every metric of one evaluation.

    With two classes precision, recall, F1 and AUC are those of class 1. With more they are the
    plain mean over the classes that occur, called "f1_macro" and so on: a class occurs in AUC, one
    class against the rest, if it is a label, in the others also if it was predicted. What divides
    by zero counts as 0. AUC is left out, and the log says why, where it is not defined.

    Args:
      labels: int [N].
      logits: float [N, C].
      weights: float [N], what each example counts in "loss" (class weights); None: all the same.
        Every other metric counts each example once.
      losses: float [N], the unweighted loss of each example.
      extra: further metrics by name, from `own_metrics`.
      names: of the C classes, for what the log says; their ids where there are none.

    Returns:
      Those of `metric_names`, matthews (Matthews, 1975) being 0 where it divides by zero; examples,
      an int; and the extra ones.

    Raises:
      ValueError: there are no examples.
    """
    count, classes = logits.shape
    if not count:
        raise ValueError("no examples to score")
    logits = np.asarray(logits, np.float64)
    predictions = logits.argmax(axis=-1)
    weights = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, average="binary" if classes == 2 else "macro", zero_division=0
    )
    values = (
        float(np.sum(weights * np.asarray(losses, np.float64)) / np.sum(weights)),
        float(np.mean(predictions == labels)),
        float(precision),
        float(recall),
        float(f1),
        float(sklearn_metrics.matthews_corrcoef(labels, predictions)),
        _auc(np.asarray(labels), logits, names or [str(i) for i in range(classes)]),
    )
    pairs = zip(metric_names(classes), values, strict=True)
    metrics = {name: value for name, value in pairs if value is not None}
    metrics["examples"] = count
    for name, function in (extra or {}).items():
        metrics[name] = float(function(labels, softmax(logits)))
    return metrics


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [N, C] in float64 of `logits` [N, C]."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts of class i (row) taken for class j (column): int64 [C, C]."""
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def own_metrics(paths: Sequence[str]) -> dict[str, Metric]:
    """The metrics of these import paths, each under its function's name.

    Raises:
      UserError: a path that does not load, or a name that is taken.
    """
    found: dict[str, Metric] = {}
    for path in paths:
        name = path.rpartition(":")[2]
        if name in (*metric_names(0), "examples", "calibration_error", *found):
            raise UserError(f"config.task.metrics: {path!r}: the name {name!r} is taken")
        found[name] = _blamed(load(path, "config.task.metrics"), path)
    return found


def _blamed(function: Metric, path: str) -> Metric:
    def metric(labels: np.ndarray, probabilities: np.ndarray) -> float:
        with blamed_on(path, "config.task.metrics"):
            return float(function(labels, probabilities))

    return metric


def check_metrics(
    labels: np.ndarray,
    names: Sequence[str],
    split: str,
    chosen: str,
    *,
    class_weights: Sequence[float] = (),
    own: Mapping[str, Metric] | None = None,
) -> None:
    """Checks that a split can be scored, with made up probabilities.

    Args:
      labels: int [N], of the split's examples.
      names: of the classes.
      split: its name.
      chosen: the metric that chooses the best weights on this split; empty: none does.
      class_weights: those that "loss" has, one a class, or none.
      own: further metrics by name, from `own_metrics`: each is computed once.

    Raises:
      UserError: the chosen metric would have no value, or the same whatever was predicted; or a
        metric of the user's own fails.
    """
    why = ""
    present = np.unique(labels)
    if chosen in ("auc", "auc_macro", "matthews") and len(present) < 2:
        why = f"{split} has examples of {names[present[0]]!r} only"
    if chosen in ("precision", "recall", "f1") and len(names) == 2 and 1 not in present:
        why = f"it is that of {names[1]!r}, of which {split} has no example"
    counts = np.asarray(class_weights, np.float32)  # as the loss has them
    if chosen == "loss" and len(counts) and not counts[present].any():
        why = f"config.task.class_weights gives every example of {split} the weight 0"
    if own:
        drawn = np.random.Generator(np.random.Philox(0)).random((len(labels), len(names)))
        values = {name: float(function(labels, softmax(drawn))) for name, function in own.items()}
        if chosen in values and math.isnan(values[chosen]):
            why = f"it is not a number on {split}, for probabilities drawn at random"
    if why:
        raise UserError(
            f"config.evaluation.metric={chosen!r} cannot choose the best weights: {why}; choose"
            " another metric, or give other data for validation"
        )


def _auc(labels: np.ndarray, logits: np.ndarray, names: Sequence[str]) -> float | None:
    """Area under the ROC curve; None, and a warning, where it is not defined."""
    if not np.isfinite(logits).all():
        logging.warning("auc is left out: some logits are not finite")
        return None
    present = np.unique(labels)
    if len(present) < 2:
        logging.warning("auc is left out: every example has label %s", _quoted(names, present))
        return None
    if logits.shape[1] == 2:
        # The difference of the logits ranks as the probability does, which rounds to 1 above 37.
        return float(sklearn_metrics.roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    absent = np.setdiff1d(np.arange(logits.shape[1]), present)
    if len(absent):
        said = _quoted(names, absent)
        logging.warning("auc is the mean over the classes that occur: none has label %s", said)
    scores = softmax(logits)
    return float(
        np.mean([sklearn_metrics.roc_auc_score(labels == c, scores[:, c]) for c in present])
    )


def _quoted(names: Sequence[str], ids: np.ndarray) -> str:
    """The names of some classes, the first ones of many."""
    shown = [repr(names[i][:40]) for i in ids[:_NAMED]]
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return ", ".join(shown) + more
