"""Figures of what tasks show, for TensorBoard's pages (PNG) and for reports (SVG)."""

import contextlib
import functools
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import matplotlib.font_manager
import numpy as np
import sklearn.metrics
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from trainer.tasks.shown import Bars, Curve, Matrix, Points

# Told apart by the colour-blind (Okabe & Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LINES = [(colour, style) for style in ("solid", "dashed") for colour in COLOURS]
MOST_CURVES = len(LINES)
INK = "#010203"  # in SVG, the colour of the text around the figure
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "thaw",
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
# With characters that matplotlib's own font lacks, on Linux, macOS and Windows.
_OTHER_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Hiragino Sans"),
    *("Microsoft YaHei", "Malgun Gothic", "Noto Sans Thai", "Noto Sans Devanagari"),
)
_PLAIN = re.compile("[\0-\u024f]*")  # Latin letters, which any font has
_LONGEST = 16  # characters of a name on an axis
_MOST_POINTS = 2_000  # of a curve or a cloud


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """The context in which a figure is made and written."""
    with matplotlib.rc_context(_STYLE | {"font.family": _families()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")  # an empty box in a PNG
        yield


@functools.cache
def _families() -> list[str]:
    installed = {font.name for font in matplotlib.font_manager.fontManager.ttflist}
    return ["sans-serif", *(name for name in _OTHER_FONTS if name in installed)]


def new_figure(title: str, square: bool = False) -> tuple[Figure, Axes]:
    """An empty figure with a title, and its axes."""
    figure = Figure((4.6, 4.2) if square else (7.0, 3.4))
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.set_title(plain(title, 80), loc="left", fontsize=12)
    return figure, axes


def matrix(shown: Matrix, title: str) -> Figure:
    """The counts, coloured by the share of each row.

    Where a name is cut, or has characters that the font may lack, classes have their numbers too.
    """
    count, counts = len(shown.names), shown.counts
    figure, axes = new_figure(title, square=True)
    side = max(4.2, 2.2 + 0.5 * count)
    figure.set_size_inches(side + 0.4, side)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    names = columns = [plain(name, _LONGEST) for name in shown.names]
    if any(len(name) > _LONGEST or not _PLAIN.fullmatch(name) for name in shown.names):
        names, columns = [f"{i}: {name}" for i, name in enumerate(names)], [*map(str, range(count))]
    axes.set_xticks(range(count), columns, rotation=0 if count < 4 or columns != names else 60)
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
    """Precision against recall of at most MOST_CURVES curves, drawn as `LINES`; no legend."""
    figure, axes = new_figure(title, square=True)
    for each, (colour, style) in zip(shown, LINES, strict=False):
        precision, recall, _ = sklearn.metrics.precision_recall_curve(each.relevant, each.scores)
        at = np.unique(np.linspace(0, len(recall) - 1, 400).astype(int))
        axes.plot(recall[at], precision[at], color=colour, linestyle=style)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
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
    """A chart as wide as the page gives it room, and named for those who do not see it."""
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
