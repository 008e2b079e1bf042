"""Figures of what tasks show, drawn once for TensorBoard's pages (PNG) and for reports (SVG)."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from trainer.tasks.shown import Bars, Curve, Matrix, Points

LARGE = 30  # classes above which a matrix is too large to be drawn
# Told apart by the colour-blind (Okabe & Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = "#010203"  # in SVG, the colour of the text around the figure
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "thaw",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_DPI = 80
_MOST_POINTS = 2_000  # of a curve or a cloud


def styled() -> Any:
    """The context in which a figure is made and written."""
    return matplotlib.rc_context(_STYLE)


def new_figure(title: str, square: bool = False) -> tuple[Figure, Axes]:
    """An empty figure with a title, and its axes."""
    figure = Figure((4.6, 4.2) if square else (7.0, 3.4))
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.set_title(plain(title, 80), loc="left", fontsize=12)
    return figure, axes


def matrix(shown: Matrix, title: str) -> Figure:
    """The counts, coloured by the share of each row."""
    count, counts = len(shown.names), shown.counts
    figure, axes = new_figure(title, square=True)
    side = max(4.2, 2.2 + 0.5 * count)
    figure.set_size_inches(side + 0.4, side)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = [plain(name, 16) for name in shown.names]
    axes.set_xticks(range(count), names, rotation=0 if count < 4 else 60)
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if count <= 12:
        for i, j in np.ndindex(count, count):
            colour = "#ffffff" if shares[i, j] > 0.5 else "#0b1a2b"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=colour)
    axes.set(xlabel="prediction", ylabel="label")
    return figure


def curves(shown: Sequence[Curve], title: str) -> Figure:
    """Precision against recall of up to six curves."""
    figure, axes = new_figure(title, square=True)
    for each, colour in zip(shown, COLOURS, strict=False):
        if not each.relevant.any():
            continue
        precision, recall, _ = sklearn.metrics.precision_recall_curve(each.relevant, each.scores)
        at = np.unique(np.linspace(0, len(recall) - 1, 400).astype(int))
        axes.plot(recall[at], precision[at], color=colour, label=plain(each.name, 30))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower left")
    return figure


def bars(shown: Bars, title: str) -> Figure:
    """The shares of all bins against the diagonal, and below them how many each holds."""
    figure = Figure((4.6, 4.2))
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    bins = len(shown.counts)
    edges, held = np.arange(bins) / bins, shown.counts > 0
    style: Any = {"align": "edge", "color": COLOURS[5], "edgecolor": COLOURS[0]}
    above.bar(edges[held], shown.heights[held], 1 / bins, **style)
    above.plot([0, 1], [0, 1], "--", color=INK, linewidth=1)
    above.plot(shown.means[held], shown.heights[held], "o", color=COLOURS[1], markersize=4)
    above.set(ylabel=shown.ylabel, xlim=(0, 1), ylim=(0, 1))
    above.set_title(plain(title, 80), loc="left", fontsize=12)
    below.bar(edges, shown.counts, 1 / bins, **style)
    below.set(xlabel=shown.xlabel, ylabel="rows")
    for axes in (above, below):
        axes.patch.set_visible(False)
    return figure


def points(shown: Points, title: str) -> Figure:
    """Each row as a point, against the diagonal."""
    figure, axes = new_figure(title, square=True)
    at = np.unique(np.linspace(0, len(shown.x) - 1, _MOST_POINTS).astype(int))
    axes.plot(shown.x[at], shown.y[at], "o", color=COLOURS[0], markersize=3, alpha=0.4)
    low, high = float(min(shown.x.min(), shown.y.min())), float(max(shown.x.max(), shown.y.max()))
    axes.plot([low, high], [low, high], "--", color=INK, linewidth=1)
    axes.set(xlabel=shown.xlabel, ylabel=shown.ylabel)
    return figure


def plain(text: str, length: int) -> str:
    """At most `length` characters, all of them to be seen, of which none begins a formula."""
    return printable(text, length).replace("$", r"\$")


def printable(text: str, length: int) -> str:
    """At most `length` characters, all of them to be seen."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def png(figure: Figure) -> bytes:
    """The figure on white paper."""
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor("#ffffff")
    figure.tight_layout()
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI, metadata={"Software": None})
    return written.getvalue()


def svg(figure: Figure, title: str) -> str:
    """As wide as the page gives it room, and named for those who do not see it."""
    figure.patch.set_visible(False)
    figure.tight_layout()
    written = io.StringIO()
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None, "Creator": None})
    found = written.getvalue()
    found = found[found.index("<svg") :].replace(INK, "currentColor")
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.S)
    name = re.sub(r"[^\w .,:-]", "", title)
    opening = f'<svg role="img" aria-label="{name}"'
    return re.sub(r'<svg( [^>]*?)? width="[\d.]+pt" height="[\d.]+pt"', opening, found, count=1)
