"""Columns that a task does not name: found where there is no doubt, asked for elsewhere."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.conftest import write_csv
from trainer import config
from trainer.data import sources
from trainer.errors import UserError
from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging

LONG = [f"a text of some words number {i}" for i in range(40)]
SHORT = ["one", "two", "three", "four"] * 10
OTHER = [*SHORT[1:], "one"]
UNNAMED = Classification(text="", label="")


def named(path, task=UNNAMED, **data):
    """The settings of the task after the file was opened."""
    settings = config.Data(source="files", train=str(path), test="", **data)
    return sources.open_source(settings, task).task


def csv_of(tmp_path, *, name="t.csv", **columns):
    return write_csv(tmp_path / name, list(zip(*columns.values(), strict=True)), list(columns))


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"text": LONG, "label": SHORT}, "text", "label"),
        ({"Review": LONG, "Sentiment": SHORT}, "Review", "Sentiment"),
        ({"title": LONG, "text": LONG[::-1], "label": SHORT}, "text", "label"),  # exact
        ({"id": range(40), "said": LONG, "queue": SHORT}, "said", "queue"),  # by its cells
        ({"said": LONG, "what": SHORT, "when": ["2026-01-02"] * 40}, "said", "what"),
        (
            {"message": LONG, "customer": SHORT, "category": OTHER},
            "message",
            "category",
        ),
    ],
)
def test_columns_are_found(tmp_path, columns, text, label):
    found = named(csv_of(tmp_path, **columns))
    assert (found.text, found.label) == (text, label)


def test_a_name_that_is_given_is_kept_and_no_other_column_takes_it(tmp_path):
    path = csv_of(tmp_path, text=LONG, label=SHORT, mood=OTHER)
    found = named(path, Classification(text="", label="mood"))
    assert (found.text, found.label) == ("text", "mood")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"message": LONG, "owner": SHORT, "part": OTHER},
            r"holds a label: .* --config\.task\.label='owner' \(it may be 'owner', 'part'; col",
        ),
        (
            {"body": LONG, "comment": LONG[::-1], "label": SHORT},
            r"holds text\? Name it: --config\.task\.text='body' \(it may be 'body', 'comment'; ",
        ),
        (
            {"body": LONG, "priority": [1, 2] * (len(LONG) // 2)},
            r"holds a label: .* --config\.task\.label='priority' \(columns: 'body', 'priority'\)",
        ),
        ({"a": range(40), "b": range(40)}, r"holds text\? .*text=… \(columns: 'a', 'b'\)"),
    ],
)
def test_a_doubt_is_a_question(tmp_path, columns, said):
    with pytest.raises(UserError, match=said):
        named(csv_of(tmp_path, **columns))


def test_a_column_that_is_named_as_another_already(tmp_path):
    path = csv_of(tmp_path, ticket_id=range(40), message=LONG, department=SHORT)
    said = (
        r"text\? Name it: --config\.task\.text=… \('message' is named already, as --config\.task\.l"
    )
    with pytest.raises(UserError, match=said):
        named(path, Classification(text="", label="message"))
    said = (
        r"a label: .* --config\.task\.label=… \('department' is named already, as --config\.task\.t"
    )
    with pytest.raises(UserError, match=said):
        named(path, Classification(text="department", label=""))
    path = csv_of(tmp_path, message=LONG, number=range(40))
    with pytest.raises(UserError, match=r"--config\.task\.text=… \('message' is named already"):
        named(path, Classification(text="", label="message"))


def test_without_a_header_and_as_json(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("".join(f"{i}\t{a}\t{b}\n" for i, (a, b) in enumerate(zip(LONG, SHORT))))  # noqa: B905
    found = named(path, header=False)
    assert (found.text, found.label) == ("1", "2")
    path = tmp_path / "t.jsonl"
    rows = [{"labels": [b], "document": a} for a, b in zip(LONG, SHORT, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = named(path, Classification(text="", label="", multi_label=True))
    assert (found.text, found.label) == ("document", "labels")


def test_numbers_and_words(tmp_path):
    found = named(csv_of(tmp_path, said=LONG, worth=range(40)), Regression(text="", score=""))
    assert (found.text, found.score) == ("said", "worth")
    path = tmp_path / "t.conll"
    path.write_text("EU B-ORG\nrejects O\n\nPeter B-PER\n")
    found = named(path, Tagging(words="", tags=""))
    assert (found.words, found.tags) == ("0", "-1")


def test_columns_that_are_not_needed_may_be_odd(tmp_path):
    rows = [{"text": a, "label": b, "note": 1} for a, b in zip(LONG, SHORT, strict=True)]
    for row in rows[5:]:
        del row["note"]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert named(path).label == "label"
    other = [{"said": row["text"], "what": row["label"], **row} for row in rows]
    for row in other:
        del row["text"], row["label"]
    path.write_text("".join(json.dumps(row) + "\n" for row in other))
    found = named(path)
    assert (found.text, found.label) == ("said", "what")
    columns = {"said": LONG, "what": SHORT, "meta": [{"a": 1}] * 40}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    found = named(tmp_path / "t.parquet")
    assert (found.text, found.label) == ("said", "what")
