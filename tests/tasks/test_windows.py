"""Windows of long sentences: each word is judged once, with words around it where there are any."""

import itertools
import random

import numpy as np
import pytest

from trainer.tasks.windows import windows


def _sentence(lengths):
    """The word of each token, of words of so many tokens."""
    return np.repeat(np.arange(len(lengths)), lengths)


def _cases():
    """Sentences of any lengths, rooms and contexts, long words among them."""
    drawn = random.Random(0)
    for _ in range(400):
        room = drawn.randint(1, 12)
        context = drawn.randint(0, room // 2)
        longest = drawn.choice([1, 2, 4, 30])
        yield [drawn.randint(1, longest) for _ in range(drawn.randint(1, 40))], room, context


@pytest.fixture(scope="module")
def cases():
    made = []
    for lengths, room, context in _cases():
        of = _sentence(lengths)
        made.append((of, room, context, list(windows(of, room, context))))
    return made


def test_each_word_is_owned_once_in_order(cases):
    for of, _, _, found in cases:
        owned = [word for window in found for word in range(*window.owned)]
        assert owned == list(range(of[-1] + 1))


def test_a_window_holds_the_first_token_of_each_word_it_owns(cases):
    for of, _, _, found in cases:
        for window in found:
            firsts = np.searchsorted(of, range(*window.owned))
            assert (firsts >= window.first).all()
            assert (firsts < window.end).all()


def test_no_window_is_empty_or_larger_than_its_room(cases):
    for _, room, _, found in cases:
        assert all(0 < window.end - window.first <= room for window in found)


def test_windows_begin_and_end_with_words_unless_a_word_is_too_long(cases):
    for of, room, _, found in cases:
        starts = {*np.searchsorted(of, np.arange(of[-1] + 2))}
        for window in found:
            assert window.first in starts
            too_long = np.count_nonzero(of == of[window.first]) > room
            assert window.end in starts or too_long


def test_windows_share_at_most_the_context_and_at_least_all_whole_words_of_it():
    drawn = random.Random(1)
    for _ in range(100):
        lengths = [drawn.randint(1, 3) for _ in range(60)]
        of, room, context = _sentence(lengths), 12, drawn.randint(0, 6)
        for one, two in itertools.pairwise(windows(of, room, context)):
            shared = one.end - two.first
            assert shared <= context
            word_before = lengths[of[two.first] - 1]
            assert shared + word_before > context


def test_words_near_the_end_of_a_window_belong_to_the_next():
    found = list(windows(np.arange(30), 10, 4))
    assert [tuple(each) for each in found] == [
        (0, 10, (0, 8)),
        (6, 16, (8, 14)),
        (12, 22, (14, 20)),
        (18, 28, (20, 26)),
        (24, 30, (26, 30)),
    ]
    for window, after in itertools.pairwise(found):  # two words of context on both sides
        assert window.end - window.owned[1] >= 2
        assert after.owned[0] - after.first >= 2


def test_a_sentence_that_fits_is_one_window():
    assert list(windows(_sentence([2, 1, 3]), 6, 3)) == [(0, 6, (0, 3))]
    assert list(windows(np.zeros(0, np.int64), 6, 3)) == [(0, 0, (0, 0))]


def test_a_word_longer_than_a_window_is_cut_and_stands_alone():
    found = list(windows(_sentence([1, 25, 1]), 4, 2))
    assert [window.owned for window in found if window.first == 1] == [(1, 2)]
    assert found[-1].owned[1] == 3


def test_a_sentence_of_ten_thousand_words_makes_as_many_windows_as_it_needs():
    found = list(windows(np.arange(10_000), 126, 32))
    assert len(found) == -(-(10_000 - 126) // (126 - 32)) + 1
