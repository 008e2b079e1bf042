"""The page of explanations."""

import re

import numpy as np

from trainer.prediction.attribution import Attribution
from trainer.prediction.page import Explained, render, words


def attribution(spans, values) -> Attribution:
    return Attribution(["x"] * len(spans), spans, np.array(values), 1.5, 0.01)


def test_pieces_are_joined_to_words_and_what_was_cut_is_grey():
    text = " unputdownable  film, cut out end "
    found = words(text, attribution(
        [None, (1, 6), (6, 14), (16, 20), (20, 21), (30, 33), None],
        [0, 1.0, 2.0, -1.0, -0.5, 0.75, 0],
    ))  # fmt: skip
    assert "".join(word.text for word in found) == text
    values = {word.text: word.value for word in found if word.text.strip()}
    assert values == {"unputdownable": 3.0, "film,": -1.5, "cut": None, "out": None, "end": 0.75}
    assert [w.strength for w in found if w.value is not None] == [1.0, 0.5, 0.25]


def test_nothing_in_a_text_is_taken_for_html():
    evil = '<script>alert(1)</script> & "quoted" \''
    row = Explained("<id>", evil, "<pos>", 0.75, attribution([None, (0, 3)], [0, 1.0]))
    page = render([row], "<title>")
    assert "<script" not in page
    assert "<id>" not in page
    assert "<pos>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "75.0 %" in page
    assert not re.search(r"https?://", page)


def test_a_text_that_is_attributed_nothing():
    assert [word.text for word in words("a b", attribution([None, None], [0, 0]))] == [
        "a",
        " ",
        "b",
    ]
    assert words("", attribution([None], [0])) == []
