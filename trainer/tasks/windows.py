"""Long sentences cut into windows of tokens, of which each word belongs to one."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """A part of a sentence.

    Attributes:
      first, end: its tokens.
      owned: the words [first, end) that are judged in it: those with the most context on both
        sides.
    """

    first: int
    end: int
    owned: tuple[int, int]


def windows(of: np.ndarray, room: int, context: int) -> Iterator[Window]:
    """Windows of at most `room` tokens that overlap by `context` of them, or a little less.

    A window begins and ends with a word; of one that is longer than a window its first tokens stand
    for it.

    Args:
      of: int [n], ascending: the word that each token is of.
      room: tokens of a window; at least 2.
      context: tokens that two windows share; less than `room`.
    """
    count = int(of[-1]) + 1 if len(of) else 0
    starts = np.searchsorted(of, np.arange(count + 1))  # of each word, and the end
    first_word, owned_from = 0, 0
    while True:
        begin = int(starts[first_word])
        end_word = int(np.searchsorted(starts, begin + room, "right")) - 1
        end_word = max(end_word, first_word + 1)  # at least one word, however long
        end = min(int(starts[min(end_word, count)]), begin + room)
        if end_word >= count:
            yield Window(begin, end, (owned_from, count))
            return
        # The next window begins with the words that this one shares, but with another word.
        back = int(np.searchsorted(starts, starts[end_word] - context))
        next_word = min(max(back, first_word + 1), end_word)
        middle = (next_word + end_word + 1) // 2
        middle = max(middle, owned_from + 1) if end_word > owned_from else owned_from
        middle = min(middle, end_word)
        yield Window(begin, end, (owned_from, middle))
        first_word, owned_from = next_word, middle
