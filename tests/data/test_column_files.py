"""Column files: blanks, tabs, document marks, and lines that do not fit."""

import pytest

from trainer.data.column_files import Columns, sentences
from trainer.errors import UserError

CONLL = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O

Peter NNP I-NP I-PER
-DOCSTART- -X-
1996-08-22 CD I-NP O"""


def read(text: str, columns: Columns = Columns()) -> list:  # noqa: B008 (it is a tuple)
    return list(sentences(iter(text.splitlines(keepends=True)), columns, "file a"))


def test_sentences_and_document_marks():
    assert read(CONLL) == [
        (3, ["EU", "rejects"], ["I-ORG", "O"]),
        (6, ["Peter"], ["I-PER"]),
        (8, ["1996-08-22"], ["O"]),
    ]


def test_tabs_line_ends_and_which_columns():
    assert read("a\tO\r\n\r\n\r\nb c\tB-X\r\n") == [(1, ["a"], ["O"]), (4, ["b c"], ["B-X"])]
    assert read("O  B-X   a\n", Columns(word=2, tag=1)) == [(1, ["a"], ["B-X"])]
    assert read("") == read("\n \n\t\n") == []


@pytest.mark.parametrize(
    ("text", "columns"), [("a\n", Columns()), ("a O\nb\n", Columns()), ("a O\n", Columns(0, 3))]
)
def test_a_line_without_its_columns(text, columns):
    with pytest.raises(UserError, match=r"file a, line \d: \d columns, the word is in column 0"):
        read(text, columns)
