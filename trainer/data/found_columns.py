"""The columns of a file that a task does not name: taken where there is no doubt."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from trainer.data.columns import KINDS, LABEL, LABELS, LISTS, NUMBER, TAGS, TEXT, WORDS, Column
from trainer.data.rows import listed
from trainer.errors import UserError, shown

LOOKED_AT = 1_000  # rows
# Names that say what stands below them; the first one is taken even beside others.
_CALLED = {
    TEXT: (
        *("text", "review", "sentence", "content", "body", "message", "comment", "ticket"),
        *("description", "document", "tweet", "question", "utterance", "abstract", "article"),
    ),
    LABEL: (
        *("label", "class", "category", "sentiment", "target", "intent", "topic", "department"),
        *("queue", "labels", "y"),
    ),
    LABELS: ("labels", "label", "classes", "categories", "topics", "tags"),
    NUMBER: ("score", "rating", "stars", "value", "similarity", "target", "label", "price"),
    WORDS: ("tokens", "words"),
    TAGS: ("tags", "ner_tags", "labels"),
}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.I | re.ASCII)


def find(
    wanted: Sequence[Column],
    taken: Sequence[Column],
    names: Sequence[str],
    look: Callable[[], Sequence[Sequence[Any]]],
    title: str,
) -> dict[str, str]:
    """The names of the columns that are wanted, by their keys.

    A column is taken whose name says what it holds, or else the only one whose cells can be of
    that kind.

    Args:
      wanted: columns without a name.
      taken: other columns of the task, which have names.
      names: of all columns of the file.
      look: reads the cells of its first rows, in the order of `names`, if names do not tell.
      title: of the file, for a message.

    Raises:
      UserError: there is none, or more than one that may be meant.
    """
    given = {column.name: column for column in taken}
    left = [name for name in names if name and name not in given]
    cells: dict[str, list[Any]] = {}
    found: dict[str, str] = {}
    fits: dict[str, list[str]] = {}
    for by_name in (True, False):
        for column in wanted:
            if column.key in found:
                continue
            if not by_name and not cells:
                rows = look()
                cells = {name: [row[i] for row in rows] for i, name in enumerate(names)}
            free = [name for name in left if name not in found.values()]
            called = _called(column, free)
            if by_name:
                fits[column.key] = called
            elif not called:
                fits[column.key] = [n for n in free if _may_be(column.kind, cells[n])]
            if len(fits[column.key]) == 1:
                (found[column.key],) = fits[column.key]
    for column in wanted:
        if column.key not in found:
            rest = [name for name in left if name not in found.values()]
            fit = fits[column.key]
            other = [given[n] for n in _called(column, [*given]) if n in names and not fit]
            only = rest if len(rest) == 1 and not other else []
            name = shown([*fit, *only][0], 40) if fit or only else "…"
            doubt = f"it may be {listed(fit)}; " if fit else ""
            if other:
                doubt = f"{other[0].name!r} is named already, as --{other[0].field}; "
            raise UserError(
                f"{title}: which of its columns holds {KINDS[column.kind]}? Name it:"
                f" --{column.field}={name} ({doubt}columns: {listed(names)})"
            )
    return found


def _called(column: Column, names: Sequence[str]) -> list[str]:
    known = (column.key, *_CALLED[column.kind])
    exact = [name for name in names if name.strip().lower() == known[0]]
    return exact or [name for name in names if name.strip().lower() in known]


def _may_be(kind: str, cells: Sequence[Any]) -> bool:
    """True if these cells look like those of such a column, and not of another."""
    given = [cell for cell in cells if cell not in ("", None)]
    if not given:
        return False
    if kind in LISTS:
        return all(isinstance(cell, list) for cell in given)
    if any(isinstance(cell, (list, dict)) for cell in given):
        return False
    texts = [str(cell) for cell in given]
    distinct, words = len(set(texts)), sum(len(text.split()) for text in texts) / len(texts)
    numbers = all(_NUMBER.fullmatch(text.strip()) for text in texts)
    if kind == NUMBER:
        return numbers
    if kind == TEXT:
        return not numbers and words >= 3 and distinct > len(texts) / 2
    return not numbers and words < 3 and 1 < distinct <= max(2, len(texts) / 5)
