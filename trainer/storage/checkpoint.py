"""Checkpoints: whole or not at all, checked before they are trusted, with no clock inside.

A checkpoint is a folder `step-00000120` that holds a TensorFlow checkpoint (`state.*`) and a
`manifest.json` with the sha256 of every file, its own too. It is written under another name,
flushed to the disk and renamed: at any instant a folder of that name is complete. Equal runs give
equal bytes. A manifest is read as a stranger's: the files it names are of the checkpoint alone.
"""

import contextlib
import errno
import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.errors import UserError
from trainer.storage import fields, sealed
from trainer.storage.disk import sha256_of, sync
from trainer.storage.paths import without_globs

_NAME = re.compile(r"step-([0-9]{8,18})")
_PREFIX = "state"
_MANIFEST = "manifest.json"
_FILES = re.compile(rf"{_PREFIX}\.(index|data-[0-9]{{5}}-of-[0-9]{{5}})")


class DamagedCheckpoint(Exception):
    """A checkpoint whose files are not those that were written."""


class Store:
    """The checkpoints in one folder, `checkpoints/` or `best/`."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def steps(self) -> list[int]:
        """The steps of all checkpoints that are there, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """The folder of the checkpoint of `step`."""
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, variables: Mapping[str, tf.Variable], meta: dict[str, Any]) -> None:
        """Writes the checkpoint of `step`, or leaves everything as it was.

        Args:
          step: names the folder. One already there that is whole is kept: it is the same.
          variables: by name.
          meta: JSON values that belong with them.

        Raises:
          UserError: the disk is full or not writable.
        """
        with contextlib.suppress(DamagedCheckpoint):
            self.verify(step)
            return
        final = self.path(step)
        temporary = self.folder / f".{final.name}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            tf.train.Checkpoint(variables=_tree(variables)).write(str(temporary / _PREFIX))
            files = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
            manifest = {"step": step, "meta": meta, "sha256": files}
            sealed.write(temporary / _MANIFEST, manifest)
            for path in (*temporary.iterdir(), temporary):
                sync(path)
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
            sync(self.folder)
        except (OSError, tf.errors.OpError) as error:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary, ignore_errors=True)
            raise UserError(
                f"cannot save the checkpoint of step {step} in {self.folder}: {_reason(error)};"
                " earlier checkpoints are kept: make room there and run the same command again"
            ) from error

    def verify(self, step: int) -> dict[str, Any]:
        """The `meta` of a checkpoint whose files are all as they were written.

        Raises:
          DamagedCheckpoint: they are not.
        """
        folder = self.path(step)
        manifest = self._manifest(step)
        try:
            for name, digest in manifest["sha256"].items():
                if not (folder / name).is_file() or sha256_of(folder / name) != digest:
                    raise DamagedCheckpoint(f"{folder / name} is not what was written")
        except OSError as error:
            raise DamagedCheckpoint(f"{folder}: {error}") from error
        return manifest["meta"]

    def metas(self) -> list[dict[str, Any]]:
        """The `meta` of every checkpoint whose manifest is whole."""
        found = []
        for step in self.steps():
            with contextlib.suppress(DamagedCheckpoint):
                found.append(self._manifest(step)["meta"])
        return found

    def _manifest(self, step: int) -> dict[str, Any]:
        path = self.path(step) / _MANIFEST
        try:
            manifest = sealed.read(path)
            files = fields.mapping(manifest, "sha256")
            fields.mapping(manifest, "meta")
            if fields.integer(manifest, "step") != step:
                raise fields.Invalid(f"it is of step {manifest['step']}")
            if f"{_PREFIX}.index" not in files or not all(map(_FILES.fullmatch, files)):
                raise fields.Invalid("it does not name the files of a checkpoint")
            return manifest
        except (OSError, ValueError) as error:
            raise DamagedCheckpoint(f"{path}: {error}") from error

    def restore(self, step: int, variables: Mapping[str, tf.Variable]) -> None:
        """Reads values into `variables`; the checkpoint may hold more than these.

        Raises:
          UserError: one is missing there, has another shape, or is a weight that is not finite.
        """
        shapes = self.shapes(step)
        for name, variable in variables.items():
            if name not in shapes:
                raise UserError(f"{self.path(step)} holds no {name}: it is of another model")
            if shapes[name] != tuple(variable.shape):
                raise UserError(
                    f"{self.path(step)} holds {name} with shape {shapes[name]}, the model has"
                    f" {tuple(variable.shape)}"
                )
        checkpoint = tf.train.Checkpoint(variables=_tree(variables))
        with self._readable(step) as prefix:
            status = checkpoint.read(prefix)
            status.assert_existing_objects_matched().expect_partial()

    def restore_weights(self, step: int, variables: Mapping[str, tf.Variable]) -> None:
        """Restores weights to use: those of a run that goes on may be infinite.

        Raises:
          UserError: see `restore`; or one holds numbers that are not finite.
        """
        self.restore(step, variables)
        for name, variable in variables.items():
            if name.startswith("model/") and not _finite(variable):
                raise UserError(f"{self.path(step)}: {name} holds numbers that are not finite")

    @contextlib.contextmanager
    def _readable(self, step: int) -> Iterator[str]:
        """Gives the prefix of a checkpoint; whatever TensorFlow makes of its files is one line."""
        try:
            with without_globs(self.path(step)) as folder:
                yield str(folder / _PREFIX)
        except Exception as error:  # whole by its seal, but written by something else
            raise UserError(f"cannot read {self.path(step)}: {_reason(error)}") from error

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of everything that a checkpoint holds.

        Raises:
          UserError: it cannot be read, or its files are smaller than what it says it holds.
        """
        with self._readable(step) as prefix:
            reader = tf.train.load_checkpoint(prefix)
            found, kinds = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
            claimed = sum(math.prod(shape) * kinds[key].size for key, shape in found.items())
            parts = self.path(step).glob(f"{_PREFIX}.data-*")
            if claimed > (there := sum(path.stat().st_size for path in parts)):
                raise ValueError(f"its index names {claimed:,} bytes, its files have {there:,}")
        return {name: tuple(shape) for key, shape in found.items() if (name := _name_of(key))}

    def values(self, step: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Values of the named variables."""
        with self._readable(step) as prefix:
            reader = tf.train.load_checkpoint(prefix)
            return {name: reader.get_tensor(_key_of(name)) for name in names}

    def keep_only(self, steps: Iterable[int]) -> None:
        """Deletes all other checkpoints, and what an interrupted save left."""
        wanted = {self.path(step).name for step in steps}
        for entry in self.folder.iterdir() if self.folder.is_dir() else ():
            unfinished = entry.name.startswith(".step-")
            if unfinished or (_NAME.fullmatch(entry.name) and entry.name not in wanted):
                # Renamed first: a half-deleted folder must not look like a checkpoint.
                doomed = entry
                if not unfinished:
                    doomed = entry.with_name(f".{entry.name}.partial")
                    shutil.rmtree(doomed, ignore_errors=True)
                    entry.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)


def newest_whole(store: Store, say: Callable[[str], None]) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint that is whole, as (step, meta); None if there is none at all.

    Args:
      store: where to look.
      say: called with a line for each damaged one that is passed over.

    Raises:
      UserError: there are checkpoints, and all are damaged.
    """
    steps = store.steps()
    for step in reversed(steps):
        try:
            return step, store.verify(step)
        except DamagedCheckpoint as error:
            say(f"The checkpoint of step {step} is damaged ({error}): trying the one before")
    if steps:
        raise UserError(
            f"all checkpoints in {store.folder} are damaged: restore one from a backup, or start"
            " afresh in another --workdir"
        )
    return None


def _finite(variable: tf.Variable) -> bool:
    return not variable.dtype.is_floating or bool(tf.reduce_all(tf.math.is_finite(variable)))


def _tree(variables: Mapping[str, tf.Variable]) -> dict[str, tf.Variable]:
    return {name.replace("/", "|"): variable for name, variable in variables.items()}


_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def _name_of(key: str) -> str | None:
    if not (key.startswith("variables/") and key.endswith(_SUFFIX)):
        return None
    return key[len("variables/") : -len(_SUFFIX)].replace("..", ".").replace("|", "/")


def _key_of(name: str) -> str:
    # TensorFlow doubles the dots of a name, its own begin with a single one.
    return "variables/" + name.replace("/", "|").replace(".", "..") + _SUFFIX


def _reason(error: Exception) -> str:
    text = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text:
        return "the disk is full"
    return text.splitlines()[0][:300] if text else type(error).__name__
