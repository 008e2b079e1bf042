"""Scores of a finished run, row by row, kept for reports: DIR/scores/test.npz and so on."""

import dataclasses
import hashlib
import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.errors import UserError, shown
from trainer.storage import fields, strict_json
from trainer.storage.disk import replace_bytes, sha256_of
from trainer.storage.plain import to_json
from trainer.tasks.strings import Strings
from trainer.tasks.task import ANSWERS, DTYPES, TEXTS, Examples, Gold, Scores, Task

# Of the arrays of a file: 66,000 rows of a thousand numbers. The report makes ten times that of
# them at most: four arrays of float64 beside what was read.
MAX_BYTES = 2**28
_MAX_NOTES = 2**26  # bytes of the metrics and mistakes, and of the headers
_MOST_MISTAKES = 1000
_MOST_ARRAYS, _MOST_TOKENS = 100, 100_000
_GROUPS = ("gold", "losses", "weights", "answers", "measures")  # an array's name is "group.name"
_NOTES = "notes"  # JSON as bytes
_DTYPES = {*DTYPES, *ANSWERS}


class Mistake(NamedTuple):
    """A row that the model got wrong.

    Attributes:
      row: its place in the set. id: its row in the source.
      text: as the model has it. tokens: of it.
    """

    row: int
    id: int
    text: str
    tokens: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Kept:
    """A split scored with the best weights.

    Attributes:
      gold: see `trainer.tasks.task.Gold`.
      scores: of its rows.
      metrics: by name.
      mistakes: the worst, with their texts.
    """

    gold: Gold
    scores: Scores
    metrics: dict[str, Any]
    mistakes: list[Mistake]

    @property
    def examples(self) -> Examples:
        """The mistakes, as tasks take them."""
        columns = zip(*self.mistakes, strict=True) if self.mistakes else ((), (), (), ())
        rows, ids, texts, tokens = columns
        return Examples(np.array(rows, np.int64), ids, texts, tokens)

    @property
    def why_not(self) -> str:
        """Why nobody could read the file that `save` would write; empty if there is no reason."""
        arrays = self._arrays()
        if not all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f"):
            return "the model's outputs are not all finite"
        return too_large(sum(array.nbytes for array in arrays.values()))

    def _arrays(self) -> dict[str, np.ndarray]:
        gold: dict[str, np.ndarray] = {}
        for name, values in self.gold.items():
            gold |= values.columns(name) if isinstance(values, Strings) else {name: values}
        groups = {"gold": gold, **vars(self.scores)}
        return {f"{g}.{name}": array for g, of in groups.items() for name, array in of.items()}

    def save(self, path: Path) -> str:
        """Writes one .npz file, whole or not at all; returns its sha256 in hex."""
        path.parent.mkdir(exist_ok=True)
        arrays: Any = {name: np.ascontiguousarray(a) for name, a in self._arrays().items()}
        notes = {"metrics": self.metrics, "mistakes": [m._asdict() for m in self.mistakes]}
        arrays[_NOTES] = np.frombuffer(to_json(notes).encode(), np.uint8)
        written = io.BytesIO()
        np.savez_compressed(written, **arrays)
        replace_bytes(path, written.getvalue())
        return hashlib.sha256(written.getvalue()).hexdigest()

    @classmethod
    def load(cls, path: Path, sha256: str, task: Task) -> "Kept":
        """The inverse of `save` for a run of the task.

        Raises:
          UserError: there is no such file, it is not what was written, or it holds what no
            evaluation gives: other arrays, values out of range, numbers that are not finite.
        """
        try:
            if not path.exists():
                raise UserError(f"{path} is missing: restore it from a backup")
            if not path.is_file() or sha256_of(path) != sha256:
                raise fields.Invalid("it is not what was written")
            arrays = _arrays(path)
            notes = strict_json.as_object(arrays.pop(_NOTES).tobytes())
            metrics = fields.mapping(notes, "metrics")
            for name in metrics:
                fields.number_or_nan(metrics, name)
            fields.integer(metrics, "examples", low=1)
            groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in _GROUPS}
            for name, array in arrays.items():
                group, _, key = name.partition(".")
                groups[group][key] = array
            gold = _gold(groups.pop("gold"), task)
            scores = Scores(**groups)
            _check(gold, scores, task)
            count = len(gold["rows"])
            wrong = fields.items(notes, "mistakes", _MOST_MISTAKES)
            return cls(gold, scores, metrics, [_mistake(row, count) for row in wrong])
        except UserError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds of their own
            said = str(error) or type(error).__name__
            raise UserError(
                f"cannot read {path}: {said[:200]}; restore it from a backup"
            ) from error


def too_large(size: int) -> str:
    """Why arrays of so many bytes are not kept; empty if they are."""
    if size <= MAX_BYTES:
        return ""
    return f"they make {size:,} bytes, at most {MAX_BYTES:,} are kept"


def better(lower: bool, new: float, old: float) -> bool:
    """True if the metric `new` is better than `old`; `lower` says which way.

    NaN is never better, and any number is better than NaN.
    """
    if math.isnan(new) or math.isnan(old):
        return not math.isnan(new)
    return new < old if lower else new > old


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, of which nothing is unpacked before its size is known."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        names = [name.removesuffix(".npy") for name in members]
        groups = {name.partition(".")[0] for name in names}
        if len(names) > _MOST_ARRAYS or groups - {*_GROUPS, _NOTES} or _NOTES not in names:
            raise fields.Invalid(f"it must hold {', '.join(_GROUPS)}, {_NOTES} and nothing else")
        if sum(member.file_size for member in members.values()) > MAX_BYTES + _MAX_NOTES:
            raise fields.Invalid(f"its arrays are larger than {MAX_BYTES:,} bytes")
        return {name: _array(archive.read(f"{name}.npy"), name) for name in names}


def _array(content: bytes, name: str) -> np.ndarray:
    """An array of a .npy file whose header claims just what follows it; never a pickle."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise fields.Invalid(f"{name} is no array of this library's")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    fits = dtype.name in _DTYPES and dtype.isnative and 1 <= len(shape) <= 3
    if not fits or fortran or min(shape, default=0) < 1:
        raise fields.Invalid(f"{name} is {dtype} of shape {shown(shape)}")
    flat = np.frombuffer(content, dtype, offset=file.tell())
    return flat.reshape(shape)


def _gold(arrays: dict[str, np.ndarray], task: Task) -> dict[str, Any]:
    """The arrays, with those of texts joined. Raises Invalid: they are no texts."""
    gold: dict[str, Any] = dict(arrays)
    for name, array in task.arrays().items():
        if array.dtype == TEXTS:
            content, offsets = (gold.pop(each) for each in Strings.names(name))
            in_order = offsets.ndim == 1 and offsets.dtype == np.int64 and content.ndim == 1
            if not in_order or offsets[0] or offsets[-1] != len(content):
                raise fields.Invalid(f"{name} holds no texts")
            if content.dtype != np.uint8 or (np.diff(offsets) < 0).any():
                raise fields.Invalid(f"{name} holds no texts")
            gold[name] = Strings(content, offsets)
    return gold


def _check(gold: Mapping[str, Any], scores: Scores, task: Task) -> None:
    """Raises Invalid for arrays that do not belong together, or values out of their range."""
    arrays, rows = task.arrays(), gold.get("rows", np.zeros(0))
    lengths = gold.get("lengths", np.zeros(0))
    if gold.keys() != {*arrays, "rows", "lengths"} or scores.losses.keys() != scores.weights.keys():
        raise fields.Invalid(f"gold must hold {', '.join(arrays)}, rows and lengths")
    if lengths.shape != rows.shape or rows.ndim != 1 or lengths.min() < 0:
        raise fields.Invalid("rows and lengths do not belong together")
    for name in [name for name, array in arrays.items() if array.dtype == TEXTS]:
        if len(gold[name]) != len(rows):
            raise fields.Invalid(f"{name} holds {len(gold[name])} texts, of {len(rows)} rows")
    arrays = {name: array for name, array in arrays.items() if array.dtype != TEXTS}
    dtypes = {"rows": "int64", "lengths": "int32", **{n: a.dtype for n, a in arrays.items()}}
    for name, dtype in dtypes.items():
        if gold[name].dtype != dtype:
            raise fields.Invalid(f"{name} is {gold[name].dtype}, not {dtype}")
    total = int(lengths.sum(dtype=np.int64))
    for name, array in arrays.items():
        of_value = (array.size,) if array.size else ()
        if gold[name].shape != (total if array.axis else len(rows), *of_value):
            raise fields.Invalid(f"{name} has shape {gold[name].shape}, of {len(rows)} rows")
    for group in (scores.losses, scores.weights, scores.answers, scores.measures):
        for name, values in group.items():
            if len(values) != len(rows) or (group is not scores.answers and values.ndim != 1):
                raise fields.Invalid(f"{name} has shape {values.shape}, of {len(rows)} rows")
    numbers = [gold[name] for name in dtypes]
    for values in (*numbers, *(a for g in vars(scores).values() for a in g.values())):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise fields.Invalid("a number is not finite")
    task.check_kept(gold, scores)


def _mistake(row: object, count: int) -> Mistake:
    values = fields.mapping({"mistake": row}, "mistake")
    return Mistake(
        fields.integer(values, "row", high=count - 1),
        fields.integer(values, "id"),
        fields.text(values, "text"),
        _texts(values, "tokens"),
    )


def _texts(values: Mapping[str, Any], name: str) -> list[str]:
    found = fields.items(values, name, _MOST_TOKENS)
    if not all(isinstance(each, str) for each in found):
        raise fields.Invalid(f"{name} must hold texts")
    return found
