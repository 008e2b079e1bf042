"""Charts as SVG, drawn in the colour of the text around them."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from trainer.evaluation.calibration import BINS, Reliability
from trainer.reports.finished import Curve

# Told apart by the colour-blind (Okabe & Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_INK = "#010203"  # stands for the colour of the text
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "thaw",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curves(
    lines: Mapping[str, Curve], title: str, ylabel: str, phases: Sequence[int], log: bool = False
) -> str:
    """Metrics over steps, by name; a dotted line where a phase began."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(title)
        for (name, curve), colour in zip(lines.items(), COLOURS, strict=False):
            many = len(curve.steps) > 40
            axes.plot(
                curve.steps,
                curve.values,
                color=colour,
                label=name,
                marker="" if many else "o",
                markersize=4,
                linewidth=1.2 if many else 1.8,
            )
        for step in phases:
            axes.axvline(step, color=_INK, linestyle=":", linewidth=0.8, alpha=0.5)
        axes.set(xlabel="step", ylabel=ylabel, yscale="log" if log else "linear")
        if len(lines) > 1:
            axes.legend(frameon=False)
        return _svg(figure, title)


def confusion(matrix: np.ndarray, names: Sequence[str]) -> str:
    """The confusion matrix int [C, C], coloured by the share of each label, with the counts."""
    title = "Confusion matrix"
    count = len(names)
    with matplotlib.rc_context({**_STYLE, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure, axes = _figure(title, square=True)
        shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        shown = [name if len(name) <= 16 else f"{name[:15]}…" for name in names]
        shown = [name.replace("$", r"\$") for name in shown]  # "$" would begin a formula
        axes.set_xticks(range(count), shown, rotation=0 if count < 4 else 60)
        axes.set_yticks(range(count), shown)
        axes.tick_params(length=0)
        if count <= 12:
            for i, j in np.ndindex(count, count):
                colour = "#ffffff" if shares[i, j] > 0.5 else "#0b1a2b"
                text = f"{matrix[i, j]:,}"
                axes.text(j, i, text, ha="center", va="center", color=colour)
        axes.set(xlabel="prediction", ylabel="label")
        return _svg(figure, title)


def precision_recall(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> str:
    """The precision-recall curve of class 1, or with more than two classes of each (at most 6)."""
    title = "Precision and recall"
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(title, square=True)
        classes = [1] if len(names) == 2 else list(range(len(names)))[: len(COLOURS)]
        for i, colour in zip(classes, COLOURS, strict=False):
            if not (labels == i).any():
                continue
            precision, recall, _ = sklearn.metrics.precision_recall_curve(
                labels == i, probabilities[:, i]
            )
            at = np.unique(np.linspace(0, len(recall) - 1, 400).astype(int))
            label = names[i].replace("$", r"\$")
            axes.plot(recall[at], precision[at], color=colour, label=label)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
        axes.legend(frameon=False, loc="lower left")
        return _svg(figure, title)


def reliability(bins: Reliability, title: str) -> str:
    """How often predictions of each confidence are right, against the diagonal."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(title, square=True)
        edges, held = np.arange(BINS) / BINS, bins.counts > 0
        axes.bar(
            edges[held],
            bins.accuracy[held],
            1 / BINS,
            align="edge",
            color=COLOURS[5],
            edgecolor=COLOURS[0],
        )
        axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=1)
        axes.plot(bins.confidence[held], bins.accuracy[held], "o", color=COLOURS[1], markersize=4)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        return _svg(figure, title)


def _figure(title: str, square: bool = False) -> tuple[Figure, Axes]:
    figure = Figure((4.6, 4.2) if square else (7.0, 3.4))
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.set_title(title, loc="left", fontsize=12)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """As wide as the page gives it room, and named for those who do not see it."""
    figure.tight_layout()
    written = io.StringIO()
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    opening = f'<svg role="img" aria-label="{title}"'
    return re.sub(r'<svg( [^>]*?)? width="[\d.]+pt" height="[\d.]+pt"', opening, svg, count=1)
