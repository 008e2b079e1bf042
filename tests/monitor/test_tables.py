"""Markdown tables of texts that may hold anything."""

import html
import re

import numpy as np
from tensorboard.plugins.text.text_plugin import text_array_to_html

from trainer.monitor import tables
from trainer.monitor.tables import escape
from trainer.tasks.shown import Marked, Matrix, Span, Table

EVIL = "a|b <br /><script>x</script> `c` **d** _e_ [f](http://g) & # h \\ ~~i~~\n\r\u2028\x85j\x00"


def _cells(markdown: str) -> list[list[str]]:
    """The cells of the table that TensorBoard makes of `markdown`, as a reader sees them."""
    page = text_array_to_html(np.array(markdown), enable_markdown=True)
    assert page.count("<table>") == 1
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    assert not any("<" in cell for row in cells for cell in row)
    return [[html.unescape(cell) for cell in row] for row in cells]


def test_an_evil_text_is_shown_as_it_is():
    rows = [(7, "neg|", 0.98765, EVIL), ("x", "pos", 0.5, "plain")]
    assert _cells(tables.table(Table("wrong", ("id", "a|b", "probability", "text"), rows))) == [
        ["id", "a|b", "probability", "text"],
        ["7", "neg|", "0.9877", " ".join(EVIL.replace("\0", "").split())],
        ["x", "pos", "0.5000", "plain"],
    ]


def test_a_long_text_is_cut():
    assert html.unescape(escape("ab" * 500)) == "ab" * 149 + "a…"
    assert escape("x" * 300) == "x" * 300


def test_confusion_table():
    cells = _cells(tables.matrix(Matrix("", np.array([[5, 1], [2, 6]]), ["neg", "pos"])))
    assert cells == [["label \\ prediction", "neg", "pos"], ["neg", "5", "1"], ["pos", "2", "6"]]


def test_many_classes_become_a_list_of_mistakes():
    matrix = np.diag(np.full(40, 9))
    matrix[3, 7], matrix[39, 0] = 2, 5
    cells = _cells(tables.matrix(Matrix("", matrix, [f"c{i}" for i in range(40)])))
    assert cells == [["label", "prediction", "times"], ["c39", "c0", "5"], ["c3", "c7", "2"]]
    right = Matrix("", np.diag(np.full(40, 9)), [f"c{i}" for i in range(40)])
    assert tables.matrix(right) == "There are none."


def test_marked_spans_have_their_labels_and_what_was_predicted():
    spans = [
        Span("anna", "PER", "PER"),
        Span(" met ", "", ""),
        Span("bob", "PER", ""),
        Span(" ", "", ""),
        Span("in", "", "LOC"),
        Span(" ", "", ""),
        Span("rome", "LOC", "PER"),
    ]
    (head, row) = _plain(tables.marked(Marked("wrong", [(41, spans)])))
    assert head == ["id", "text"]
    assert row == [
        "41",
        "anna (PER) met bob (PER, predicted none) in (none, predicted LOC)"
        " rome (LOC, predicted PER)",
    ]
    assert len(tables.marked(Marked("wrong", [])).splitlines()) == 2


def test_an_evil_span_is_shown_as_it_is():
    ((_, text),) = _plain(tables.marked(Marked("wrong", [(0, [Span(EVIL, EVIL, "x|y")])])))[1:]
    evil = " ".join(EVIL.replace("\0", "").split())
    assert text == f"{evil} ({evil}, predicted x|y)"


def _plain(markdown: str) -> list[list[str]]:
    """The cells of the table, whose bold words are bold."""
    page = text_array_to_html(np.array(markdown), enable_markdown=True)
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    bold = [[re.sub("</?strong>", "", cell) for cell in row] for row in cells]
    assert not any("<" in cell for row in bold for cell in row)
    return [[html.unescape(cell) for cell in row] for row in bold]
