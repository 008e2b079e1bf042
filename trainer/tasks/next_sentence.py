"""Pairs of parts of texts that follow one another, or do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

# The least tokens of a row: with two a text of three would leave one over.
LEAST_ROOM = 3
_BLANKS = re.compile(r"\s+")
_NEAR = 32  # rows that are looked at for one of about the same lengths
_APART = 2  # rows of one text that exchange their second parts have another between them


class Text(NamedTuple):
    """The tokens of a text, int64 [n], and the places where its sentences begin: int, 0 first."""

    ids: np.ndarray
    starts: np.ndarray


class Pair(NamedTuple):
    """Two parts, of which the second follows the first in its text, or stands elsewhere.

    Attributes:
      text: number of the text that the first is of.
      first, second: int64, at least one token each.
      random: whether the second is of another text, or of another place in the same.
    """

    text: int
    first: np.ndarray
    second: np.ndarray
    random: bool


class _Row(NamedTuple):
    """A window of a text: tokens [first, middle) and [middle, end)."""

    text: int
    first: int
    middle: int
    end: int
    halved: bool  # middle is in a sentence

    @property
    def lengths(self) -> tuple[int, int]:
        return self.middle - self.first, self.end - self.middle


def sentence_starts(text: str) -> list[int]:
    """The characters where the sentences of a text begin, with the blanks before them; 0 first.

    A sentence ends with a mark or a line. Abbreviations end one too: parts need only read on.
    """
    found = ((each.start(), each.end(), each[0]) for each in _BLANKS.finditer(text))
    inner = (each for each in found if each[0] > 0 and each[1] < len(text))
    return [0, *(i for i, _, blanks in inner if text[i - 1] in ".!?" or "\n" in blanks)]


def pairs(texts: Sequence[Text], room: int, seed: int) -> Iterator[Pair]:
    """Pairs of some texts: each token stands in one of them, and once.

    As in BERT (Devlin et al., 2019, A.2) a row is whole sentences, as many as there is room for,
    divided at a random one of them; a longer sentence is cut at the room, and one that is alone in
    its row is divided in the middle. Half of the rows then exchange their second parts, two and two
    of about the same lengths, so that lengths do not tell which: of different texts, or else of
    places in one text that are apart. Where there is no such other row the second part stays.

    A text of one token makes no pair.

    Args:
      texts: any of them may be empty.
      room: tokens of both parts together, at least LEAST_ROOM.
      seed: a whole number below 2^64 that the random numbers are drawn from.
    """
    # Raw Philox words, not Generator methods, whose streams numpy may change.
    draw = np.random.Philox(key=np.array([seed, 0], np.uint64)).random_raw
    rows = [row for number, text in enumerate(texts) for row in _rows(number, text, room, draw)]
    second = [*rows]
    for exchanged, (i, j) in _drawn(_couples(rows, room, draw), draw):
        if exchanged:
            second[i], second[j] = rows[j], rows[i]
    for row, other in zip(rows, second, strict=True):
        one = texts[row.text].ids[row.first : row.middle]
        two = texts[other.text].ids[other.middle : other.end]
        yield Pair(row.text, one, two, other is not row)


def _rows(number: int, text: Text, room: int, draw: Callable[[], int]) -> Iterator[_Row]:
    """The text in rows of at most `room` tokens, divided in two."""
    ids, starts = text
    first, last = 0, len(ids)
    while last - first > 1:
        end = last
        if last - first > room:
            whole = int(starts[np.searchsorted(starts, first + room, "right") - 1])
            end = whole if whole > first + 1 else first + room
            end -= last - end == 1  # one token makes no row
        inner = starts[np.searchsorted(starts, first, "right") : np.searchsorted(starts, end)]
        middle = int(inner[draw() % len(inner)]) if len(inner) else (first + end) // 2
        yield _Row(number, first, middle, end, not len(inner))
        first = end


def _couples(rows: Sequence[_Row], room: int, draw: Callable[[], int]) -> list[tuple[int, int]]:
    """Places of two and two rows that may exchange their second parts, about as long."""
    ties = [draw() for _ in rows]
    # The longest second parts first: each waits for a row with tokens to spare.
    keys = [(row.halved, *row.lengths[::-1], tie) for row, tie in zip(rows, ties, strict=True)]
    order = sorted(range(len(rows)), key=keys.__getitem__, reverse=True)
    couples: list[tuple[int, int]] = []
    for apart in (0, _APART):  # of other texts first
        alone: list[int] = []
        for i in order:
            for place in range(max(len(alone) - _NEAR, 0), len(alone)):
                j = alone[place]
                strange = rows[i].text != rows[j].text or (apart and abs(i - j) >= apart)
                if strange and _fit(rows[i], rows[j], room):
                    couples.append((alone.pop(place), i))
                    break
            else:
                alone.append(i)
        order = alone
    return couples


def _fit(one: _Row, two: _Row, room: int) -> bool:
    """True if each has room for the second part of the other."""
    (a, b), (c, d) = one.lengths, two.lengths
    return max(a + d, c + b) <= room


def _drawn(
    couples: Sequence[tuple[int, int]], draw: Callable[[], int]
) -> Iterator[tuple[bool, tuple[int, int]]]:
    """The couples, each with a random bit; of two that follow one another one has it."""
    for i in range(0, len(couples), 2):
        bit = bool(draw() & 1)
        yield from zip((bit, not bit), couples[i : i + 2], strict=False)
