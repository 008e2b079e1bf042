"""Named tensors on disk: safetensors files, and TensorFlow checkpoints of BERT and T5.

Names and shapes are read first, and bounded by what is on disk; nothing is unpickled.
"""

import contextlib
import math
import re
import struct
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from safetensors import SafetensorError, safe_open

from trainer.errors import UserError, shown
from trainer.storage import strict_json
from trainer.storage.disk import sha256_of
from trainer.storage.paths import real, without_globs

_FLOATS = ("F64", "F32", "F16", "BF16")
MAX_TENSORS = 2**14  # in a file; the largest of these models have fewer than 1,000
MAX_HEADER = 256 * MAX_TENSORS  # bytes


class Tensors(Protocol):
    """Named tensors on disk, under the names that Hugging Face transformers gives them."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """All tensors, and their shapes."""

    def read(self, name: str) -> np.ndarray:
        """One tensor, in float32 where it was stored in half precision."""

    def sha256(self) -> dict[str, str]:
        """sha256 in hex of each file that holds them, by name."""


class Safetensors:
    """Tensors of one or several safetensors files, under today's names.

    Args:
      files: of one model.
      where: names the model in a message.

    Raises:
      UserError: a damaged file, or a tensor that is stored twice.
    """

    def __init__(self, files: list[Path], where: str):
        self._files, self._where = files, where
        self._stored: dict[str, tuple[Path, str, str]] = {}  # file, name and type by present name
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file in files:
            names = self._check_header(file)
            with self._open(file) as tensors:
                for name in names:
                    self._add(file, name, tensors.get_slice(name))

    def _check_header(self, file: Path) -> list[str]:
        """Names in a header that has one reading: safetensors takes the last of two equal names."""
        try:
            with file.open("rb") as content:
                (size,) = struct.unpack("<Q", content.read(8).ljust(8, b"\xff"))
                if size > MAX_HEADER:
                    raise strict_json.InvalidJson(f"a header of {size:,} bytes")
                header = strict_json.as_object(content.read(size))
        except strict_json.InvalidJson as error:
            raise self._damaged(file, error) from error
        except OSError as error:
            raise UserError(f"{self._where}: cannot read {file}: {error.strerror}") from error
        if len(header) > MAX_TENSORS:
            raise self._damaged(file, f"{len(header):,} tensors")
        return [name for name in header if name != "__metadata__"]

    def _add(self, file: Path, name: str, view: Any) -> None:
        now = _renamed(name)
        if now in self._stored:
            before, old, _ = self._stored[now]
            raise UserError(
                f"{self._where}: the tensor {shown(now)} is stored twice, as {shown(old)} in"
                f" {before.name} and as {shown(name)} in {file.name}: keep one"
            )
        self._stored[now] = file, name, view.get_dtype()
        self._shapes[now] = tuple(view.get_shape())

    @contextlib.contextmanager
    def _open(self, file: Path) -> Iterator[Any]:
        try:
            with safe_open(file, "numpy") as tensors:
                yield tensors
        except (SafetensorError, OSError) as error:
            raise self._damaged(file, error) from error

    def _damaged(self, file: Path, reason: object) -> UserError:
        said = " ".join(str(reason).split())[:200]
        return UserError(
            f"{self._where}: {file.name} is cut short or damaged ({said}): fetch it again"
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def file_of(self, name: str) -> Path | None:
        """The file that holds a tensor, by the name that it has there."""
        file, stored, _ = self._stored.get(_renamed(name), (None, "", ""))
        return file if stored == name else None

    def read(self, name: str) -> np.ndarray:
        file, stored, kind = self._stored[name]
        if kind not in _FLOATS:
            raise UserError(
                f"{self._where}: tensor {shown(name)} is stored as {kind}: quantised weights are"
                f" not supported, only {', '.join(_FLOATS)} are"
            )
        with self._open(file) as tensors:
            return np.asarray(tensors.get_tensor(stored)).astype(np.float32)

    def sha256(self) -> dict[str, str]:
        return {file.name: _checked_sha256(file, self._where) for file in self._files}


# The name that transformers has for a tensor of a TensorFlow checkpoint, and whether the tensor is
# stored transposed there.
Renamed = Callable[[str], tuple[str, bool]]


def renamed_of_bert(name: str) -> tuple[str, bool]:
    """See `Renamed`; of a checkpoint as Google published BERT."""
    transposed = name.endswith("/kernel")
    name = re.sub(r"/layer_(\d+)/", r"/layer/\1/", name)
    name = re.sub(r"/kernel$|/gamma$|_embeddings$", _to_weight, name)
    return re.sub(r"/beta$", "/bias", name).replace("/", "."), transposed


class Checkpoint:
    """A TensorFlow checkpoint, under the names of transformers.

    Args:
      prefix: of the checkpoint's files.
      where: names the model in a message.
      renamed: says what its tensors are called there.

    Raises:
      UserError: it cannot be read, or says that it holds more than its files do.
    """

    def __init__(self, prefix: Path, where: str, renamed: Renamed = renamed_of_bert):
        link = contextlib.ExitStack()
        weakref.finalize(self, link.close)  # the reader opens its files when they are read
        try:
            folder = link.enter_context(without_globs(prefix.parent))
            self._reader = tf.train.load_checkpoint(str(folder / prefix.name))
            stored = self._reader.get_variable_to_shape_map()
            kinds = self._reader.get_variable_to_dtype_map()
        except (tf.errors.OpError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{where}: cannot read {prefix.name} in {prefix.parent}: {reason}"
            ) from error
        self._where, self._prefix = where, prefix
        on_disk = sum(file.stat().st_size for file in self._data_files())
        sizes = {name: 1 if kind == tf.string else kind.size for name, kind in kinds.items()}
        if sum(math.prod(shape) * sizes[name] for name, shape in stored.items()) > on_disk:
            raise UserError(
                f"{where}: cannot read {prefix.name}: it says that it holds more than its"
                f" {on_disk:,} bytes, the file is cut short or damaged: fetch it again"
            )
        self._names: dict[str, tuple[str, bool]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in sorted(stored.items()):
            now, transposed = renamed(name)
            if now in self._names:
                raise UserError(
                    f"{where}: the tensor {shown(now)} is stored twice, as"
                    f" {shown(self._names[now][0])} and as {shown(name)}: keep one"
                )
            self._names[now] = name, transposed
            self._shapes[now] = tuple(shape[::-1] if transposed else shape)

    def _data_files(self) -> list[Path]:
        name = self._prefix.name
        return sorted(
            f for f in self._prefix.parent.iterdir() if f.name.startswith(f"{name}.data-")
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes

    def read(self, name: str) -> np.ndarray:
        stored, transposed = self._names[name]
        try:
            value = self._reader.get_tensor(stored)
            value = np.asarray(value).astype(np.float32)
        # IndexError: it ends too early. The others: it holds texts, or ids of objects.
        except (tf.errors.OpError, IndexError, ValueError, TypeError) as error:
            raise UserError(
                f"{self._where}: cannot read {shown(name)} from {self._prefix.name}: the file is"
                " cut short or damaged, fetch it again"
            ) from error
        return value.T if transposed else value

    def sha256(self) -> dict[str, str]:
        return {file.name: _checked_sha256(file, self._where) for file in self._data_files()}


def _to_weight(found: re.Match) -> str:
    return found[0] + ".weight" if found[0].startswith("_") else "/weight"


def _renamed(name: str) -> str:
    """Some files still have the names that TensorFlow gives the two parameters of a norm."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _checked_sha256(file: Path, where: str) -> str:
    """The hub's cache names large files by their sha256: one that does not fit was altered."""
    try:
        digest, blob = sha256_of(file), real(file).name
    except OSError as error:
        raise UserError(f"{where}: cannot read {file}: {error.strerror}") from error
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob) and digest != blob:
        raise UserError(f"{where}: {file.name} was altered in the hub's cache: delete {file}")
    return digest
