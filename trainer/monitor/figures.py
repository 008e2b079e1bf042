"""Pictures for TensorBoard's image page, as PNG."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.calibration import BINS, Reliability

LARGE = 30  # classes above which a confusion matrix is too large to be drawn
_INK, _PAPER, _ACCENT = "#1f2a44", "#ffffff", "#d97706"
_DPI = 80


class Attention(NamedTuple):
    """Where a model looks in one text.

    Attributes:
      tokens: T pieces of the text, special ones included.
      scores: float [layers, heads, T, T], rows add up to 1: from a token (row) to all (columns).
      label, prediction: class names.
    """

    tokens: Sequence[str]
    scores: np.ndarray
    label: str
    prediction: str


def confusion(matrix: np.ndarray, names: Sequence[str], title: str) -> bytes:
    """The confusion matrix int [C, C], coloured by the share of each label, with the counts."""
    count = len(names)
    side = 2.2 + 0.5 * count
    figure = Figure((side + 1, side))
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=axes, label="share of the label's examples")
    shown = [_plain(name, 20) for name in names]
    axes.set_xticks(range(count), shown, rotation=45 if count > 3 else 0)
    axes.set_yticks(range(count), shown)
    for i, j in np.ndindex(count, count):
        colour = _PAPER if shares[i, j] > 0.5 else _INK
        axes.text(j, i, f"{matrix[i, j]:,}", ha="center", va="center", color=colour)
    axes.set(xlabel="prediction", ylabel="label", title=title)
    return _png(figure)


def reliability(bins: Reliability, title: str) -> bytes:
    """How often predictions of each confidence are right, against the diagonal."""
    figure = Figure((5, 4.6))
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    edges = np.arange(BINS) / BINS
    above.bar(edges, bins.accuracy, 1 / BINS, align="edge", color="#93b5e1", edgecolor=_INK)
    held = bins.counts > 0
    above.plot(bins.confidence[held], bins.accuracy[held], "o", color=_ACCENT, label="mean")
    above.plot([0, 1], [0, 1], "--", color=_INK, label="perfectly calibrated")
    above.legend(loc="upper left", frameon=False)
    above.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    above.set_title(f"{title}: expected calibration error {bins.error:.4f}")
    below.bar(edges, bins.counts, 1 / BINS, align="edge", color="#c9c9c9", edgecolor=_INK)
    below.set(xlabel="confidence", ylabel="examples")
    return _png(figure)


def attention(seen: Attention) -> bytes:
    """All heads (columns) of all layers (rows); in each, from a token (row) to all (columns)."""
    layers, heads, length, _ = seen.scores.shape
    step = length + 1  # a line between two heads
    mosaic = np.full((layers * step - 1, heads * step - 1), np.nan)
    for i, j in np.ndindex(layers, heads):
        mosaic[i * step : i * step + length, j * step : j * step + length] = seen.scores[i, j]
    cell, left, bottom = 0.09, 1.1, 0.9  # inches; a cell as small as a token can be read
    width, height = mosaic.shape[1] * cell + left + 0.1, mosaic.shape[0] * cell + bottom + 0.6
    figure = Figure((width, height))
    axes = figure.add_axes(
        (
            left / width,
            bottom / height,
            mosaic.shape[1] * cell / width,
            mosaic.shape[0] * cell / height,
        )
    )
    axes.imshow(mosaic, cmap="magma_r", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    tokens = [_plain(token, 14) for token in seen.tokens]
    axes.set_yticks(*_ticks(tokens, layers, step), fontsize=5.5)
    axes.set_xticks(*_ticks(tokens, heads, step), fontsize=5.5, rotation=90)
    axes.tick_params(length=1, pad=1)
    for i in range(layers):
        axes.text(-1.05 / cell, i * step + length / 2, f"layer {i}", rotation=90, va="center")
    for j in range(heads):
        axes.text(j * step + length / 2, -1.5, f"head {j}", ha="center")
    title = f"label {_plain(seen.label, 30)}, prediction {_plain(seen.prediction, 30)}"
    figure.suptitle(title, x=0.01, y=0.995, ha="left", fontsize=9)
    return _png(figure, tight=False)


def _ticks(tokens: list[str], times: int, step: int) -> tuple[list[int], list[str]]:
    places = [i * step + t for i in range(times) for t in range(len(tokens))]
    return places, tokens * times


def _plain(text: str, length: int) -> str:
    """Text that matplotlib draws as it stands: "$" would begin a formula."""
    shown = "".join(c if c.isprintable() else "?" for c in text).replace("$", r"\$")
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def _png(figure: Figure, tight: bool = True) -> bytes:
    FigureCanvasAgg(figure)
    if tight:
        figure.tight_layout()
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI, metadata={"Software": None})
    return written.getvalue()
