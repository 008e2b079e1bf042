"""Tagged words in column files, as the shared tasks of CoNLL have them.

A line holds a word and what is said of it, in columns that tabs part, or blanks where the first
line with a word has no tab; an empty line ends a sentence. All lines have as many columns; where
columns are counted from the start, those of another sentence may have more or fewer. Lines whose
first cell is "-DOCSTART-" part documents and hold no word.
"""

from collections.abc import Iterator, Sequence

from trainer.data.columns import MAX_ITEMS
from trainer.errors import UserError

DOCUMENT = "-DOCSTART-"


def sentences(
    lines: Iterator[str], columns: Sequence[int], title: str
) -> Iterator[list[list[str]]]:
    """The sentences of a file that have a word: for each of `columns`, its cells.

    Args:
      lines: without their ends.
      columns: places in a line, from 0; negative ones count from the end.
      title: what to call the file in a message.

    Raises:
      UserError: a line that has not these columns, or not as many as others.
    """
    made: list[list[str]] = [[] for _ in columns]
    tabs: bool | None = None  # whether they part columns, as in the first line with a word
    width = 0  # columns of the lines before
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t") if "\t" in line else line.split(" ")
        if not line.strip() or cells[0] == DOCUMENT:
            if made[0]:
                yield made
            made = [[] for _ in columns]
            width = width if min(columns) < 0 else 0
            continue
        tabs = "\t" in line if tabs is None else tabs
        hint = f"({'tabs' if tabs else 'blanks'} part columns; comments are no words)"
        cells = line.split("\t") if tabs else [cell for cell in line.split(" ") if cell]
        there = all(-len(cells) <= at < len(cells) for at in columns)
        if not there or len(cells) < len(columns):
            raise UserError(
                f"{title}, line {number}: {len(cells)} columns, {_listed(columns)} are asked for:"
                f" an empty line ends a sentence {hint}"
            )
        if len({at % len(cells) for at in columns}) < len(columns):
            raise UserError(
                f"{title}, line {number}: of {len(cells)} columns {_listed(columns)} are the same:"
                " name another one"
            )
        width = width or len(cells)
        if len(cells) != width:
            raise UserError(
                f"{title}, line {number}: {len(cells)} columns, the lines before have {width}:"
                f" mend it {hint}"
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


def place(name: str, setting: str, title: str) -> int:
    """The place of a column in a line: its name is a number.

    Args:
      name: of the column.
      setting: the field or flag that gives the name, for a message.
      title: what to call the file there.

    Raises:
      UserError: it is none.
    """
    try:
        return int(name)
    except ValueError as error:
        raise UserError(
            f"{setting}={name!r}: {title} has columns without names: give the"
            " column's number, from 0, or from the end, -1"
        ) from error


def _listed(columns: Sequence[int]) -> str:
    return " and ".join(map(str, columns))
