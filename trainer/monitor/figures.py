"""Attention maps for TensorBoard's image page, as PNG."""

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainer.drawing import printable

_INK, _PAPER = "#1f2a44", "#ffffff"
_CELL = 11  # dots a token


class Attention(NamedTuple):
    """A map of where a model looks in one text, or from a target into its source.

    Attributes:
      tokens: T pieces of the text, or target, special ones included.
      scores: float [layers, heads, T, S], rows add up to 1: from a token (row) to all (columns).
      captions: by name, of what is known of it and of what was answered.
      source: S pieces of the text that is looked into; None: it is the same one.
    """

    tokens: Sequence[str]
    scores: np.ndarray
    captions: Mapping[str, str]
    source: Sequence[str] | None = None


def attention(seen: Attention) -> bytes:
    """All heads (columns) of all layers (rows); in each, from a token (row) to all (columns).

    Drawn dot by dot: with axes and ticks of a plotting library it takes a second.
    """
    layers, heads, length, across = seen.scores.shape
    side, wide, gap, left, top = length * _CELL, across * _CELL, 8, 52, 40
    colours = matplotlib.colormaps["magma_r"](seen.scores, bytes=True)[..., :3]
    maps = colours.repeat(_CELL, axis=2).repeat(_CELL, axis=3)
    rows = _tokens(seen.tokens)
    columns = np.rot90(rows if seen.source is None else _tokens(seen.source))
    margin = rows.shape[1]
    at_x, at_y = left + margin, top
    height, width = at_y + layers * (side + gap) + margin, at_x + heads * (wide + gap)
    canvas = np.full((height, width, 3), 255, np.uint8)
    for i in range(layers):
        y = at_y + i * (side + gap)
        canvas[y : y + side, left:at_x] = rows
        for j in range(heads):
            x = at_x + j * (wide + gap)
            canvas[y : y + side, x : x + wide] = maps[i, j]
    for j in range(heads):
        x = at_x + j * (wide + gap)
        canvas[height - margin :, x : x + wide] = columns
    picture = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(picture), _font(12)
    title = ", ".join(f"{name} {printable(text, 30)}" for name, text in seen.captions.items())
    draw.text((2, 2), title, _INK, font)
    for j in range(heads):
        draw.text((at_x + j * (wide + gap) + wide / 2, 22), f"head {j}", _INK, font, "ma")
    for i in range(layers):
        draw.text((2, at_y + i * (side + gap)), f"layer {i}", _INK, font)
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def _tokens(tokens: Sequence[str]) -> np.ndarray:
    """The tokens under each other, each beside its row: uint8 [T x _CELL, width, 3]."""
    picture = Image.new("RGB", (70, len(tokens) * _CELL), _PAPER)
    draw, font = ImageDraw.Draw(picture), _font(9)
    for i, token in enumerate(tokens):
        draw.text((67, (i + 0.5) * _CELL), printable(token, 12), _INK, font, "rm")
    return np.asarray(picture)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)
