"""Rows of token ids and what belongs to them, gathered into padded batches: the one padding."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.batch import ID, INPUTS, TARGET, TARGET_MASK, WEIGHT
from trainer.data.columns import check_text
from trainer.data.plan import Length, length_of
from trainer.errors import UserError, one_line, shown
from trainer.tasks.strings import Strings
from trainer.tasks.task import TEXTS, Array, Batch, Gold, Piece

_ALIGNMENT = 64  # bytes that TensorFlow asks of a tensor's address


# What every table has, besides "tokens" [sum of lengths] and the arrays of its task.
OF_ROWS: dict[str, np.dtype[Any]] = {
    "offsets": np.dtype(np.int64),  # where each row's tokens start; one more for the end
    "second": np.dtype(np.int32),  # where its second text starts; = its length if there is none
    "rows": np.dtype(np.int64),  # the row of the source that it was made of
}


class Table:
    """N rows: a text or pair each, as token ids, and the arrays of a task.

    Args:
      columns: "tokens" int [sum of lengths], those of OF_ROWS and those of `arrays`: [N] or, with
        the axis "input", [sum of lengths]; of texts `Strings.columns`. They may be mapped files.
      arrays: what the task has of each row.
      pad_id: token id of padding.
      targets: the second text of a pair is the target of the first.

    Attributes:
      lengths: int32 [N] tokens, special ones included; without the target.
      sizes: int32 [N, 1], the lengths; with targets [N, 2], and those of the targets.
      rows: int64 [N] row numbers in the source.
    """

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        arrays: Mapping[str, Array],
        pad_id: int,
        targets: bool = False,
    ):
        whole = np.diff(columns["offsets"]).astype(np.int32)
        self.sizes = whole[:, None]
        if targets:
            self.sizes = np.stack([columns["second"], whole - columns["second"]], 1)
        self.lengths = self.sizes[:, 0]
        self.rows = columns["rows"]
        self._arrays, self._pad_id, self._targets = dict(arrays), pad_id, targets
        self._total = len(columns["tokens"])
        texts = [name for name, array in arrays.items() if array.dtype == TEXTS]
        self._texts = {name: Strings.of_columns(columns, name) for name in texts}
        of_texts = {each for name in texts for each in Strings.names(name)}
        self._host = {name: column for name, column in columns.items() if name not in of_texts}
        self._columns = mapped_tensors(self._host)

    @classmethod
    def of(
        cls,
        pieces: Sequence[Piece],
        arrays: Mapping[str, Array],
        pad_id: int,
        targets: bool = False,
    ) -> "Table":
        """A table in memory of some pieces, for prediction.

        Args:
          pieces: at least one.
          arrays: what the pieces have values of; others of them are left out.
          pad_id, targets: as of the class.
        """
        held = {name: array for name, array in arrays.items() if name in pieces[0].values}
        columns = piece_columns(pieces, held, np.dtype(np.int32))
        columns["rows"] = np.array([piece.row for piece in pieces])
        return cls(columns, held, pad_id, targets)

    def __len__(self) -> int:
        return len(self.lengths)

    def longest(self, rows: np.ndarray) -> Length:
        """The least length that some rows, int [K], can be gathered at."""
        return length_of(self.sizes[rows].max(0))

    @property
    def gold(self) -> Gold:
        """Arrays of the task by name, "rows" and "lengths": see `trainer.tasks.task.Gold`."""
        arrays = {name: self._host[name] for name in self._numbers}
        return {**arrays, **self._texts, "rows": self.rows, "lengths": self.lengths}

    @property
    def _numbers(self) -> dict[str, Array]:
        """The arrays that batches have."""
        return {name: each for name, each in self._arrays.items() if name not in self._texts}

    def gold_of(self, rows: np.ndarray) -> Gold:
        """The part of `gold` that is of some rows, int [K]."""
        starts = self._host["offsets"]
        places = [np.arange(starts[row], starts[row + 1]) for row in rows]
        tokens = np.concatenate([np.zeros(0, np.int64), *places])
        found = {n: self._host[n][tokens if a.axis else rows] for n, a in self._numbers.items()}
        texts = {name: each.of_rows(rows) for name, each in self._texts.items()}
        return {**found, **texts, "rows": self.rows[rows], "lengths": self.lengths[rows]}

    def gather_flat(self, rows: tf.Tensor) -> Batch:
        """The part of `gather` that has no length: no tokens, and no arrays of tokens."""
        real = rows >= 0
        at = tf.maximum(rows, 0)
        flat = {
            name: tf.where(_like(real, array), self._number(name, at), array.pad)
            for name, array in self._numbers.items()
            if not array.axis
        }
        return {**flat, WEIGHT: tf.cast(real, tf.float32), ID: tf.where(real, rows, -1)}

    def gather(self, rows: tf.Tensor, length: tf.Tensor | Length) -> Batch:
        """A batch of `rows`, padded to `length`.

        In TensorFlow, so that reading ahead needs no Python thread: one that waits for the
        interpreter while an iterator is deleted would block both.

        Args:
          rows: [B] int64 places in this table; -1 for a padding row.
          length: L tokens, or [1]; at least that of the longest of the rows. With targets a pair,
            or [2]: L of sources, M of targets.

        Returns:
          input_ids, attention_mask, token_type_ids int32 [B, L]; weight float32 [B], 0 for a
          padding row; id int64 [B], the place, -1 for a padding row; the task's arrays [B] or
          [B, L], whole numbers as int32; with targets target_ids, target_mask int32 [B, M]. A
          padding row has one real token, as a row that is all masked has no softmax.
        """
        real = rows >= 0
        at = tf.maximum(rows, 0)
        starts, second = self._take("offsets", at), tf.cast(self._take("second", at), tf.int64)
        ends = self._take("offsets", at + 1)
        sizes = tf.reshape(tf.cast(length, tf.int64), [-1])
        last = starts + second if self._targets else ends
        where, place, held = self._places(starts, last, sizes[0], real)
        of_tokens = {
            name: tf.where(_like(held, array), self._number(name, where), array.pad)
            for name, array in self._numbers.items()
            if array.axis
        }
        inputs = (
            self._padded(where, held),
            tf.cast(held | (~real[:, None] & (place == 0)), tf.int32),
            tf.cast(held & (place >= second[:, None]), tf.int32),
        )
        if self._targets:
            where, _, held = self._places(last, ends, sizes[1], real)
            of_tokens[TARGET] = self._padded(where, held)
            of_tokens[TARGET_MASK] = tf.cast(held, tf.int32)
        return {**dict(zip(INPUTS, inputs, strict=True)), **of_tokens, **self.gather_flat(rows)}

    def _places(
        self, starts: tf.Tensor, ends: tf.Tensor, length: tf.Tensor, real: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Places among all tokens of `length` tokens of each row, places in it, and True inside it.

        Int64 [B, L], int64 [L] and bool [B, L].
        """
        place = tf.range(length)
        held = place < tf.where(real, ends - starts, 0)[:, None]
        return tf.minimum(starts[:, None] + place, self._total - 1), place, held

    def _padded(self, where: tf.Tensor, held: tf.Tensor) -> tf.Tensor:
        return tf.where(held, tf.cast(self._take("tokens", where), tf.int32), self._pad_id)

    def _number(self, name: str, at: tf.Tensor) -> tf.Tensor:
        taken = self._take(name, at)
        return tf.cast(taken, tf.int32) if taken.dtype.is_integer else taken

    def _take(self, name: str, at: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._columns.get_value()[name], at)


def _like(there: tf.Tensor, array: Array) -> tf.Tensor:
    """A mask of values, with an axis for their numbers where they have one."""
    return there[..., None] if array.size else there


def piece_columns(
    pieces: Sequence[Piece], arrays: Mapping[str, Array], dtype: np.dtype[Any]
) -> dict[str, np.ndarray]:
    """The columns of a table of some pieces, but for "rows".

    Args:
      pieces: with a value for each of the arrays.
      arrays: by name.
      dtype: of the tokens.

    Raises:
      UserError: a value that is missing, of another shape, or that the array cannot hold.
    """
    lengths = [len(piece.tokens.ids) for piece in pieces]
    columns = {
        "tokens": np.concatenate([piece.tokens.ids for piece in pieces]).astype(dtype),
        "offsets": np.cumsum([0, *lengths], dtype=OF_ROWS["offsets"]),
        "second": np.array([piece.tokens.second_start for piece in pieces], OF_ROWS["second"]),
    }
    for name, array in arrays.items():
        said = f"config.task: array {name!r}"
        if any(name not in piece.values for piece in pieces):
            raise UserError(f"{said} has no value for a row: let pieces or gold give it")
        if array.dtype == TEXTS:
            texts = [check_text(piece.values[name], said) for piece in pieces]
            columns |= Strings.made(texts).columns(name)
            continue
        values = [_numbers(piece, name, array, said) for piece in pieces]
        made = np.concatenate(values) if array.axis else np.stack(values)
        with np.errstate(invalid="ignore", over="ignore"):
            columns[name] = cast = made.astype(array.dtype)
        lost = ~np.isfinite(cast) if cast.dtype.kind == "f" else cast != made
        if lost.any():
            first = made[lost][0]
            if not np.isfinite(first):
                raise UserError(f"{said} must hold finite numbers, has {first}")
            raise UserError(f"{said} is {array.dtype}, which cannot hold {first}")
    return columns


def _numbers(piece: Piece, name: str, array: Array, said: str) -> np.ndarray:
    """A piece's numbers, of the shape that the array has; [0, ...] where it has no token."""
    given, shape = piece.values[name], (array.size,) if array.size else ()
    try:
        numbers = np.asarray(given)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"{said}: {one_line(str(error), 200)}") from error
    if array.axis:
        count = len(piece.tokens.ids)
        if numbers.shape[:1] != (count,):
            raise UserError(
                f"{said} has values of shape {numbers.shape} for {count} tokens: give one a token"
            )
        if not count:
            return np.zeros((0, *shape), array.dtype)
    if numbers.shape[bool(array.axis) :] != shape:
        wanted = f"a list of {array.size}" if array.size else "one number"
        raise UserError(
            f"{said} has values of shape {numbers.shape[bool(array.axis) :]}: give {wanted} for"
            f" each {'token' if array.axis else 'row'}"
        )
    if numbers.dtype.kind not in "biuf":
        raise UserError(f"{said} is {array.dtype}, which cannot hold {shown(given)}")
    return numbers


def mapped_tensors(arrays: dict[str, np.ndarray]) -> tf.experimental.Optional:
    """Wraps mapped arrays without copying; pages load on first use. Others may be copied.

    A dataset should have them in this form. With every iterator tf.data hashes all plain tensors
    that it uses, whole; and where operations are deterministic it makes nothing ahead that reads a
    variable.
    """
    with tf.device("CPU"):
        return tf.experimental.Optional.from_value(
            {name: _tensor(array) for name, array in arrays.items()}
        )


def _tensor(array: np.ndarray) -> tf.Tensor:
    if array.ctypes.data % _ALIGNMENT:  # mapped ones begin with a page
        return tf.constant(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
