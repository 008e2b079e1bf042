"""Folders that are built once, whole or not at all, and checked when they are opened."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import filelock
from absl import logging

from trainer.errors import UserError

META = "meta.json"


def key_of(*what: object) -> str:
    """A short name for a folder from everything that makes its content (values JSON can hold)."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


def open_or_build(
    cache_dir: Path, name: str, what: str, build: Callable[[Path], dict[str, object]]
) -> tuple[Path, dict]:
    """The folder `cache_dir/name`, built where it is missing or damaged, and its notes.

    Two processes may ask at once: one builds in a folder of its own and renames it, the other
    waits and reads. A build killed at any instant leaves nothing that is taken for whole.

    Args:
      what: how to call it in the log, such as "token cache of train".
      build: writes the files into the empty folder it is given; returns notes to keep with them.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = cache_dir / name
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache_dir / f"{name}.lock"):
            for left in cache_dir.glob(f"{name}.part-*"):  # of a build that was killed
                shutil.rmtree(left)
            if folder.exists():
                meta, damage = _read(folder)
                if not damage:
                    return folder, meta["notes"]
                logging.warning("%s in %s is damaged (%s): building it again", what, folder, damage)
                shutil.rmtree(folder)
            return folder, _build(folder, build)
    except OSError as error:
        raise UserError(f"cannot write the {what} in {cache_dir}: {error.strerror}") from error


def _build(folder: Path, build: Callable[[Path], dict[str, object]]) -> dict:
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        notes = build(part)
        sums = {}
        for path in sorted(part.iterdir()):
            sums[path.name] = _sum(path)
            _sync(path)
        meta = {"files": sums, "notes": notes}
        text = json.dumps({**meta, "sum": _sum_of(meta)}, indent=1)
        (part / META).write_text(text, encoding="utf-8")
        _sync(part / META)
        _sync(part)
        part.chmod(0o755)  # mkdtemp's folder is for its owner only
        part.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return notes


def _read(folder: Path) -> tuple[dict, str]:
    """What is noted in the folder, and what is wrong with it: empty when nothing is."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta.pop("sum") != _sum_of(meta):
            return {}, f"{META} was changed"
        for name, expected in meta["files"].items():
            if _sum(folder / name) != expected:
                return {}, f"{name} was changed"
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return {}, f"{type(error).__name__}: {error}"
    return meta, ""


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum_of(meta: dict) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    """Makes a file, or the names in a folder, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
