"""Texts from lines, CSV, TSV and JSONL, and what is said of those that cannot be read."""

import csv
import io
import json
from collections.abc import Iterator

import odd_texts
import pytest

from trainer.data import rows
from trainer.data.rows import Format, format_of
from trainer.errors import UserError
from trainer.prediction import inputs
from trainer.prediction.inputs import Columns, Text, read

COLUMNS = Columns("text")


def texts(content: bytes, kind: str, columns: Columns = COLUMNS) -> list[Text]:
    return list(read(io.BytesIO(content), format_of("", "suffix", kind), columns, "the file"))


def test_lines_of_text():
    content = "\ufeffone\r\n\ntwo\x85still\u2028two\nlast".encode()
    assert texts(content, "text") == [
        Text(0, "one"), Text(1, ""), Text(2, "two\x85still\u2028two"), Text(3, "last"),
    ]  # fmt: skip
    assert texts(b"", "text") == []


def test_columns_in_any_order_with_ids_and_pairs():
    columns = Columns("review", "other", "key")
    expected = [Text("a", 'x, "y"\n2', "z"), Text("7", "", "w")]
    assert texts(b'key,other,review\na,z,"x, ""y""\n2"\n7,w,\n', "csv", columns) == expected
    assert texts(b"review\tkey\tother\n1\ta\tb\n", "tsv", columns) == [Text("a", "1", "b")]
    lines = [{"review": "x", "other": "y", "key": 7}, {"key": "b", "other": "", "review": "z"}]
    content = "".join(json.dumps(line) + "\n\n" for line in lines).encode()
    assert texts(content, "jsonl", columns) == [Text(7, "x", "y"), Text("b", "z", "")]


def test_odd_texts_come_through():
    content = "".join(json.dumps({"text": text}) + "\n" for text in odd_texts.TEXTS).encode()
    assert [each.text for each in texts(content, "jsonl")] == odd_texts.TEXTS


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
        texts(content, "jsonl", Columns("text", id="id"))


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
        list(read(file, Format("csv", quoted=True), COLUMNS, "the file"))
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
        texts(content, kind, Columns("text", "pair") if kind == "jsonl" else COLUMNS)
