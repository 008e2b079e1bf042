"""A user's own files: their endings, formats that are named, headers, packing and columns."""

import csv
import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.conftest import ROWS, opened
from trainer import config, settings
from trainer.data import sources
from trainer.data.columns import LABELS, NUMBER, TAGS, WORDS
from trainer.data.files import FileRecords
from trainer.errors import UserError
from trainer.tasks.classification import Classification
from trainer.tasks.task import Task

FEW = [("a fine film", "good"), ("an awful bore", "bad"), ('so "so", it is', "good")]
TABLES = {"csv": ",", "tsv": "\t"}


def content(kind: str, rows=FEW, header: bool = True) -> bytes:
    if kind == "jsonl":
        lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        return "".join(lines).encode()
    written = io.StringIO()
    if kind == "tsv":
        lines = ["text\tlabel"] * header + ["\t".join(row) for row in rows]
        return "".join(f"{line}\n" for line in lines).encode()
    writer = csv.writer(written)
    writer.writerows([*([("text", "label")] if header else []), *rows])
    return written.getvalue().encode()


def records(path: Path, columns=("text", "label"), **fields) -> FileRecords:
    task = Classification(text=columns[0], label=columns[1])
    return FileRecords("train", path, task.columns(), config.Data(source="files", **fields))


def cells(found: FileRecords) -> list[tuple]:
    return [tuple(row.values()) for row in found.rows()]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_every_format_packed_or_not_with_a_header_or_without(tmp_path, kind, header, packed):
    """JSON has the names in its rows: a header changes nothing there."""
    held = content(kind, header=header)
    path = tmp_path / f"a.{kind}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(held) if packed else held)
    names = ("text", "label") if header or kind == "jsonl" else ("0", "1")
    found = records(path, names, header=header)
    assert cells(found) == FEW
    assert [row.id for row in found.rows()] == [0, 1, 2]
    assert [row.where for row in found.rows()][2] == f"file {path}, row 3"
    assert next(found.rows()).keys() == {"text", "label"}  # by the task's names


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_format_that_is_named_goes_before_the_ending(tmp_path, kind, packed):
    for name in ("rows", "rows.txt", "rows.csv", "rows.conll", "rows.data.old"):
        path = tmp_path / f"{name}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content(kind)) if packed else content(kind))
        assert cells(records(path, format=kind)) == FEW


@pytest.mark.parametrize("name", ["rows", "rows.txt", "rows.gz", "csv"])
def test_an_ending_that_says_nothing(tmp_path, name):
    said = r"train='.*' must end in \.csv, \.tsv, \.jsonl, .* unless config\.data\.format does"
    with pytest.raises(UserError, match=said):
        records(tmp_path / name)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_what_is_wrong_without_a_header(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content(kind, header=False))
    with pytest.raises(UserError, match=r"has no column 'text'; its columns: '0', '1'$"):
        cells(records(path, header=False))
    with pytest.raises(UserError, match=r"has no column '2'; its columns: '0', '1'$"):
        cells(records(path, ("0", "2"), header=False))
    path.write_bytes(
        content(kind, header=False) + f"one{TABLES[kind]}two{TABLES[kind]}x\n".encode()
    )
    with pytest.raises(UserError, match=r"row 4 \(line 4\): 3 cells under 2 columns"):
        cells(records(path, ("0", "1"), header=False))
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"has no column '0'; its columns: none$"):
        cells(records(path, ("0", "1"), header=False))
    path.write_bytes(b"\n\n" + content(kind, header=False))
    assert cells(records(path, ("1", "0"), header=False)) == [row[::-1] for row in FEW]


def test_equal_cells_of_a_first_row_are_no_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"good,good\nx,y\n")
    with pytest.raises(UserError, match="has more than one column 'good'"):
        cells(records(path, ("good", "good")))
    assert cells(records(path, ("0", "1"), header=False)) == [("good", "good"), ("x", "y")]


def test_a_run_on_files_without_a_header(tmp_path):
    for name, rows in {"train": ROWS, "test": [(f"{t} .", v) for t, v in ROWS[:20]]}.items():
        (tmp_path / f"{name}.dat").write_bytes(content("tsv", rows, header=False))
    data = config.Data(
        source="files",
        data_dir=str(tmp_path),
        train="train.dat",
        test="test.dat",
        format="tsv",
        header=False,
    )
    source = opened(data, text="0", label="1")
    assert source.facts == {"labels": ["bad", "good"]}
    assert [row["text"] for row in source.rows("test")] == [f"{text} ." for text, _ in ROWS[:20]]
    data.train = str(tmp_path / "train.dat")  # a whole path stays as it is
    assert opened(data, text="0", label="1").fingerprint("train") == source.fingerprint("train")


def test_the_fingerprint_is_of_how_a_file_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(content("csv"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content("csv")))
    base = records(path).fingerprint
    assert records(path, format="csv").fingerprint == base
    assert records(tmp_path / "b.csv.gz").fingerprint == base
    others = [
        records(path, header=False).fingerprint,
        records(path, format="tsv").fingerprint,
        records(path, format="jsonl").fingerprint,
        records(path, quoting="none").fingerprint,
    ]
    assert len({base, *others}) == 5


# Tasks of other kinds


@dataclass
class Tagging(Task):
    """Words with their tags."""

    words: str = settings.column(WORDS, "words")
    tags: str = settings.column(TAGS, "tags")


@dataclass
class Scoring(Task):
    """Texts with numbers and several labels."""

    text: str = settings.column("text", "text")
    score: str = settings.column(NUMBER, "score")
    topics: str = settings.column(LABELS)


CONLL = b"EU X B-ORG\nrejects X O\n\nPeter X B-PER\n"
SENTENCES = [
    {"words": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
    {"words": ["Peter"], "tags": ["B-PER"]},
]


def source_of(tmp_path, task: Task, name: str, held: bytes, **fields) -> sources.Source:
    """A source of the same rows thrice."""
    paths = {}
    for i, split in enumerate(("train", "validation", "test")):
        paths[split] = name.replace("*", split)
        more = b"\n" * i  # not the same file
        whole = held + more
        path = tmp_path / paths[split]
        path.write_bytes(gzip.compress(whole) if name.endswith(".gz") else whole)
    data = config.Data(source="files", data_dir=str(tmp_path), **paths, **fields)
    return sources.open_source(data, task)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("name", ["*.conll", "*.txt", "*.iob", "*.bio", "*"])
def test_columns_of_words(tmp_path, name, packed):
    """A .txt file is one of columns to a task of words; a name without an ending is told."""
    told = {"format": "columns"} if name == "*" else {}
    source = source_of(tmp_path, Tagging("0", "-1"), f"{name}{packed}", CONLL, **told)
    assert list(source.rows("train")) == SENTENCES
    assert [row.where[-5:] for row in source.rows("test")] == ["row 1", "row 2"]


def test_words_in_json(tmp_path):
    held = "".join(json.dumps(row) + "\n" for row in SENTENCES).encode()
    source = source_of(tmp_path, Tagging(), "*.jsonl", held)
    assert list(source.rows("train")) == SENTENCES


def test_what_columns_of_words_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.task\.words='words': file .*columns without nam"):
        source_of(tmp_path, Tagging(), "*.conll", CONLL)
    with pytest.raises(UserError, match="line 1: 3 columns, 0 and 3 are asked for"):
        source_of(tmp_path, Tagging("0", "3"), "*.conll", CONLL)
    with pytest.raises(UserError, match="row 1: 'words' must be a list of words, is 'a b': in CSV"):
        source_of(tmp_path, Tagging(), "*.csv", b"words,tags\na b,O O\n")
    with pytest.raises(UserError, match="row 1: '0' holds an empty word"):
        source_of(tmp_path, Tagging("0", "1"), "*.conll", b"\tO\n")
    with pytest.raises(UserError, match="row 1: the tag is empty"):
        source_of(tmp_path, Tagging("0", "1"), "*.conll", b"a\t\n")


def test_numbers_in_tables_and_in_json(tmp_path):
    source = source_of(tmp_path, Scoring(), "*.csv", b"score,text\n2.5,a\n 3 ,b\n")
    assert list(source.rows("train")) == [{"text": "a", "score": 2.5}, {"text": "b", "score": 3.0}]
    for cell in ("", "1_000", "nan", "two"):
        with pytest.raises(UserError, match="row 1: 'score' must be a finite number, is"):
            source_of(tmp_path, Scoring(), "*.csv", f"score,text\n{cell},a\n".encode())
    held = b'{"text": "a", "score": 4, "topics": [1, 2]}\n'
    source = source_of(tmp_path, Scoring(topics="topics"), "*.jsonl", held)
    assert list(source.rows("test")) == [{"text": "a", "score": 4.0, "topics": ["1", "2"]}]
    with pytest.raises(UserError, match="row 1: 'score' must be a finite number, is '4'"):
        source_of(tmp_path, Scoring(), "*.jsonl", b'{"text": "a", "score": "4"}\n')


@pytest.mark.parametrize(
    "cells",
    [
        ['"x"', "1"],
        ["1", '"1"'],
        ["1", "1", '"1"'],
    ],
)
def test_labels_of_two_types_are_refused(tmp_path, cells):
    """1 and "1" would be one class."""
    held = "".join(f'{{"text": "a", "label": {cell}}}\n' for cell in cells).encode()
    said = rf"row {len(cells)}: 'label' is a (text|number), .*, and in row 1 a (text|number): write"
    with pytest.raises(UserError, match=said):
        source_of(tmp_path, Classification(), "*.jsonl", held)
    held = b'{"text": "a", "score": 4, "topics": ["x", 2]}\n'
    with pytest.raises(UserError, match="row 1: 'topics' is a number, 2, and in row 1 a text"):
        source_of(tmp_path, Scoring(topics="topics"), "*.jsonl", held)
