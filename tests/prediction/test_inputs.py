"""Texts from lines, CSV, TSV and JSONL, and what is said of those that cannot be read."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import odd_texts
import pytest

from trainer import settings
from trainer.data import rows
from trainer.data.columns import WORDS, Row
from trainer.data.rows import Format, format_of
from trainer.errors import UserError
from trainer.prediction import inputs
from trainer.prediction.inputs import Columns, Given, read
from trainer.tasks.classification import Classification
from trainer.tasks.task import Task

COLUMNS = Columns({"text": "text"})
PAIR = {"text": "review", "text_pair": "other"}


def texts(content: bytes, kind: str, columns: Columns = COLUMNS, name: str = "", **more) -> list:
    task = Classification(text_pair="pair" if "text_pair" in columns.texts else "")
    format_ = format_of(name, "suffix", kind)
    return list(read(io.BytesIO(content), format_, columns, task, "the file", **more))


def cells(given: list[Given]) -> list[tuple]:
    """The id and the texts of each row."""
    return [(each.id, *each.row.values()) for each in given]


def test_lines_of_text():
    content = "\ufeffone\r\n\ntwo\x85still\u2028two\nlast".encode()
    found = texts(content, "text")
    assert cells(found) == [
        (0, "one"), (1, ""), (2, "two\x85still\u2028two"), (3, "last"),
    ]  # fmt: skip
    assert [each.row.where for each in found[::3]] == ["the file, row 1", "the file, row 4"]
    assert [each.row.keys() for each in found] == [{"text"}] * 4
    assert texts(b"", "text") == []


def test_columns_in_any_order_with_ids_and_pairs():
    columns = Columns(PAIR, "key")
    expected = [("a", 'x, "y"\n2', "z"), ("7", "", "w")]
    found = texts(b'key,other,review\na,z,"x, ""y""\n2"\n7,w,\n', "csv", columns)
    assert cells(found) == expected
    assert found[0].row == {"text": 'x, "y"\n2', "text_pair": "z"}
    assert found[1].row.where == "the file, row 2"
    found = texts(b"review\tkey\tother\n1\ta\tb\n", "tsv", columns)
    assert cells(found) == [("a", "1", "b")]
    lines = [{"review": "x", "other": "y", "key": 7}, {"key": "b", "other": "", "review": "z"}]
    content = "".join(json.dumps(line) + "\n\n" for line in lines).encode()
    assert cells(texts(content, "jsonl", columns)) == [(7, "x", "y"), ("b", "z", "")]


def test_odd_texts_come_through():
    content = "".join(json.dumps({"text": text}) + "\n" for text in odd_texts.TEXTS).encode()
    assert [each.row["text"] for each in texts(content, "jsonl")] == odd_texts.TEXTS


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"fine\n\x89PNG\r\n", "text", "line 2: not UTF-8 (byte 0x89 at position 0)"),
        (b"a,b\n1,2\n", "csv", "no column 'text'; its columns: 'a', 'b'"),
        (b"", "csv", "no column 'text'; its columns: none"),
        (b"text,b\nx\n", "csv", "row 1 (line 2): 1 cells under 2 columns"),
        (b'text\nx\n"y\nz', "csv", "line 4: unexpected end of data: mend the quotes after line 2"),
        (b'{"text": "x"}\n{"txt": "x"}\n', "jsonl", "row 2 has no column 'text'"),
        (b'{"text": 3}\n', "jsonl", "row 1: 'text' must be text, is 3"),
        (b'{"text": "\\ud83d"}\n', "jsonl", "half of a surrogate pair"),
        (b"[1]\n", "jsonl", "row 1: not a JSON object"),
        (b"\x01\x02\n", "jsonl", "row 1: not JSON"),
        (b"t\0e\0x\0t\0\n\0", "csv", "line 1: a NUL byte: is it text? Save the file as UTF-8"),
        (b"[" * 100_000 + b"\n", "jsonl", "row 1: not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_line(content, kind, said):
    with pytest.raises(UserError) as caught:
        texts(content, kind)
    message = str(caught.value)
    assert message.startswith("the file")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("value", [1.5, None, [], True])
def test_an_id_that_is_none(value):
    content = json.dumps({"text": "x", "id": value}).encode()
    with pytest.raises(UserError, match="row 1: id 'id' must be text or a whole number"):
        texts(content, "jsonl", Columns({"text": "text"}, id="id"))


def test_a_line_without_an_end(monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE", 10)
    with pytest.raises(UserError, match="line 2: over 10 bytes"):
        texts(b"short\n" + b"x" * 50, "text")


@pytest.fixture
def field_limit() -> Iterator[None]:
    """Puts back the limit of Python's csv, which is one for the whole process."""
    before = csv.field_size_limit()
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("field_limit")
def test_a_quote_left_open_does_not_read_the_whole_file(monkeypatch):
    monkeypatch.setattr(rows, "MAX_CELL", 10)
    file = io.BytesIO(b'text\nx\n"y\n' + b"an ordinary line\n" * 1000)
    with pytest.raises(UserError, match=r"line 4: field larger .*: mend the quotes after line 2"):
        list(read(file, Format("csv", quoted=True), COLUMNS, Classification(), "the file"))
    assert file.tell() < 40


@pytest.mark.parametrize(
    ("content", "kind", "where"),
    [
        (b"short\n" + b"x" * 11 + b"\n", "text", "line 2"),
        (b'{"text": "xxxxxx", "pair": "yyyyy"}\n', "jsonl", "row 1"),
    ],
)
def test_a_text_that_would_take_too_much_memory(monkeypatch, content, kind, where):
    monkeypatch.setattr(inputs, "MAX_CHARACTERS", 10)
    with pytest.raises(UserError, match=f"{where}: a text of 11 characters: cut it to 10"):
        texts(
            content,
            kind,
            Columns({"text": "text", "text_pair": "pair"}) if kind == "jsonl" else COLUMNS,
        )


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_without_a_header_has_numbers_for_names(packed):
    content, name = b"1,good,x\n2,bad,y\n", "a.csv.gz" if packed else "a.csv"
    content = gzip.compress(content) if packed else content
    columns = Columns({"text": "1", "text_pair": "2"}, id="0")
    found = texts(content, "", columns, name=name, header=False)
    assert cells(found) == [("1", "good", "x"), ("2", "bad", "y")]


def test_lines_are_no_pairs():
    with pytest.raises(UserError, match="the model takes more than a text: give the rows as col"):
        texts(b"one\n", "text", Columns({"text": "a", "text_pair": "b"}))


@dataclass
class Sentences(Task):
    """Takes words."""

    words: str = settings.column(WORDS, "words")

    def cells_of(self, text):
        return {"words": text.split()}


def test_words_are_a_list_in_json_and_cut_by_the_task_in_a_text():
    def found(content, kind, columns=Columns({"words": "w"})):  # noqa: B008 (it is a tuple)
        file = io.BytesIO(content)
        read_ = read(file, format_of("", "suffix", kind), columns, Sentences(), "the file")
        return [each.row for each in read_]

    assert found(b'{"w": ["a", "b c"]}', "jsonl") == [{"words": ["a", "b c"]}]
    assert found(b'{"w": "a b"}', "jsonl") == found(b"w\na b\n", "csv") == [{"words": ["a", "b"]}]
    assert found(b"a b\n", "text") == [{"words": ["a", "b"]}]
    assert found(b'{"w": []}', "jsonl") == [{"words": []}]
    for value in (5, None, [5], [""], ["a", " "], {"a": 1}):
        with pytest.raises(UserError, match=r"row 1: 'w' (must be|holds an empty word)"):
            found(json.dumps({"w": value}).encode(), "jsonl")
    (given,) = texts(b'{"text": "abc"}', "jsonl")
    assert given.characters == 3
    assert Given(0, Row({"words": ["ab", "c"], "n": 2.0}, 0, "")).characters == 3
