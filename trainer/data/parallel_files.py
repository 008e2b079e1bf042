"""Parallel text: a file of lines for each column, line n of all of them being row n.

`train.en` and `train.de` hold the columns "en" and "de" of the set "train". A line is a cell: an
empty one too, and characters such as U+2028 or U+0085 end none.
"""

import contextlib
import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.data.columns import Column, LabelTypes, Row, value_of
from trainer.data.files import WHOLE, OfFiles, Share, opened, regular
from trainer.data.rows import Format, bare_lines, sha256
from trainer.errors import UserError


class ParallelFiles(OfFiles):
    """Rows of several files of lines.

    Args:
      paths: of the file of each column; each may be packed by gzip.
      columns: those that are read, in the order of the paths.
      share: where the rows that are read begin and end, in percent of all.
    """

    def __init__(
        self, paths: Sequence[Path], columns: Sequence[Column], share: tuple[int, int] = WHOLE
    ):
        self._paths, self.columns, self._share = paths, columns, share
        several = " and ".join([str(paths[0]), *(path.name for path in paths[1:])])
        self._whole = self.title = f"file{'s' * (len(paths) > 1)} {several}"
        self.title += "" if share == WHOLE else f" [{share[0]}%:{share[1]}%]"
        self.remarks = ""
        for path in paths:
            regular(path, f"file {path}")

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of the unpacked bytes of all files; their names do not count."""
        what = f"parallel {self._contents} {self._share}"
        return hashlib.sha256(what.encode()).hexdigest()

    @functools.cached_property
    def _contents(self) -> list[str]:
        """sha256 in hex of the bytes of each file, unpacked."""
        with contextlib.ExitStack() as stack:
            return [sha256(stack.enter_context(_open(p)), f"file {p}") for p in self._paths]

    @property
    def shares(self) -> list[Share]:
        return [Share(content, *self._share) for content in self._contents]

    def look(self) -> None:
        """Reads the first row. Raises UserError: a file cannot be read, or a cell is wrong."""
        next(self._rows(0, None), None)

    def rows(self) -> Iterator[Row]:
        """Raises UserError, with file and line, for what cannot be read."""
        if self._share == WHOLE:
            return self._rows(0, None)
        first, end = (share * self._size // 100 for share in self._share)
        return self._rows(first, end)

    @functools.cached_property
    def _size(self) -> int:
        """The number of rows."""
        return sum(1 for _ in self._cells())

    def _rows(self, first: int, end: int | None) -> Iterator[Row]:
        """The rows from `first` to before `end`, or to the last."""
        types = LabelTypes()
        for number, cells in itertools.islice(enumerate(self._cells()), first, end):
            where = f"{self.title}, row {number + 1}"
            values = {}
            for column, cell in zip(self.columns, cells, strict=True):
                values[column.key] = value_of(column, cell, where, typed=False)
                types.check(column, cell, number + 1, self.title)
            yield Row(values, number, self.title)

    def _cells(self) -> Iterator[tuple[str, ...]]:
        """The lines of each row."""
        with contextlib.ExitStack() as stack:
            files = [bare_lines(stack.enter_context(_open(p)), f"file {p}") for p in self._paths]
            for number, cells in enumerate(itertools.zip_longest(*files)):
                if None in cells:
                    counts = [
                        number + (cell is not None) + sum(1 for _ in file)
                        for cell, file in zip(cells, files, strict=True)
                    ]
                    each = zip(self._paths, counts, strict=True)
                    said = ", ".join(f"{path.name} {count:,}" for path, count in each)
                    raise UserError(
                        f"{self._whole} must have as many lines, one a row: {said}: mend the files,"
                        " or fetch them again"
                    )
                yield cells


def _open(path: Path) -> "contextlib.AbstractContextManager":
    """The content of a file, unpacked."""
    return opened(path, Format("text", packed=path.suffix.lower() == ".gz"), f"file {path}")
