"""Tables, matrices, curves, bars and points: the forms in which a task shows a judged set.

A task says what is in them; `trainer.drawing` draws them for TensorBoard's pages and for reports.
Names become parts of tags and headings.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LARGE = 30  # classes, or groups of a set: of more only the most frequent are shown


class Table(NamedTuple):
    """Rows of texts and numbers under their heads. A number is shown with four decimals."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]


class Matrix(NamedTuple):
    """Counts int [C, C] of true (rows) against predicted classes; `names` are the C classes'."""

    name: str
    counts: np.ndarray
    names: Sequence[str]

    @property
    def large(self) -> bool:
        """True if it has too many classes to be shown as a whole."""
        return len(self.names) > LARGE

    def mistakes(self) -> "Table":
        """The largest counts off the diagonal."""
        wrong = np.array(self.counts)
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:LARGE]
        pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
        rows = [(self.names[i], self.names[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]
        return Table(f"{self.name}, the most frequent", ("label", "prediction", "times"), rows)


class Curve(NamedTuple):
    """Precision against recall of finding the relevant ones of N by their scores.

    Attributes:
      relevant: bool [N]. scores: float [N], in [0, 1].
    """

    name: str
    relevant: np.ndarray
    scores: np.ndarray


class Bars(NamedTuple):
    """Shares in equal bins of [0, 1], against the diagonal.

    Attributes:
      title: what stands above. xlabel, ylabel: of the axes.
      heights: float [K]. counts: int [K], how many fell into each bin.
      means: float [K], the mean place of what is in a bin.
    """

    name: str
    title: str
    xlabel: str
    ylabel: str
    heights: np.ndarray
    counts: np.ndarray
    means: np.ndarray


class Points(NamedTuple):
    """Pairs of numbers, float [N] each, against the diagonal: a label and what was predicted."""

    name: str
    xlabel: str
    ylabel: str
    x: np.ndarray
    y: np.ndarray


class Span(NamedTuple):
    """A run of a text: what kind it is by its label and by the prediction; "" for none."""

    text: str
    label: str
    prediction: str


class Marked(NamedTuple):
    """Texts with marked spans: each with its id and its runs, in order."""

    name: str
    rows: Sequence[tuple[int, Sequence[Span]]]


class Note(NamedTuple):
    """Some sentences."""

    name: str
    text: str


Shown = Table | Matrix | Curve | Bars | Points | Marked | Note
