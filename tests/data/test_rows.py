"""Rows of tables and JSON lines: nothing is merged, nothing is read in one of two ways."""

import gzip
import hashlib
import io
import json

import pytest

from trainer.data import rows
from trainer.data.rows import Format, Remarks, format_of
from trainer.errors import UserError

TSV, CSV = Format("tsv"), Format("csv", quoted=True)


def read(content: bytes, format_: Format, columns: str = "text label", remarks=None) -> list:
    file = rows.unpacked(io.BytesIO(content), format_)
    found = list(rows.read(file, format_, columns.split(), "the file", remarks=remarks))
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    return [cells for _, cells in found]


def refused(content: bytes, format_: Format, columns: str = "text label") -> str:
    with pytest.raises(UserError) as caught:
        read(content, format_, columns)
    message = str(caught.value)
    assert message.startswith("the file")
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    ("name", "quoting", "expected"),
    [
        ("a.csv", "suffix", Format("csv", quoted=True)),
        ("a.tsv", "suffix", Format("tsv")),
        ("a.csv", "none", Format("csv")),
        ("a.tsv", "minimal", Format("tsv", quoted=True)),
        ("A.CSV", "suffix", Format("csv", quoted=True)),
        ("a.Tsv.GZ", "suffix", Format("tsv", packed=True)),
        ("a.b.jsonl.gz", "minimal", Format("jsonl", packed=True)),
        ("a.TXT", "suffix", Format("text")),
        ("csv", "suffix", None),
        ("text.gz", "suffix", None),
        ("a.csv/text", "suffix", None),
        ("a.gz", "suffix", None),
        ("a.csv.zip", "suffix", None),
        ("", "suffix", None),
    ],
)
def test_the_ending_says_how_a_file_is_read(name, quoting, expected):
    assert format_of(name, quoting) == expected


def test_a_format_that_is_given_keeps_the_packing():
    assert format_of("a.gz", "suffix", "tsv") == Format("tsv", packed=True)
    assert format_of("", "minimal", "tsv") == Format("tsv", quoted=True)


def glue() -> tuple[bytes, list[list[str]]]:
    """A TSV without quoting: row 10 begins with a quote, row 40 ends with one."""
    texts = [f"text {i}" for i in range(1, 61)]
    texts[9], texts[39] = '"' + texts[9], texts[39] + '"'
    labels = ["good", "bad"] * 30
    cells = [list(pair) for pair in zip(texts, labels, strict=True)]
    return "".join("\t".join(row) + "\n" for row in [["text", "label"], *cells]).encode(), cells


def test_quotes_in_a_tsv_merge_no_rows():
    content, expected = glue()
    assert read(content, TSV) == expected
    remarks = Remarks()
    merged = read(content, TSV._replace(quoted=True), "text label", remarks)
    assert len(merged) == 30
    assert (merged[9][0].count("\n"), merged[9][0].count("\t")) == (30, 30)
    assert str(remarks).startswith("cells that span lines: 1, the longest from line 11 to 41:")


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_quotes_stay_where_cells_are_not_quoted(delimiter):
    format_ = Format("tsv" if delimiter == "\t" else "csv")
    cells = ['"', 'a "b" c', '"whole"', '""', '"open', 'shut"', "'", "\\", ""]
    lines = ["text|label", *(f"{cell}|x" for cell in cells)]
    content = "\r\n".join(lines).replace("|", delimiter).encode()
    remarks = Remarks()
    assert read(content, format_, "text", remarks) == [[cell] for cell in cells]
    assert "cells that begin and end with a quote" in str(remarks)
    assert ": 2: if it is not, read the file with quoting=minimal" in str(remarks)


def test_cells_that_span_lines_are_counted_with_the_longest():
    remarks = Remarks()
    content = b'text,label\n"a\nb",x\n\n"c,x\nd,y\ne,x\nf",y\n"g""",y\n"h\n","\ni"\n'
    found = read(content, CSV, "text label", remarks)
    assert found == [["a\nb", "x"], ["c,x\nd,y\ne,x\nf", "y"], ['g"', "y"], ["h\n", "\ni"]]
    assert str(remarks).startswith("cells that span lines: 4, the longest from line 5 to 8:")
    assert str(Remarks()) == ""


def test_quotes_inside_an_unquoted_cell_are_text():
    assert read(b'text,label\na "b" c,x\nd"",y\n', CSV) == [['a "b" c', "x"], ['d""', "y"]]


@pytest.mark.parametrize("format_", [TSV, CSV, CSV._replace(quoted=False)])
def test_line_ends_and_a_mark_of_byte_order(format_):
    content = "\ufefftext|label\r\n\r\na\u2028b\x85|x\n\nc|y".replace(
        "|", rows.DELIMITERS[format_.kind]
    )
    assert read(content.encode(), format_) == [["a\u2028b\x85", "x"], ["c", "y"]]
    mac = content.replace("\r", "").replace("\n", "\r")
    assert "line 1: a carriage return inside the line" in refused(mac.encode(), format_)
    lone = content.replace("a\u2028", "a\r")
    assert "line 3: a carriage return inside the line" in refused(lone.encode(), format_)
    utf16 = content.encode("utf-16-le")[2:]
    assert "line 1: a NUL byte" in refused(utf16, format_)
    assert "line 1: a NUL byte" in refused(content.encode("utf-16"), format_)


@pytest.mark.parametrize(
    ("content", "format_", "said"),
    [
        (b"text,label,text\na,b,c\n", CSV, "more than one column 'text'"),
        (b"text\tid\tlabel\tid\na\t1\tb\t2\n", TSV, "more than one column 'id'"),
        (b'{"text": "a", "label": "x", "text": "b"}', "jsonl", "row 1: not JSON: the key 'text'"),
        (b'{"text": "a", "label": "x", "m": {"k": 1, "k": 2}}', "jsonl", "the key 'k'"),
        (b'{"text": "a", "label": NaN}', "jsonl", "row 1: not JSON: NaN is no number"),
        (b'{"text": "a", "label": "x", "n": 1e999}', "jsonl", "row 1: not JSON: 1e999"),
        (b'{"text": "a", "label": ' + b"1" * 5000 + b"}", "jsonl", "integer of 5,000 digits"),
        (b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}", "jsonl", "row 1: not JSON: nested"),
        (b'{"text": "a"}\n', "jsonl", "row 1 has no column 'label'; its columns: 'text'"),
        (b"a\tb\n1\t2\n", TSV, "has no column 'text'; its columns: 'a', 'b'"),
        (b'"text"\t"label"\n"a"\t"b"\n', TSV, "quotes read as text (quoting=minimal), has no"),
        (b"text\tlabel\na\tb\tc\n", TSV, "row 1 (line 2): 3 cells under 2 columns: if cells stand"),
        (b'text\tlabel\n"a\nb"\tc\n', TSV, "row 1 (line 2): 1 cells under 2 columns"),
        (b"text,label\na,b,c\n", CSV, "row 1 (line 2): 3 cells under 2 columns: quote the cells"),
        (b'text,label\n"a"b,c\n', CSV, "line 2: ',' expected after '\"': mend the quotes after"),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(content, format_, said):
    format_ = Format(format_) if isinstance(format_, str) else format_
    assert said in refused(content, format_)


def test_columns_without_a_name_may_be_many():
    assert read(b",text,label,,\n0,a,x,,\n", CSV) == [["a", "x"]]


def test_a_table_without_a_header_is_one_short_line():
    text = "a fine film " * 5000
    assert len(refused(f"{text},good\n".encode(), CSV)) < 200
    wide = ",".join(f"column {i}" for i in range(10_000))
    message = refused(f"{wide}\n".encode(), CSV)
    assert message.endswith("'column 6', 'column 7' and 9,992 more")
    many = json.dumps({f"key {i}": i for i in range(10_000)})
    assert len(refused(many.encode(), Format("jsonl"))) < 300
    assert len(refused(b"[" + b"1," * 9999 + b"1]", Format("jsonl"))) < 200


def test_names_are_listed_short():
    assert rows.listed([]) == "none"
    assert rows.listed(["a\n" * 100, "b", "c"], 2) == f"{('a' + chr(10)) * 20!r}…, 'b' and 1 more"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_what_is_packed_reads_as_what_it_holds(kind):
    content = b'{"text": "a", "label": "x"}\n' * 3
    if kind != "jsonl":
        content = b"text,label\n" + b"a,x\n" * 3
        content = content.replace(b",", rows.DELIMITERS[kind].encode())
    packed = Format(kind, quoted=kind == "csv", packed=True)
    assert read(gzip.compress(content), packed) == [["a", "x"]] * 3
    halves = gzip.compress(content[:20]) + gzip.compress(content[20:])
    assert read(halves, packed) == [["a", "x"]] * 3


def test_a_damaged_packed_file_is_one_line():
    whole = gzip.compress(b"text,label\n" + b"".join(b"t%d,x\n" % i for i in range(9999)))
    packed = CSV._replace(packed=True)
    assert len(read(whole, packed)) == 9999
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 16
    for damaged in (whole[:-3], whole[: len(whole) // 2], bytes(flipped), b"text,label\n", b"\x1f"):
        assert "is no whole gzip file" in refused(damaged, packed)


def test_a_bomb_is_unpacked_no_further_than_a_line(monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE", 2**16)
    bomb = gzip.compress(b"text,label\n" + b"a" * 2**24)
    packed = CSV._replace(packed=True)
    assert "line 2: over 65,536 bytes" in refused(bomb, packed)
    with pytest.raises(UserError, match="a line of over 65,536 bytes"):
        rows.sha256(rows.unpacked(io.BytesIO(bomb), packed), "the file")
    content = b"word\n" * 2**20
    digest = hashlib.sha256(content).hexdigest()
    assert rows.sha256(io.BytesIO(content), "the file") == digest
    assert rows.sha256(rows.unpacked(io.BytesIO(gzip.compress(content)), packed), "") == digest


def test_a_row_of_many_long_cells_is_bounded(monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE", 1000)
    cell = '"' + "word\n" * 50 + '"'
    content = f"text,label\na,b\n{','.join([cell] * 100)}\n".encode()
    message = refused(content, CSV)
    assert "lines 3 to 201: over 1,000 characters in a row: mend the quotes after line 2" in message
    assert len(read(b"text,label\n" + f"{cell},x\n".encode() * 50, CSV)) == 50


def test_cells_under_an_empty_file():
    assert "has no column 'text'; its columns: none" in refused(b"", TSV)
    assert "its columns: none" in refused(b"\n\n", CSV)
    assert read(b"text\tlabel\n", TSV) == []


def test_semicolons_between_cells_are_told():
    said = refused(b"id;text;label\n1;a film, and more;good\n", CSV)
    assert "header is one column, 'id;text;label': if ; stands between cells, save" in said
