"""A split's table on disk: tokenised once, memory-mapped."""

import concurrent.futures
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer import config
from trainer.data import store
from trainer.data.columns import Row
from trainer.data.encode import TextEncoder, plain_backend
from trainer.data.progress import Advance, Progress
from trainer.data.sources import Source
from trainer.data.subwords import Subwords
from trainer.data.table import OF_ROWS, Table, piece_columns
from trainer.data.tokenizers import vocabulary_size
from trainer.errors import UserError
from trainer.imports import blamed_on
from trainer.tasks.strings import Strings
from trainer.tasks.task import TEXTS, Array, Piece, Task, check_arrays, class_path, encoding_of

FORMAT = 6  # raise it when the files or the way they are made change
# Tokenised at once, at most: enough to keep all cores busy, and little memory.
CHUNK, CHUNK_CHARACTERS = 1000, 2**21


class TokenSplit(Table):
    """A split's table on disk.

    Attributes:
      cut_count: how many examples were longer than max_length and cut.
      empty_count: how many have an empty text.
      rowless_count: how many have a text of too few tokens for a row.
      remarks: what was odd about the rows, in one line; empty if nothing.
    """

    def __init__(
        self, folder: Path, notes: dict[str, Any], arrays: Mapping[str, Array], targets: bool
    ):
        self.cut_count: int = notes["cut_count"]
        self.empty_count: int = notes["empty_count"]
        self.rowless_count: int = notes["rowless_count"]
        self.remarks: str = notes["remarks"]
        files = _dtypes(arrays) | {"tokens": np.dtype(notes["dtype"])}
        columns = {name: _map(folder, name, dtype) for name, dtype in files.items()}
        for name, array in arrays.items():
            if array.size:
                columns[name] = columns[name].reshape(-1, array.size)
        super().__init__(columns, arrays, notes["pad_id"], targets)


def load_or_build(
    source: Source,
    split: str,
    task: Task,
    *,
    tokenizer: Subwords,
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
    for i, corpus in enumerate(data.corpora):
        encoder.check_prefix(corpus.prefix, f"config.data.corpora[{i}].prefix")
    backend = plain_backend(tokenizer).to_str()
    key = store.key_of(
        FORMAT,
        source.fingerprint(split),
        encoding_of(task),
        # A file beside the backend's names the roles of tokens, such as which one is the end.
        [backend, tokenizer.special_tokens_map, encoder.pad_id, data.max_length, data.cut],
    )

    def build(folder: Path) -> dict[str, object]:
        small = vocabulary_size(tokenizer) <= 2**16
        with progress(f"Tokenising {split}", None) as advance:
            chunks = _pieces(source.rows(split), task, encoder)
            join = functools.partial(task.joined, encoder=encoder)
            notes = _write(folder, chunks, join, task=task, small=small, advance=advance)
            return {**notes, "pad_id": encoder.pad_id, "remarks": source.remarks(split)}

    what = f"token cache of {split}"
    folder, notes = store.open_or_build(cache_dir, f"tokens-{key}", what, build)
    return TokenSplit(folder, notes, task.arrays(), task.longest_target > 0)


Chunk = tuple[list[Row], list[Piece]]  # pieces whose `row` is the id of one


def _write(
    folder: Path,
    chunks: Iterator[Chunk],
    join: Callable[[Iterator[Piece]], Iterator[Piece]],
    *,
    task: Task,
    small: bool,
    advance: Advance,
) -> dict[str, object]:
    """Writes the arrays chunk by chunk, so that memory does not grow with the data."""
    dtype: np.dtype[Any] = np.dtype(np.uint16 if small else np.int32)
    arrays = task.arrays()
    dtypes = _dtypes(arrays) | {"tokens": dtype}
    files = {name: (folder / f"{name}.bin").open("wb") for name in dtypes}
    cut_count = empty_count = rowless_count = 0
    ends = dict.fromkeys(("offsets", *_offsets(arrays)), 0)
    for name in ends:
        files[name].write(np.zeros(1, np.int64).tobytes())

    def pieces() -> Iterator[Piece]:
        nonlocal empty_count, rowless_count
        for rows, made in chunks:
            yield from made
            empty = {row.id for row in rows if not task.texts(row)[0].strip()}
            empty_count += len(empty)
            rowless_count += len({row.id for row in rows} - {piece.row for piece in made} - empty)
            advance(len(rows))

    try:
        joined = iter(join(pieces()))
        while chunk := list(itertools.islice(joined, CHUNK)):
            columns = piece_columns(chunk, arrays, dtype)
            columns["rows"] = np.array([piece.row for piece in chunk])
            for name, before in ends.items():
                columns[name] = before + columns[name][1:]
                ends[name] = int(columns[name][-1])
            for name, values in columns.items():
                files[name].write(np.asarray(values, dtypes[name]).tobytes())
            cut_count += sum(piece.tokens.cut for piece in chunk)
    finally:
        for file in files.values():
            file.close()
    if not ends["offsets"]:
        raise UserError("no row is left of which tokens could be made: see config.task")
    counts = {"cut_count": cut_count, "empty_count": empty_count, "rowless_count": rowless_count}
    return {**counts, "dtype": dtype.name}


def _pieces(rows: Iterator[Row], task: Task, encoder: TextEncoder) -> Iterator[Chunk]:
    """Chunks and their pieces; the next is encoded while one is written and another is read."""

    def encode(chunk: list[Row]) -> list[Piece]:
        with blamed_on(class_path(task), "config.task"):
            pieces = task.pieces(chunk, encoder)
            return [
                Piece(chunk[p.row].id, p.tokens, p.values | task.gold(chunk[p.row], p))
                for p in pieces
            ]

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        before: tuple[list[Row], concurrent.futures.Future] | None = None
        for chunk in _chunks(rows, task):
            ahead = chunk, thread.submit(encode, chunk)
            if before:
                yield before[0], before[1].result()
            before = ahead
        if before:
            yield before[0], before[1].result()


def _chunks(rows: Iterator[Row], task: Task) -> Iterator[list[Row]]:
    """The rows in lists of CHUNK, or of fewer whose texts are long."""
    held: list[Row] = []
    characters = 0
    for row in rows:
        held.append(row)
        characters += sum(map(len, task.texts(row)))
        if len(held) == CHUNK or characters >= CHUNK_CHARACTERS:
            yield held
            held, characters = [], 0
    if held:
        yield held


def _dtypes(arrays: Mapping[str, Array]) -> dict[str, np.dtype[Any]]:
    """The types of all files but that of the tokens: numbers without a header."""
    texts = [name for name, array in arrays.items() if array.dtype == TEXTS]
    numbers = {n: np.dtype(array.dtype) for n, array in arrays.items() if n not in texts}
    of_texts = {name: np.dtype(np.uint8) for name in texts}
    return OF_ROWS | numbers | of_texts | dict.fromkeys(_offsets(arrays), np.dtype(np.int64))


def _offsets(arrays: Mapping[str, Array]) -> list[str]:
    """The names of arrays of offsets of texts."""
    return [Strings.names(name)[1] for name, array in arrays.items() if array.dtype == TEXTS]


def _map(folder: Path, name: str, dtype: np.dtype) -> np.ndarray:
    """The array as a plain view of mapped memory: numpy's memmap class is slow to index."""
    # "c": what is never written is never copied, and DLPack takes no read-only array.
    return np.asarray(np.memmap(folder / f"{name}.bin", dtype, mode="c"))
