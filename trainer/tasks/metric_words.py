"""Hints for names that are no metrics of a task: the nearest, and those of other programs."""

import difflib
import re
from collections.abc import Sequence

# By names of other programs, in small letters and without what `_plain` takes away.
_MEANT = {
    **dict.fromkeys(
        ("acc", "exact_match", "subset_accuracy", "binary_accuracy", "categorical_accuracy"),
        "accuracy",
    ),
    "sparse_categorical_accuracy": "accuracy",
    **dict.fromkeys(("f", "fscore", "f_measure", "fbeta", "f1score"), "f1"),
    **dict.fromkeys(("sensitivity", "tpr"), "recall"),
    "balanced_accuracy": "recall_macro",  # whose definition is the same
    "ppv": "precision",
    **dict.fromkeys(("mcc", "matthews_corrcoef", "matthews_correlation"), "matthews"),
    **dict.fromkeys(("roc_auc", "auroc", "auc_roc", "roc"), "auc"),
    **dict.fromkeys(("ece", "expected_calibration_error"), "calibration_error"),
    **dict.fromkeys(("pearsonr", "pearson_correlation", "correlation"), "pearson"),
    **dict.fromkeys(("spearmanr", "spearman_correlation"), "spearman"),
    **dict.fromkeys(("mse", "mean_squared_error", "root_mean_squared_error"), "rmse"),
    "mean_absolute_error": "mae",
    **dict.fromkeys(("cross_entropy", "log_loss", "nll", "perplexity", "bce"), "loss"),
}
_ONE_LABEL = "matthews"  # a metric that tasks have of which a row has one label
_AVERAGES = "macro|micro|weighted|samples|binary"


def of_metric(name: str, known: Sequence[str]) -> str:
    """The metrics that may be meant by a name that is none, as "is it f1_macro?"; or "".

    Args:
      name: as it was written.
      known: the metrics of the task.
    """
    plain = _plain(name[:100])
    base = re.sub(rf"_({_AVERAGES})$", "", plain)
    meant = [_MEANT.get(plain, plain), *_with_averages(_MEANT.get(base, base))]
    if plain == "f1_micro" and _ONE_LABEL in known:
        meant.insert(0, "accuracy")  # which it is where a row has one label
    found = [each for each in dict.fromkeys(meant) if each in known]
    if plain in found:
        found = [plain]
    if not found and not {plain, base} & _MEANT.keys():  # of those the meaning is known
        found = difflib.get_close_matches(plain, known, 1)
    return f"is it {' or '.join(found)}?" if found else ""


def _with_averages(name: str) -> list[str]:
    return [name, f"{name}_macro", f"{name}_micro"]


def _plain(name: str) -> str:
    """Normalizes a name: no set, no "score", the average last: Macro-F1 becomes f1_macro."""
    name = re.sub(r"[\s-]+", "_", name.strip().lower())
    name = re.sub(r"^(eval|val|valid|validation|test|train|dev|overall)[_/.]", "", name)
    name = re.sub(r"_score(?=$|_)", "", name)
    return re.sub(rf"^({_AVERAGES})_(.+)$", r"\2_\1", name)
