"""Cells as values of their columns' kinds: what each kind takes, and what it refuses."""

import json

import numpy as np
import pytest

from trainer.data import columns
from trainer.data.columns import (
    KINDS,
    LABEL,
    LABELS,
    MAX_LABEL,
    NUMBER,
    TAGS,
    TEXT,
    WORDS,
    Column,
    Row,
    check_text,
    value_of,
)
from trainer.errors import UserError

WHERE = "file a, row 7"


def value(kind: str, cell: object, typed: bool = True):
    return value_of(Column("key", "name", kind), cell, WHERE, typed)


def refused(kind: str, cell: object, typed: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        value(kind, cell, typed)
    said = str(caught.value)
    assert said.startswith(WHERE)
    assert "\n" not in said
    assert len(said) < 400
    return said


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        (TEXT, "", ""),
        (TEXT, " a\n\u2028 ", " a\n\u2028 "),
        (TEXT, "x" * 10**6, "x" * 10**6),
        (LABEL, "good", "good"),
        (LABEL, " good ", " good "),
        (LABEL, 3, "3"),
        (LABEL, -(10**20), "-100000000000000000000"),
        (LABEL, "1.0", "1.0"),
        (LABEL, "x" * MAX_LABEL, "x" * MAX_LABEL),
        (NUMBER, 3, 3.0),
        (NUMBER, -2.5, -2.5),
        (NUMBER, 1e18, 1e18),
        (LABELS, [], []),
        (LABELS, ["a", 2, "a"], ["a", "2", "a"]),
        (WORDS, [], []),
        (WORDS, ["a", "b c", "\u00e9"], ["a", "b c", "\u00e9"]),
        (TAGS, ["O", "B-PER", 0], ["O", "B-PER", "0"]),
    ],
)
def test_what_each_kind_takes(kind, cell, expected):
    found = value(kind, cell)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("3", 3.0), (" -2.5\n", -2.5), ("1e-3", 1e-3), (".5", 0.5), ("+7", 7.0), ("-0", 0.0)],
)
def test_a_number_in_a_table_is_text(cell, expected):
    assert value(NUMBER, cell, typed=False) == expected
    assert "'name' must be a finite number, is" in refused(NUMBER, cell, typed=True)


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize(
    "cell",
    [
        *("", " ", "x", "1_000", "1,5", "1.000.000", "0x10", "nan", "inf", "-Infinity", "1e999"),
        *("\u221e", "1 2", "None"),
        *(None, True, False, [], [1], {}, {"a": 1}),
        *(float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)),
    ],
)
def test_what_is_no_finite_number(cell, typed):
    assert "'name' must be a finite number, is" in refused(NUMBER, cell, typed)


@pytest.mark.parametrize("cell", [1.1e18, -1e25, 10**31])
def test_a_number_whose_square_is_too_large(cell):
    """In float32, in which losses are."""
    for typed, given in ((True, cell), (False, str(cell))):
        assert "'name' must be from -1e+18 to 1e+18, is" in refused(NUMBER, given, typed)
    assert np.isfinite(np.square(np.float32(value(NUMBER, 1e18, typed=True))))


@pytest.mark.parametrize("cell", [None, 3, 1.5, True, ["a"], {"a": "b"}])
def test_what_is_no_text(cell):
    assert f"'name' must be text, is {cell!r}"[:40] in refused(TEXT, cell)


@pytest.mark.parametrize("cell", [None, 1.0, 1.5, True, False, ["a"], {"a": "b"}, float("nan")])
def test_what_is_no_label(cell):
    assert "label 'name' must be text or a whole number, is" in refused(LABEL, cell)
    assert "label 'name' must be text or a whole number, is" in refused(LABELS, ["a", cell])
    assert "tag 'name' must be text or a whole number, is" in refused(TAGS, ["O", cell])


def test_labels_that_are_decimals_are_pointed_to_a_regression():
    assert refused(LABEL, 5.5).endswith(
        "is 5.5: a regression, as in configs/files.py:regression, learns such numbers"
    )
    assert "regression" not in refused(LABEL, None)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0"])
def test_what_is_blank(blank):
    assert refused(LABEL, blank) == f"{WHERE}: the label is empty"
    assert refused(LABELS, ["a", blank]) == f"{WHERE}: the label is empty"
    assert refused(TAGS, ["O", blank]) == f"{WHERE}: the tag is empty"
    assert "'name' holds an empty word: leave it out, with its tag" in refused(WORDS, ["a", blank])
    assert value(TEXT, blank) == blank


@pytest.mark.parametrize("cell", [None, 5, True, "a b", "", {"a": 1}])
@pytest.mark.parametrize("kind", [LABELS, WORDS, TAGS])
def test_what_is_no_list(kind, cell):
    said = refused(kind, cell)
    assert f"'name' must be {KINDS[kind]}, is" in said
    assert "write the rows as JSONL" not in said


@pytest.mark.parametrize("kind", [LABELS, WORDS, TAGS])
def test_a_list_in_a_table_is_sent_to_json(kind):
    said = refused(kind, json.dumps(["a", "b"]), typed=False)
    assert said.endswith("in CSV and TSV a cell is text, so write the rows as JSONL")


@pytest.mark.parametrize("cell", [None, 5, 1.5, ["a"], {}])
def test_what_is_no_word(cell):
    assert "'name' must be text, is" in refused(WORDS, ["a", cell])


def test_long_labels_and_lists(monkeypatch):
    said = refused(LABEL, "x" * (MAX_LABEL + 1))
    assert "a label of 1,001 characters, 'xxx" in said
    assert said.endswith("…: is 'name' the column of labels? (config.task.key)")
    assert "the column of tags? (config.task.key)" in refused(TAGS, ["x" * (MAX_LABEL + 1)])
    assert "a label of 1,001 characters" in refused(LABEL, int("1" * (MAX_LABEL + 1)))
    monkeypatch.setattr(columns, "MAX_ITEMS", 3)
    for kind in (LABELS, WORDS, TAGS):
        assert value(kind, ["a"] * 3) == ["a"] * 3
        assert "'name' has 4 items: at most 3" in refused(kind, ["a"] * 4)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [(TEXT, "a \ud800"), (LABEL, "\udfff"), (LABELS, ["\ud83d"]), (WORDS, ["a", "\ud83d"])],
)
def test_half_of_a_surrogate_pair(kind, cell):
    assert "half of a surrogate pair and no character: remove it" in refused(kind, cell)


def test_check_text_says_what_it_is():
    assert check_text("a", "the title") == "a"
    with pytest.raises(UserError, match=r"^the title must be text, is 5$"):
        check_text(5, "the title")


def test_a_row_knows_where_it_stands():
    row = Row({"text": "a", "label": "b"}, 6, "file train.csv")
    assert row == {"text": "a", "label": "b"}
    assert row["text"] == "a"
    assert (row.id, row.title) == (6, "file train.csv")
    assert row.where == "file train.csv, row 7"


def test_a_column_knows_its_setting():
    assert Column("text_pair", "second", TEXT).field == "config.task.text_pair"
