"""Pictures for TensorBoard's image page, as PNG."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from trainer.tasks.shown import Bars, Matrix

LARGE = 30  # classes above which a confusion matrix is too large to be drawn
_INK, _PAPER, _ACCENT = "#1f2a44", "#ffffff", "#d97706"
_DPI = 80
_CELL = 11  # dots a token


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


def matrix(shown: Matrix, title: str) -> bytes:
    """The counts, coloured by the share of each true class."""
    names, counts = [_plain(name, 20).replace("$", r"\$") for name in shown.names], shown.counts
    count = len(names)  # "$" would begin a formula
    side = 2.2 + 0.5 * count
    figure = Figure((side + 1, side))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, ax=axes, label="share of the label's examples")
    axes.set_xticks(range(count), names, rotation=45 if count > 3 else 0)
    axes.set_yticks(range(count), names)
    for i, j in np.ndindex(count, count):
        colour = _PAPER if shares[i, j] > 0.5 else _INK
        axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=colour)
    axes.set(xlabel="prediction", ylabel="label", title=title)
    return _png(figure)


def bars(shown: Bars, title: str) -> bytes:
    """The shares of all bins against the diagonal, and below them how many each holds."""
    figure = Figure((6, 5))
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    bins = len(shown.counts)
    edges, held = np.arange(bins) / bins, shown.counts > 0
    above.bar(edges, shown.heights, 1 / bins, align="edge", color="#93b5e1", edgecolor=_INK)
    above.plot(shown.means[held], shown.heights[held], "o", color=_ACCENT, label="mean")
    above.plot([0, 1], [0, 1], "--", color=_INK, label="perfectly calibrated")
    above.legend(loc="upper left", frameon=False)
    above.set(ylabel=shown.ylabel, ylim=(0, 1), xlim=(0, 1))
    above.set_title(f"{title}: {shown.title}")
    below.bar(edges, shown.counts, 1 / bins, align="edge", color="#c9c9c9", edgecolor=_INK)
    below.set(xlabel=shown.xlabel, ylabel="examples")
    return _png(figure)


def attention(seen: Attention) -> bytes:
    """All heads (columns) of all layers (rows); in each, from a token (row) to all (columns).

    Drawn dot by dot: with axes and ticks of a plotting library it takes a second.
    """
    layers, heads, length, _ = seen.scores.shape
    side, gap, left, top = length * _CELL, 8, 52, 40
    colours = matplotlib.colormaps["magma_r"](seen.scores, bytes=True)[..., :3]
    maps = colours.repeat(_CELL, axis=2).repeat(_CELL, axis=3)
    rows = _labels(seen.tokens)
    columns = np.rot90(rows)
    margin = rows.shape[1]
    at_x, at_y = left + margin, top
    height, width = at_y + layers * (side + gap) + margin, at_x + heads * (side + gap)
    canvas = np.full((height, width, 3), 255, np.uint8)
    for i in range(layers):
        y = at_y + i * (side + gap)
        canvas[y : y + side, left:at_x] = rows
        for j in range(heads):
            x = at_x + j * (side + gap)
            canvas[y : y + side, x : x + side] = maps[i, j]
    for j in range(heads):
        x = at_x + j * (side + gap)
        canvas[height - margin :, x : x + side] = columns
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), _font(12)
    title = f"label {_plain(seen.label, 30)}, prediction {_plain(seen.prediction, 30)}"
    draw.text((2, 2), title, _INK, font)
    for j in range(heads):
        draw.text((at_x + j * (side + gap) + side / 2, 22), f"head {j}", _INK, font, "ma")
    for i in range(layers):
        draw.text((2, at_y + i * (side + gap)), f"layer {i}", _INK, font)
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def _labels(tokens: Sequence[str]) -> np.ndarray:
    """The tokens under each other, each beside its row: uint8 [T x _CELL, width, 3]."""
    picture = Image.new("RGB", (70, len(tokens) * _CELL), _PAPER)
    draw, font = ImageDraw.Draw(picture), _font(9)
    for i, token in enumerate(tokens):
        draw.text((67, (i + 0.5) * _CELL), _plain(token, 12), _INK, font, "rm")
    return np.asarray(picture)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)


def _plain(text: str, length: int) -> str:
    """At most `length` characters, all of them to be seen."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    figure.tight_layout()
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI, metadata={"Software": None})
    return written.getvalue()
