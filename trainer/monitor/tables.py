"""Markdown tables for TensorBoard's text page, from texts that may hold any character."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

_TEXT_LENGTH = 300  # characters of an example that are shown
_LARGE = 30  # classes above which a confusion matrix is a list of its largest mistakes
# Everything that Markdown or HTML gives a meaning, as entities, which neither reads again.
_ESCAPES = {ord(c): f"&#{ord(c)};" for c in "&<>|`*_[]()#!~\\:"}


class WrongPrediction(NamedTuple):
    """An example that the model got wrong."""

    text: str
    label: int
    prediction: int
    probability: float  # of the prediction
    id: int | str  # the example's place in its split, or its own id


def escape(text: str, length: int = _TEXT_LENGTH) -> str:
    """`text` on one line of at most `length` characters, with nothing left to interpret."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > length:
        line = f"{line[: length - 1]}…"
    return line.translate(_ESCAPES)


def wrong_predictions_table(rows: Iterable[WrongPrediction], names: Sequence[str]) -> str:
    """One row an example; `names` are the classes' names."""
    cells = (
        (
            escape(str(row.id)),
            escape(names[row.label]),
            escape(names[row.prediction]),
            f"{row.probability:.4f}",
            escape(row.text),
        )
        for row in rows
    )
    return _table(("id", "label", "prediction", "probability", "text"), cells)


def confusion_table(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Labels as rows, predictions as columns; with many classes, the most frequent mistakes.

    Args:
      matrix: int [C, C].
      names: the C classes' names.
    """
    shown = [escape(name) for name in names]
    if len(names) <= _LARGE:
        cells: Iterable[Sequence[object]] = ((shown[i], *row) for i, row in enumerate(matrix))
        return _table(("label \\ prediction", *shown), cells)
    mistakes = np.array(matrix)
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_LARGE]
    pairs = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    cells = ((shown[i], shown[j], mistakes[i, j]) for i, j in pairs if mistakes[i, j])
    return _table(("label", "prediction", "times"), cells)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
