"""Scores of a finished run, example by example, kept for reports: DIR/scores/test.npz and so on."""

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.errors import UserError, shown
from trainer.objectives.metrics import softmax
from trainer.storage import fields, strict_json
from trainer.storage.disk import replace_bytes, sha256_of
from trainer.storage.plain import to_json

# Of the arrays of a file: 66,000 examples of a thousand classes. The report makes ten times that of
# them at most: four arrays of float64 beside what was read.
MAX_BYTES = 2**28
_MAX_NOTES = 2**26  # bytes of the metrics and mistakes, and of the headers
_MOST_WRONG = 1000
# Kind of number and axes of each array; "notes" is JSON as bytes.
_ARRAYS = {"ids": "i1", "labels": "i1", "logits": "f2", "losses": "f1", "lengths": "i1"}
_DTYPES = {"i": ("int32", "int64"), "f": ("float32", "float64"), "u": ("uint8",)}


class WrongPrediction(NamedTuple):
    """An example that the model got wrong."""

    text: str
    label: int
    prediction: int
    probability: float  # of the prediction
    id: int | str  # the example's place in its split, or its own id


@dataclasses.dataclass(frozen=True)
class Kept:
    """A split scored with the best weights, a row an example, in the order of the data.

    Attributes:
      ids: int64 [N], the examples' rows in their source. labels: int32 [N].
      logits: float [N, C]. losses: float [N]. lengths: int32 [N], tokens that the model was given.
      metrics: by name.
      wrong: the mistakes that the model was surest of, with their texts.
    """

    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    losses: np.ndarray
    lengths: np.ndarray
    metrics: dict[str, Any]
    wrong: list[WrongPrediction]

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """float64 [N, C]."""
        return softmax(self.logits / temperature)

    @property
    def why_not(self) -> str:
        """Why nobody could read the file that `save` would write; empty if there is no reason."""
        if not all(np.isfinite(each).all() for each in (self.logits, self.losses)):
            return "the model's outputs are not all finite"
        examples, classes = self.logits.shape
        return too_large(examples, classes, self.logits.itemsize)

    @property
    def predictions(self) -> np.ndarray:
        """int [N], the class with the largest logit."""
        return self.logits.argmax(-1)

    def save(self, path: Path) -> str:
        """Writes one .npz file, whole or not at all; returns its sha256 in hex."""
        path.parent.mkdir(exist_ok=True)
        arrays: Any = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        notes = {"metrics": self.metrics, "wrong": [row._asdict() for row in self.wrong]}
        written = io.BytesIO()
        text = np.frombuffer(to_json(notes).encode(), np.uint8)
        np.savez_compressed(written, notes=text, **arrays)
        replace_bytes(path, written.getvalue())
        return hashlib.sha256(written.getvalue()).hexdigest()

    @classmethod
    def load(cls, path: Path, sha256: str, classes: int) -> "Kept":
        """The inverse of `save` for a run of so many classes.

        Raises:
          UserError: there is no such file, it is not what was written, or it holds what no
            evaluation gives: other arrays, labels out of range, numbers that are not finite.
        """
        try:
            if not path.exists():
                raise UserError(f"{path} is missing: restore it from a backup")
            if not path.is_file() or sha256_of(path) != sha256:
                raise fields.Invalid("it is not what was written")
            arrays = _arrays(path)
            notes = strict_json.as_object(arrays.pop("notes").tobytes())
            metrics = fields.mapping(notes, "metrics")
            for name in metrics:
                fields.number_or_nan(metrics, name)
            wrong = [_wrong(row, classes) for row in fields.items(notes, "wrong", _MOST_WRONG)]
            _check(arrays, classes)
            return cls(**arrays, metrics=metrics, wrong=wrong)
        except UserError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds of their own
            said = str(error) or type(error).__name__
            raise UserError(
                f"cannot read {path}: {said[:200]}; restore it from a backup"
            ) from error


def too_large(examples: int, classes: int, itemsize: int) -> str:
    """Why the scores of so many examples are not kept; empty if they are.

    Args:
      itemsize: bytes of a logit.
    """
    size = examples * (itemsize * (classes + 1) + 3 * 8)
    if size <= MAX_BYTES:
        return ""
    return (
        f"{examples:,} examples of {classes:,} classes make {size:,} bytes, at most {MAX_BYTES:,}"
        " are kept"
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, of which nothing is unpacked before its size is known."""
    kinds = {"notes": "u1", **_ARRAYS}
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if sorted(members) != sorted(f"{name}.npy" for name in kinds):
            raise fields.Invalid(f"it must hold {', '.join(kinds)} and nothing else")
        if sum(member.file_size for member in members.values()) > MAX_BYTES + _MAX_NOTES:
            raise fields.Invalid(f"its arrays are larger than {MAX_BYTES:,} bytes")
        return {
            name: _array(archive.read(members[f"{name}.npy"]), name, kind)
            for name, kind in kinds.items()
        }


def _array(content: bytes, name: str, kind: str) -> np.ndarray:
    """An array of a .npy file whose header claims just what follows it; never a pickle."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise fields.Invalid(f"{name} is no array of this library's")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    fits = dtype.name in _DTYPES[kind[0]] and dtype.isnative and len(shape) == int(kind[1])
    if not fits or fortran or min(shape, default=0) < 1:
        raise fields.Invalid(f"{name} is {dtype} of shape {shown(shape)}")
    flat = np.frombuffer(content, dtype, offset=file.tell())
    return flat.reshape(shape)


def _check(arrays: dict[str, np.ndarray], classes: int) -> None:
    """Raises Invalid for arrays that do not belong together, or values out of their range."""
    count = len(arrays["labels"])
    for name, array in arrays.items():
        if array.shape != ((count, classes) if name == "logits" else (count,)):
            raise fields.Invalid(f"{name} has shape {array.shape}, of {count} examples")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise fields.Invalid(f"{name} holds numbers that are not finite")
    labels = arrays["labels"]
    if labels.min() < 0 or labels.max() >= classes or arrays["lengths"].min() < 0:
        raise fields.Invalid(f"a label is not one of {classes} classes, or a length is negative")


def _wrong(row: object, classes: int) -> WrongPrediction:
    values = fields.mapping({"wrong": row}, "wrong")
    if not isinstance(values.get("id"), str):
        fields.integer(values, "id", low=-fields.INT64)
    return WrongPrediction(
        fields.text(values, "text"),
        fields.integer(values, "label", high=classes - 1),
        fields.integer(values, "prediction", high=classes - 1),
        fields.number(values, "probability", 0, 1),
        values["id"],
    )
