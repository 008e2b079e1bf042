"""Tagged words in column files, as the shared tasks of CoNLL have them.

A line holds a word and what is said of it, in columns that tabs part, or blanks where the line has
no tab; an empty line ends a sentence. Lines that begin with "-DOCSTART-" part documents and hold no
word.
"""

from collections.abc import Iterator
from typing import NamedTuple

from trainer.errors import UserError

DOCUMENT = "-DOCSTART-"


class Columns(NamedTuple):
    """Places of a word and of its tag in a line, from 0; negative ones count from the end."""

    word: int = 0
    tag: int = -1


class Sentence(NamedTuple):
    """Words and their tags, as many of each, and the line of the first."""

    line: int
    words: list[str]
    tags: list[str]


def sentences(lines: Iterator[str], columns: Columns, title: str) -> Iterator[Sentence]:
    """The sentences of a file that have a word.

    Args:
      lines: each with its end.
      columns: which of a line's columns hold the word and its tag.
      title: what to call the file in a message.

    Raises:
      UserError: a line that has not these columns.
    """
    made = Sentence(1, [], [])
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        cells = text.split("\t") if "\t" in text else text.split(" ")
        if not text.strip() or cells[0] == DOCUMENT:
            if made.words:
                yield made
            made = Sentence(number + 1, [], [])
            continue
        cells = [cell for cell in cells if cell] if "\t" not in text else cells
        if not all(-len(cells) <= at < len(cells) for at in columns) or _same(columns, cells):
            raise UserError(
                f"{title}, line {number}: {len(cells)} columns, the word is in column"
                f" {columns.word} and the tag in {columns.tag}: an empty line ends a sentence"
            )
        made.words.append(cells[columns.word])
        made.tags.append(cells[columns.tag].strip())
    if made.words:
        yield made


def _same(columns: Columns, cells: list[str]) -> bool:
    return columns.word % len(cells) == columns.tag % len(cells)
