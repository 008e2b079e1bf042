"""Texts of the rows of a set: bytes one after the other, which may lie in a mapped file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np


class Strings(Sequence[str]):
    """N texts.

    Args:
      content: uint8 [sum of lengths], UTF-8.
      offsets: int64 [N + 1], where each begins in it; one more for the end.
    """

    def __init__(self, content: np.ndarray, offsets: np.ndarray):
        self._content, self._offsets = content, offsets

    @classmethod
    def made(cls, texts: Sequence[str]) -> Strings:
        """The strings of some texts."""
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @staticmethod
    def names(name: str) -> tuple[str, str]:
        """Names of the two arrays of a column of texts: content and offsets."""
        return name, f"{name}.offsets"

    @classmethod
    def of_columns(cls, columns: Mapping[str, np.ndarray], name: str) -> Strings:
        """The inverse of `columns`."""
        return cls(*(columns[each] for each in cls.names(name)))

    def columns(self, name: str) -> dict[str, np.ndarray]:
        """The two arrays by name."""
        return dict(zip(self.names(name), (self._content, self._offsets), strict=True))

    def of_rows(self, rows: np.ndarray) -> Strings:
        """Texts of some rows, int [K]."""
        return self.made([self[row] for row in np.asarray(rows).tolist()])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        at = range(len(self))[at]  # of negative places too
        first, end = self._offsets[at], self._offsets[at + 1]
        return self._content[first:end].tobytes().decode(errors="replace")
