"""Texts joined into one stream of tokens, which is cut into parts of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

_AT_ONCE = 2**16  # tokens joined before they are cut: a text may be short


class Text(NamedTuple):
    """A text, or a part of a long one.

    Attributes:
      row: its id; parts that follow one another have the same.
      ids: int64 [n], with the marks of its end.
      counts: of what it holds, [M]; the end counts one of each.
    """

    row: int
    ids: np.ndarray
    counts: Sequence[int]


class Block(NamedTuple):
    """A part of the stream.

    Attributes:
      row: of the text that its first token is of.
      before: the token before it: int64 [1], or [0] at the beginning of the stream.
      ids: int64 [length], fewer in the last one.
      counts: sums over the texts that begin in it.
    """

    row: int
    before: np.ndarray
    ids: np.ndarray
    counts: list[int]


def blocks(texts: Iterator[Text], length: int, marks: int) -> Iterator[Block]:
    """The stream of texts in parts.

    Args:
      texts: in order.
      length: of a part, in tokens.
      marks: tokens at the end of a text that mark it: only the last part of a long text has them.
    """
    before = np.zeros(0, np.int64)
    held: list[Text] = []
    last, size = None, 0  # the row of the last text, and the tokens that are held
    for text in texts:
        if held and text.row == last:  # the text goes on: it has not ended before
            row, ids, counts = held[-1]
            held[-1] = Text(row, ids[: len(ids) - marks], counts)
            text = text._replace(counts=[count - 1 for count in text.counts])
            size -= marks
        held.append(text)
        last, size = text.row, size + len(text.ids)
        if size >= _AT_ONCE:
            # Not the marks at the end: the next text may be the same one's next part.
            count = max(size - marks, 0) // length
            cut, held = _cut(held, length, count, before)
            yield from cut
            before = cut[-1].ids[-1:] if cut else before
            size -= count * length
    cut, held = _cut(held, length, size // length, before)
    yield from cut
    before = cut[-1].ids[-1:] if cut else before
    rest = np.concatenate([before[:0], *(text.ids for text in held)])
    if len(rest):
        sums = np.sum([text.counts for text in held], axis=0).tolist()
        yield Block(held[0].row, before, rest, sums)


def _cut(
    held: list[Text], length: int, count: int, before: np.ndarray
) -> tuple[list[Block], list[Text]]:
    """Cuts `count` parts off the tokens of the texts; returns them, and the texts that are left."""
    if not count:
        return [], held
    stream = np.concatenate([text.ids for text in held])
    ends = np.cumsum([len(text.ids) for text in held])
    starts = np.concatenate([[0], ends[:-1]])
    sums = np.cumsum([[0] * len(held[0].counts), *(text.counts for text in held)], axis=0)
    edges = np.arange(count + 1) * length
    first = np.searchsorted(starts, edges)  # of the texts that begin behind each edge
    inside = np.searchsorted(ends, edges, "right")  # the text that has the token there
    made = []
    for i in range(count):
        ids = stream[edges[i] : edges[i + 1]]
        counts = (sums[first[i + 1]] - sums[first[i]]).tolist()
        made.append(Block(held[inside[i]].row, before, ids, counts))
        before = ids[-1:]
    left = held[first[count] :]
    if inside[count] < first[count]:  # the rest of a text that began before
        of = held[inside[count]]
        rest = of.ids[edges[count] - starts[inside[count]] :]
        left = [Text(of.row, rest, [0] * len(of.counts)), *left]
    return made, left
