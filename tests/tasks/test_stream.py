"""A stream of texts, cut into parts: no token is lost, and each text is counted once."""

import numpy as np
import pytest

from trainer.tasks import stream
from trainer.tasks.stream import Text, blocks

END = 9


def texts(count: int, seed: int) -> list[Text]:
    """Texts of 0 to 20 tokens and an end; some are in parts, which have the same row."""
    drawn = np.random.default_rng(seed)
    made = []
    for row in range(count):
        for _ in range(int(drawn.choice([1, 1, 3]))):
            ids = drawn.integers(10, 10**6, drawn.integers(0, 21))
            made.append(Text(row, np.append(ids, END), [len(ids) + 1, 1]))
    return made


@pytest.mark.parametrize("at_once", [1, 50, 10**6])
@pytest.mark.parametrize("length", [1, 7, 64, 10**6])
def test_the_parts_are_the_texts_one_after_the_other(monkeypatch, length, at_once):
    monkeypatch.setattr(stream, "_AT_ONCE", at_once)
    given = texts(60, 0)
    rows = sorted({text.row for text in given})
    whole = {row: np.concatenate([t.ids[:-1] for t in given if t.row == row]) for row in rows}
    wanted = np.concatenate([np.append(whole[row], END) for row in rows])
    row_of = np.concatenate([np.full(len(whole[row]) + 1, row) for row in rows])
    made = [*blocks(iter(given), length, 1)]
    np.testing.assert_array_equal(np.concatenate([block.ids for block in made]), wanted)
    assert {len(block.ids) for block in made[:-1]} <= {length}
    assert len(made[-1].ids) <= length
    at = 0
    for block in made:
        assert block.row == row_of[at]
        assert block.before.tolist() == wanted[max(at - 1, 0) : at].tolist()
        at += len(block.ids)
    # Tokens and texts: the end counts one of each, and only once for a text in parts.
    sums = np.sum([block.counts for block in made], axis=0).tolist()
    assert sums == [len(wanted), len(rows)]


def test_a_text_is_counted_where_it_begins():
    given = [Text(3, np.array([1, 2, END]), [3]), Text(4, np.array([5, 6, 7, 8, END]), [5])]
    made = [(block.row, block.ids.tolist(), block.counts) for block in blocks(iter(given), 4, 1)]
    assert made == [(3, [1, 2, END, 5], [8]), (4, [6, 7, 8, END], [0])]


def test_without_marks_parts_are_joined_as_they_are():
    given = [Text(0, np.array([1, 2]), [1]), Text(0, np.array([3]), [1])]
    (block,) = blocks(iter(given), 8, 0)
    assert (block.ids.tolist(), block.counts) == ([1, 2, 3], [1])


def test_no_text_makes_no_part():
    assert [*blocks(iter([]), 8, 1)] == []
