"""Predictions as JSON lines, of which an interrupted program has written the first ones whole."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Self

from trainer.errors import UserError
from trainer.prediction.inputs import Text

_BLOCK = 2**20  # bytes
_FIELDS = {"id", "label", "probabilities"}
_BEGIN = b'{"id": '  # of every line


class Output:
    """A file of JSON lines, one a text.

    Attributes:
      done: how many lines it has.
    """

    def __init__(self, path: Path, resume: bool):
        """Opens a new file, or goes on after the last whole line of one; a half one is removed.

        Raises:
          UserError: it is there already and shall not be resumed, is no file of predictions, or
            cannot be written.
        """
        self._path, self.done = path, 0
        self._last_id: int | str | None = None
        try:
            if path.exists() and not resume:
                raise UserError(
                    f"--output={path} is there already: choose another file, or go on with --resume"
                )
            self._file = path.open("ab+")
            if resume:
                self._find_end()
        except OSError as error:
            raise UserError(f"cannot write --output={path}: {error.strerror}") from error

    def _find_end(self) -> None:
        """Counts the lines in blocks: the file may be larger than memory."""
        self._file.seek(0)
        start = end = position = 0  # of the last whole line, and where the next block begins
        while block := self._file.read(_BLOCK):
            self.done += block.count(b"\n")
            last = block.rfind(b"\n")
            if last >= 0:
                before = block.rfind(b"\n", 0, last)
                start, end = position + before + 1 if before >= 0 else end, position + last + 1
            position += len(block)
        self._file.seek(start)
        last_line = self._file.read(end - start)
        half_line = self._file.read(len(_BEGIN))
        ours = _BEGIN.startswith(half_line)
        if last_line:
            try:
                fields = json.loads(last_line)
                ours = ours and fields.keys() >= _FIELDS
                self._last_id = fields["id"]
            except (ValueError, AttributeError, LookupError):
                ours = False
        if not ours:  # nothing of another file is removed
            self._file.close()
            raise UserError(f"--output={self._path} holds no predictions: choose another file")
        self._file.truncate(end)

    def check(self, text: Text) -> None:
        """Refuses to go on with other texts: the last line must be that of `text`.

        Raises:
          UserError: it is not.
        """
        if self._last_id != text.id:
            raise UserError(
                f"--output={self._path}, line {self.done}, has id {self._last_id!r}, the texts have"
                f" {text.id!r} there: --resume needs the same texts as before"
            )

    def write(self, lines: Sequence[str]) -> None:
        """Appends lines; they have reached the operating system when it returns."""
        write(self._file, lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Forces what was written onto the disk."""
        os.fsync(self._file.fileno())
        self._file.close()


class Pipe:
    """Standard output."""

    done = 0

    def check(self, text: Text) -> None:
        """Never asked: nothing is done before."""

    def write(self, lines: Sequence[str]) -> None:
        """Appends lines; they are with the reader, or on their way, when it returns."""
        write(sys.stdout.buffer, lines)


def write(file: BinaryIO, lines: Sequence[str]) -> None:
    """Writes lines to a file or a pipe, whole ones only."""
    file.write("".join(f"{line}\n" for line in lines).encode())
    file.flush()
