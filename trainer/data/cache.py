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
from trainer.data.encode import Encoded, TextEncoder, plain_backend
from trainer.data.progress import Advance, Progress
from trainer.data.sources import Example, Source
from trainer.data.table import OF_ROWS, Array, Table, token_columns
from trainer.data.tokenizers import vocabulary_size

FORMAT = 3  # raise it when the files or the way they are made change
CHUNK = 1000  # texts tokenised at once: enough to keep all cores busy, and little memory

LABELS = {"label": Array("int32")}


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
        super().__init__(columns, arrays, notes["pad_id"])


def load_or_build(
    source: Source,
    split: str,
    tokenizer: PreTrainedTokenizerFast,
    data: config.Data,
    cache_dir: Path,
    progress: Progress,
) -> TokenSplit:
    """The tokens of "train", "validation" or "test": from `cache_dir`, or made and kept there.

    Raises:
      UserError: the split cannot be read, or the folder not written.
    """
    encoder = TextEncoder(tokenizer, data.max_length, data.cut)
    backend = plain_backend(tokenizer).to_str()
    key = store.key_of(
        FORMAT, source.fingerprint(split), backend, encoder.pad_id, data.max_length, data.cut
    )

    def build(folder: Path) -> dict[str, object]:
        small = vocabulary_size(tokenizer) <= 2**16
        with progress(f"Tokenising {split}", None) as advance:
            notes = _write(folder, source.examples(split), encoder, small, advance)
            return {**notes, "remarks": source.remarks(split)}

    what = f"token cache of {split}"
    folder, notes = store.open_or_build(cache_dir, f"tokens-{key}", what, build)
    return TokenSplit(folder, notes, LABELS)


def _write(
    folder: Path, examples: Iterator[Example], encoder: TextEncoder, small: bool, advance: Advance
) -> dict[str, object]:
    """Writes the arrays chunk by chunk, so that memory does not grow with the data."""
    dtype: np.dtype[Any] = np.dtype(np.uint16 if small else np.int32)
    dtypes = _dtypes(LABELS) | {"tokens": dtype}
    files = {name: (folder / f"{name}.bin").open("wb") for name in dtypes}
    cut_count = empty_count = total = 0
    files["offsets"].write(np.zeros(1, np.int64).tobytes())
    try:
        for chunk, encoded in _encoded(examples, encoder):
            columns: dict[str, Any] = token_columns(encoded, dtype)
            columns["offsets"] = total + columns["offsets"][1:]
            columns["rows"] = [example.id for example in chunk]
            columns["label"] = [example.label for example in chunk]
            total = int(columns["offsets"][-1])
            for name, values in columns.items():
                files[name].write(np.asarray(values, dtypes[name]).tobytes())
            cut_count += sum(each.cut for each in encoded)
            empty_count += sum(not example.text.strip() for example in chunk)
            advance(len(chunk))
    finally:
        for file in files.values():
            file.close()
    return {
        "cut_count": cut_count,
        "empty_count": empty_count,
        "pad_id": encoder.pad_id,
        "dtype": dtype.name,
    }


def _encoded(
    examples: Iterator[Example], encoder: TextEncoder
) -> Iterator[tuple[list[Example], list[Encoded]]]:
    """Chunks and their tokens; the next is encoded while one is written and another is read."""

    def encode(chunk: list[Example]) -> list[Encoded]:
        pairs = [example.pair for example in chunk if example.pair is not None]
        return encoder.encode([example.text for example in chunk], pairs or None)

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        before: tuple[list[Example], concurrent.futures.Future] | None = None
        while chunk := list(itertools.islice(examples, CHUNK)):
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
