"""Predictions as JSON lines, of which an interrupted program has written the first ones whole."""

import contextlib
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from trainer.errors import UserError
from trainer.storage import strict_json

_BLOCK = 2**20  # bytes
_BEGIN = b'{"id": '  # of every line


class Output:
    """A file of JSON lines, one a text.

    Attributes:
      done: how many lines it has.
    """

    def __init__(self, path: Path, resume: bool, fields: Collection[str]):
        """Opens a new file, or goes on after the last whole line of one; a half one is removed.

        Args:
          path: of the file.
          resume: whether there may be one.
          fields: what each line has besides "id".

        Raises:
          UserError: it is there already and shall not be resumed, is no file of predictions, or
            cannot be written.
        """
        self._path, self.done, self._fields = path, 0, {"id", *fields}
        self._is_new = not path.exists()
        self._last_line = b""
        with _told(f"--output={path}"):
            if not self._is_new and not resume:
                raise UserError(
                    f"--output={path} is there already: choose another file, or go on with --resume"
                )
            self._file = path.open("ab+")
            if resume:
                self._find_end()

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
        ours = end - start <= strict_json.MAX_BYTES
        if ours:
            self._last_line = self._file.read(end - start)
            ours = _BEGIN.startswith(self._file.read(len(_BEGIN)))
        if ours and self._last_line:
            try:
                ours = strict_json.as_object(self._last_line).keys() >= self._fields
            except strict_json.InvalidJson:
                ours = False
        if not ours:  # nothing of another file is removed
            self._file.close()
            raise UserError(f"--output={self._path} holds no predictions: choose another file")
        self._file.truncate(end)

    def check(self, line: str) -> None:
        """Refuses to go on with other texts or another model: `line` must be the last one.

        Raises:
          UserError: it is not.
        """
        if self._last_line != f"{line}\n".encode():
            raise UserError(
                f"--output={self._path}, line {self.done}, is not what would stand there now:"
                " --resume needs the same texts, model, flags and kind of machine as before"
            )

    def write(self, line: str) -> None:
        """Appends a line; it has reached the operating system when it returns.

        Raises:
          UserError: the disk is full, say.
        """
        with _told(f"--output={self._path}"):
            _write(self._file, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Forces what was written onto the disk; a new file without a line goes after an error."""
        with _told(f"--output={self._path}"), self._file:
            os.fsync(self._file.fileno())
            if error[0] and self._is_new and not self._file.tell():
                self._path.unlink()


class Pipe:
    """Standard output."""

    done = 0

    def check(self, line: str) -> None:
        """Never asked: nothing is done before."""

    def write(self, line: str) -> None:
        """Appends a line; it is with the reader, or on its way, when it returns.

        Raises:
          BrokenPipeError: the reader went away.
          UserError: the disk is full, say.
        """
        with _told("standard output"):
            try:
                _write(sys.stdout.buffer, line)
            except OSError:  # what is left would fail once more when Python ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Makes a UserError of what cannot be written, but for a reader that went away."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot write {name}: {error.strerror}") from error


def _write(file: BinaryIO, line: str) -> None:
    file.write(f"{line}\n".encode())
    file.flush()
