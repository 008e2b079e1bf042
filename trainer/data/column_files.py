"""Tagged words in column files, as the shared tasks of CoNLL have them.

A line holds a word and what is said of it, in columns that tabs part, or blanks where the line has
no tab; an empty line ends a sentence. Lines whose first cell is "-DOCSTART-" part documents and
hold no word.
"""

from collections.abc import Iterator, Sequence

from trainer.data.columns import MAX_ITEMS, Column
from trainer.errors import UserError

DOCUMENT = "-DOCSTART-"


def sentences(
    lines: Iterator[str], columns: Sequence[int], title: str
) -> Iterator[list[list[str]]]:
    """The sentences of a file that have a word: for each of `columns`, its cells.

    Args:
      lines: each with its end.
      columns: places in a line, from 0; negative ones count from the end.
      title: what to call the file in a message.

    Raises:
      UserError: a line that has not these columns.
    """
    made: list[list[str]] = [[] for _ in columns]
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        cells = text.split("\t") if "\t" in text else text.split(" ")
        if not text.strip() or cells[0] == DOCUMENT:
            if made[0]:
                yield made
            made = [[] for _ in columns]
            continue
        cells = [cell for cell in cells if cell] if "\t" not in text else cells
        there = all(-len(cells) <= at < len(cells) for at in columns)
        if not there or len({at % len(cells) for at in columns}) < len(columns):
            raise UserError(
                f"{title}, line {number}: {len(cells)} columns, {_listed(columns)} are asked for:"
                " an empty line ends a sentence"
            )
        for held, at in zip(made, columns, strict=True):
            held.append(cells[at].strip())
        if len(made[0]) > MAX_ITEMS:
            raise UserError(
                f"{title}, line {number}: a sentence of over {MAX_ITEMS:,} words: an empty line"
                " ends one"
            )
    if made[0]:
        yield made


def place(column: Column, title: str) -> int:
    """The place of a column in a line: its name is a number.

    Raises:
      UserError: it is none.
    """
    try:
        return int(column.name)
    except ValueError as error:
        raise UserError(
            f"{column.field}={column.name!r}: {title} has columns without names: give the"
            " column's number, from 0, or from the end, -1"
        ) from error


def _listed(columns: Sequence[int]) -> str:
    return " and ".join(map(str, columns))
