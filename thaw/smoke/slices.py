"""A few rows that stand for a whole set: spread over it, with some of every label."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from trainer.data.columns import LABEL, LABELS, TAGS, Column, Row


def some_of(
    rows: Iterable[Row], columns: Sequence[Column], least: int, most: int | None, over: int = 0
) -> tuple[list[Row], int]:
    """Some rows of a set, in their order, always the same ones: the first with each label, others.

    Args:
      rows: all rows of the set; they are read once.
      columns: that the rows have.
      least: rows to take, where there are as many.
      most: of the rows that bring a label; None: all of them.
      over: where `least` is not enough for them, as many rows more as a multiple of this; 0: just
        enough.

    Returns:
      The rows, and how many there are in the set.
    """
    keys = [column.key for column in columns if column.kind in (LABEL, LABELS, TAGS)]
    seen: set[tuple[str, str]] = set()
    kept: dict[int, Row] = {}
    spread: list[tuple[int, Row]] = []
    every, total = 1, 0
    for number, row in enumerate(rows):
        labels = {(key, label) for key in keys for label in _labels(row[key])}
        if (most is None or len(kept) < most) and labels - seen:
            kept[number] = row
            seen |= labels
        elif number % every == 0:
            spread.append((number, row))
            if len(spread) > 4 * least:
                spread, every = spread[::2], 2 * every
        total = number + 1
    wanted = least
    if len(kept) > least:
        wanted = least + -(-(len(kept) - least) // over) * over if over else len(kept)
    more = min(wanted - len(kept), len(spread))
    kept |= dict(spread[i * len(spread) // more] for i in range(more))
    return [kept[number] for number in sorted(kept)], total


def _labels(cell: object) -> list[str]:
    return cell if isinstance(cell, list) else [str(cell)]


def write(rows: Iterable[Row], columns: Sequence[Column], path: Path) -> None:
    """Writes rows as JSON Lines, under the names of their columns."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            cells = {column.name: row[column.key] for column in columns}
            file.write(json.dumps(cells, ensure_ascii=False) + "\n")
