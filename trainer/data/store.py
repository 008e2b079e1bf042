"""Folders that are built once, whole or not at all, and checked when they are opened."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import filelock
from absl import logging

from trainer.errors import UserError
from trainer.storage import fields, strict_json
from trainer.storage.disk import seal_of, sha256_of, sync

META = "meta.json"


def key_of(*what: object) -> str:
    """A short name for a folder from everything that makes its content (values JSON can hold)."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


def open_or_build(
    cache_dir: Path, name: str, what: str, build: Callable[[Path], dict[str, object]]
) -> tuple[Path, dict]:
    """The folder `cache_dir/name`, built where it is missing or damaged, and its notes.

    Many processes may ask at once: one builds in a folder of its own and renames it, the others
    wait, and then check it side by side. A build killed at any instant leaves nothing that is
    taken for whole.

    Args:
      what: how to call it in the log, such as "token cache of train".
      build: writes the files into the empty folder it is given; returns notes to keep with them.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = cache_dir / name
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        while True:
            seen, damage = _identity(folder), ""
            if seen:
                meta, damage = _read(folder)
                if not damage:
                    return folder, meta["notes"]
            with filelock.FileLock(cache_dir / f"{name}.lock"):
                list(cache_dir.iterdir())  # else NFS may go on showing what was here before
                if _identity(folder) != seen:  # another process built it meanwhile
                    continue
                for left in cache_dir.glob(f"{name}.part-*"):  # of a build that was killed
                    shutil.rmtree(left)
                if damage:
                    text = "%s in %s is damaged (%s): building it again"
                    logging.warning(text, what, folder, damage)
                    shutil.rmtree(folder)
                return folder, _build(folder, build)
    except OSError as error:
        raise UserError(
            f"cannot write the {what} in {cache_dir}: {error.strerror}: give another --cache_dir"
        ) from error


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tells a folder from one that takes its name later; None where there is none."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _build(folder: Path, build: Callable[[Path], dict[str, object]]) -> dict:
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        notes = build(part)
        sums = {}
        for path in sorted(part.iterdir()):
            sums[path.name] = sha256_of(path)
            sync(path)
        meta = {"files": sums, "notes": notes}
        text = json.dumps({**meta, "sum": seal_of(meta)}, indent=1)
        (part / META).write_text(text, encoding="utf-8")
        sync(part / META)
        sync(part)
        part.chmod(0o755)  # mkdtemp's folder is for its owner only
        part.rename(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return notes


def _read(folder: Path) -> tuple[dict, str]:
    """The notes in the folder, and their fault: empty where there is none."""
    try:
        meta = strict_json.read(folder / META)
        if meta.pop("sum", None) != seal_of(meta):
            return {}, f"{META} was changed"
        fields.mapping(meta, "notes")
        for name, expected in fields.mapping(meta, "files").items():
            if sha256_of(folder / name) != expected:
                return {}, f"{name} was changed"
    except (OSError, ValueError) as error:
        return {}, f"{type(error).__name__}: {error}"
    return meta, ""
