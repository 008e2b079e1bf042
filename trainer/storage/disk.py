"""Files that are whole or not there at all, whatever ends the process or the machine."""

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any


def sha256_of(path: Path) -> str:
    """sha256 in hex of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_of(values: dict[str, Any]) -> str:
    """sha256 in hex of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Makes a file's content, or the names in a folder, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_place(path: Path) -> None:
    """Raises OSError where something lies that `replace` cannot replace: a folder, a device."""
    if path.exists() and not (path.is_symlink() or path.is_file()):
        raise OSError(errno.EEXIST, "it is there, and no file", str(path))


def replace(path: Path, content: str) -> None:
    """Writes `content` to `path` so that it holds the old or the new text, never a part of it."""
    replace_bytes(path, content.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Replaces a file by bytes. Where that fails, nothing but the old file is left."""
    if path.is_dir():  # which may have no name at all, as "." has none
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    check_place(path)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:  # never through a link that someone left there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
