"""Column files: blanks, tabs, document marks, and lines that do not fit."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer.config import Data
from trainer.data import column_files
from trainer.data.column_files import sentences
from trainer.data.columns import WORDS, Column
from trainer.data.files import FileRecords
from trainer.data.rows import bare_lines
from trainer.errors import UserError

CONLL = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O

Peter NNP I-NP I-PER
-DOCSTART- -X-
1996-08-22 CD I-NP O"""


def read(text: str, columns: Sequence[int] = (0, -1)) -> list:
    lines = bare_lines(io.BytesIO(text.encode()), "file a")
    return list(sentences(lines, columns, "file a"))


def test_sentences_and_document_marks():
    assert read(CONLL) == [
        [["EU", "rejects"], ["I-ORG", "O"]],
        [["Peter"], ["I-PER"]],
        [["1996-08-22"], ["O"]],
    ]


def test_tabs_line_ends_and_which_columns():
    assert read("a\tO\r\n\r\n\r\nb c\tB-X\r\n") == [[["a"], ["O"]], [["b c"], ["B-X"]]]
    assert read("O  B-X   a\n", (2, 1)) == [[["a"], ["B-X"]]]
    assert read("") == read("\n \n\t\n") == []


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("a\n", (0, -1), "line 1: 1 columns, 0 and -1 are"),
        ("a O\nb\n", (0, -1), "line 2: 1 columns, 0 and -1 are"),
        ("a O\n", (0, 3), "line 1: 2 columns, 0 and 3 are"),
        ("a O\n", (0, -3), "line 1: 2 columns, 0 and -3 are"),
        ("a\n\nb O\n", (1,), "line 1: 1 columns, 1 are"),
    ],
)
def test_a_line_without_its_columns(text, columns, said):
    with pytest.raises(UserError, match=f"^file a, {said} asked for: an empty line ends a sen"):
        read(text, columns)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "EU B-ORG\nNew York B-LOC\n",
            "line 2: 3 columns, the lines before have 2: mend it .blanks",
        ),
        (
            "# id O\nEU B-ORG\n",
            "line 2: 2 columns, the lines before have 3: mend it .blanks",
        ),
        (
            "EU\tB-ORG\nNew York\tx\tB-LOC\n",
            "line 2: 3 columns, the lines before have 2",
        ),
        ("EU\tB-ORG\nYork B-LOC\n", "line 2: 1 columns, 0 and -1 are asked for"),
        ("EU B-ORG\nYork\tB-LOC\n", "line 2: 1 columns, 0 and -1 are asked for"),
        ("EU B-ORG\rrejects O\r\rPeter B-PER\n", "line 1: a carriage return inside the line"),
        ("a O\nGerman\rcall X B-MISC\n", "line 2: a carriage return inside the line"),
    ],
)
def test_words_are_neither_lost_nor_merged(text, said):
    with pytest.raises(UserError, match=f"^file a, {said}"):
        read(text)


def test_another_sentence_may_have_other_columns():
    """As in CoNLL-2009 and 2012: a column for each predicate."""
    found = read("EU B-ORG\nrejects O x\n\nPeter B-PER x y\n".replace("G\n", "G x\n"), (0, 1))
    assert found == [[["EU", "rejects"], ["B-ORG", "O"]], [["Peter"], ["B-PER"]]]


def test_a_comment_is_named_as_what_it_may_be():
    with pytest.raises(UserError, match=r"line 1: 4 columns, 0 and 6 are .*comments are no words"):
        read("# sent_id = 1\n1 a b c d e f\n", (0, 6))


def test_blanks_in_cells_parted_by_tabs():
    assert read("EU\tB-ORG\nNew York\tB-LOC\n") == [[["EU", "New York"], ["B-ORG", "B-LOC"]]]


def test_one_column_named_twice():
    with pytest.raises(UserError, match="line 1: of 4 columns 0 and -4 are the same: name anoth"):
        read(CONLL.split("\n\n")[1], (0, -4))


def test_one_column_of_words_alone():
    """As a file to predict has it."""
    assert read("a\nb\n\nc\n", (0,)) == [[["a", "b"]], [["c"]]]
    assert read("a x O\n", (2, 0, 1)) == [[["O"], ["a"], ["x"]]]


def test_a_sentence_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(column_files, "MAX_ITEMS", 3)
    assert read("a O\n" * 3) == [[["a"] * 3, ["O"] * 3]]
    with pytest.raises(UserError, match="file a, line 4: a sentence of over 3 words: an empty"):
        read("a O\n" * 4)


def test_the_endings_of_a_file_of_words_are_named():
    columns = [Column("words", "0", WORDS)]
    said = r"must end in \.csv, \.tsv, \.jsonl, \.parquet, \.txt, \.conll, \.iob, \.bio, or in one"
    with pytest.raises(UserError, match=said):
        FileRecords("train", Path("a.xml"), columns, Data())
