"""A split's table on disk: tokenised once, memory-mapped."""

import concurrent.futures
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from trainer import config
from trainer.data import store
from trainer.data.columns import Row
from trainer.data.encode import TextEncoder, plain_backend
from trainer.data.progress import Advance, Progress
from trainer.data.sources import Source
from trainer.data.table import OF_ROWS, Table, piece_columns
from trainer.data.tokenizers import vocabulary_size
from trainer.errors import UserError
from trainer.imports import blamed_on
from trainer.tasks.task import Array, Piece, Task, check_arrays, class_path, encoding_of

FORMAT = 4  # raise it when the files or the way they are made change
CHUNK = 1000  # rows tokenised at once: enough to keep all cores busy, and little memory


class TokenSplit(Table):
    """A split's table on disk.

    Attributes:
      cut_count: how many examples were longer than max_length and cut.
      empty_count: how many have an empty text; they are kept.
      remarks: what was odd about the rows, in one line; empty if nothing.
    """

    def __init__(self, folder: Path, notes: dict[str, Any], arrays: Mapping[str, Array]):
        self.cut_count: int = notes["cut_count"]
        self.empty_count: int = notes["empty_count"]
        self.remarks: str = notes["remarks"]
        files = _dtypes(arrays) | {"tokens": np.dtype(notes["dtype"])}
        columns = {name: _map(folder, name, dtype) for name, dtype in files.items()}
        for name, array in arrays.items():
            if array.size:
                columns[name] = columns[name].reshape(-1, array.size)
        super().__init__(columns, arrays, notes["pad_id"])


def load_or_build(
    source: Source,
    split: str,
    task: Task,
    *,
    tokenizer: PreTrainedTokenizerFast,
    data: config.Data,
    cache_dir: Path,
    progress: Progress,
) -> TokenSplit:
    """The tokens of "train", "validation" or "test": from `cache_dir`, or made and kept there.

    Args:
      source: of the rows.
      split: its name.
      task: bound to what was learned from the source; makes pieces of its rows.
      tokenizer, data: how texts are cut into tokens.
      cache_dir: folder of caches.
      progress: shows how far it is.

    Raises:
      UserError: the split cannot be read, or the folder not written.
    """
    check_arrays(task)
    encoder = TextEncoder(tokenizer, data.max_length, data.cut)
    backend = plain_backend(tokenizer).to_str()
    key = store.key_of(
        FORMAT,
        source.fingerprint(split),
        encoding_of(task),
        [backend, encoder.pad_id, data.max_length, data.cut],
    )

    def build(folder: Path) -> dict[str, object]:
        small = vocabulary_size(tokenizer) <= 2**16
        with progress(f"Tokenising {split}", None) as advance:
            notes = _write(folder, _pieces(source.rows(split), task, encoder), task, small, advance)
            return {**notes, "pad_id": encoder.pad_id, "remarks": source.remarks(split)}

    what = f"token cache of {split}"
    folder, notes = store.open_or_build(cache_dir, f"tokens-{key}", what, build)
    return TokenSplit(folder, notes, task.arrays())


Chunk = tuple[list[Row], list[Piece]]


def _write(
    folder: Path, chunks: Iterator[Chunk], task: Task, small: bool, advance: Advance
) -> dict[str, object]:
    """Writes the arrays chunk by chunk, so that memory does not grow with the data."""
    dtype: np.dtype[Any] = np.dtype(np.uint16 if small else np.int32)
    arrays = task.arrays()
    dtypes = _dtypes(arrays) | {"tokens": dtype}
    files = {name: (folder / f"{name}.bin").open("wb") for name in dtypes}
    cut_count = empty_count = total = 0
    files["offsets"].write(np.zeros(1, np.int64).tobytes())
    try:
        for rows, pieces in chunks:
            columns: dict[str, np.ndarray] = {}
            if pieces:
                columns |= piece_columns(pieces, arrays, dtype)
                columns["offsets"] = total + columns["offsets"][1:]
                columns["rows"] = np.array([rows[piece.row].id for piece in pieces])
                total = int(columns["offsets"][-1])
            for name, values in columns.items():
                files[name].write(np.asarray(values, dtypes[name]).tobytes())
            cut_count += sum(piece.tokens.cut for piece in pieces)
            empty_count += sum(not task.texts(row)[0].strip() for row in rows)
            advance(len(rows))
    finally:
        for file in files.values():
            file.close()
    if not total:
        raise UserError("no row is left of which tokens could be made: see config.task")
    return {"cut_count": cut_count, "empty_count": empty_count, "dtype": dtype.name}


def _pieces(rows: Iterator[Row], task: Task, encoder: TextEncoder) -> Iterator[Chunk]:
    """Chunks and their pieces; the next is encoded while one is written and another is read."""

    def encode(chunk: list[Row]) -> list[Piece]:
        with blamed_on(class_path(task), "config.task"):
            pieces = task.pieces(chunk, encoder)
            return [p._replace(values=p.values | task.gold(chunk[p.row], p)) for p in pieces]

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        before: tuple[list[Row], concurrent.futures.Future] | None = None
        while chunk := list(itertools.islice(rows, CHUNK)):
            ahead = chunk, thread.submit(encode, chunk)
            if before:
                yield before[0], before[1].result()
            before = ahead
        if before:
            yield before[0], before[1].result()


def _dtypes(arrays: Mapping[str, Array]) -> dict[str, np.dtype[Any]]:
    """The types of all files but that of the tokens: numbers without a header."""
    return OF_ROWS | {name: np.dtype(array.dtype) for name, array in arrays.items()}


def _map(folder: Path, name: str, dtype: np.dtype) -> np.ndarray:
    """The array as a plain view of mapped memory: numpy's memmap class is slow to index."""
    # "c": what is never written is never copied, and DLPack takes no read-only array.
    return np.asarray(np.memmap(folder / f"{name}.bin", dtype, mode="c"))
