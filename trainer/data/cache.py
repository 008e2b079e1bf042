"""A split's token ids on disk, made once, memory-mapped, gathered into padded batches."""

import concurrent.futures
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import PreTrainedTokenizerFast

from trainer import config
from trainer.data import store
from trainer.data.encode import Encoded, Encoder, plain_backend
from trainer.data.progress import Advance, Progress
from trainer.data.sources import Example, Source
from trainer.data.tokenizers import vocabulary_size

Batch = dict[str, tf.Tensor]

FORMAT = 2  # raise it when the files or the way they are made change
CHUNK = 1000  # texts tokenised at once: enough to keep all cores busy, and little memory

ARRAYS: dict[str, np.dtype[Any]] = {  # each a file of numbers without a header
    "offsets": np.dtype(np.int64),  # where each example's tokens start; one more for the end
    "second": np.dtype(np.int32),  # where its second text starts; = its length if there is none
    "labels": np.dtype(np.int32),
    "ids": np.dtype(np.int64),
}


class TokenSplit:
    """N tokenised examples.

    Attributes:
      lengths: [N] int32 tokens, special ones included.
      labels: [N] int32.
      ids: [N] int64, the examples' row numbers in their source.
      cut_count: how many examples were longer than max_length and cut.
      empty_count: how many have an empty text; they are kept.
      remarks: what was odd about the rows, in one line; empty if nothing.
    """

    def __init__(self, folder: Path, notes: dict[str, Any]):
        self.cut_count: int = notes["cut_count"]
        self.empty_count: int = notes["empty_count"]
        self.remarks: str = notes["remarks"]
        self._pad_id: int = notes["pad_id"]
        tokens = _map(folder, "tokens", np.dtype(notes["dtype"]))
        arrays = {name: _map(folder, name, dtype) for name, dtype in ARRAYS.items()}
        self.labels, self.ids = arrays["labels"], arrays["ids"]
        self.lengths = np.diff(arrays["offsets"]).astype(np.int32)
        self._total = len(tokens)
        self._columns = unread({"tokens": tokens, **arrays})

    def __len__(self) -> int:
        return len(self.lengths)

    def gather_labels(self, rows: tf.Tensor) -> Batch:
        """What `gather` gives but for the tokens."""
        real = rows >= 0
        at = tf.maximum(rows, 0)
        return {
            "label": tf.where(real, self._take("labels", at), 0),
            "weight": tf.cast(real, tf.float32),
            "id": tf.where(real, self._take("ids", at), -1),
        }

    def gather(self, rows: tf.Tensor, length: tf.Tensor) -> Batch:
        """A batch of the examples `rows`, padded to `length`.

        In TensorFlow, so that reading ahead needs no Python thread: one that waits for the
        interpreter while an iterator is deleted would block both.

        Args:
          rows: [B] int64 places in this split; -1 for a padding row.
          length: L tokens; at least that of the longest of the examples.

        Returns:
          input_ids, attention_mask, token_type_ids int32 [B, L]; label int32 [B]; weight float32
          [B], 0 for a padding row; id int64 [B], -1 for a padding row. A padding row has one real
          token, as a row that is all masked has no softmax.
        """
        real = rows >= 0
        at = tf.maximum(rows, 0)
        starts = self._take("offsets", at)
        lengths = tf.where(real, self._take("offsets", at + 1) - starts, 0)
        place = tf.range(tf.cast(length, tf.int64))
        held = place < lengths[:, None]
        where = tf.minimum(starts[:, None] + place, self._total - 1)
        tokens = tf.cast(self._take("tokens", where), tf.int32)
        second = tf.cast(self._take("second", at), tf.int64)
        return {
            "input_ids": tf.where(held, tokens, self._pad_id),
            "attention_mask": tf.cast(held | (~real[:, None] & (place == 0)), tf.int32),
            "token_type_ids": tf.cast(held & (place >= second[:, None]), tf.int32),
            **self.gather_labels(rows),
        }

    def _take(self, name: str, at: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._columns.get_value()[name], at)


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
    encoder = Encoder(tokenizer, data.max_length, data.cut)
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
    return TokenSplit(folder, notes)


def _write(
    folder: Path, examples: Iterator[Example], encoder: Encoder, small: bool, advance: Advance
) -> dict[str, object]:
    """Writes the arrays chunk by chunk, so that memory does not grow with the data."""
    dtype: np.dtype[Any] = np.dtype(np.uint16 if small else np.int32)
    files = {name: (folder / f"{name}.bin").open("wb") for name in ("tokens", *ARRAYS)}
    cut_count = empty_count = total = 0
    files["offsets"].write(np.zeros(1, np.int64).tobytes())
    try:
        for chunk, encoded in _encoded(examples, encoder):
            ends = total + np.cumsum([len(each.ids) for each in encoded], dtype=np.int64)
            total = int(ends[-1])
            columns: dict[str, Any] = {
                "tokens": np.concatenate([each.ids for each in encoded]).astype(dtype),
                "offsets": ends,
                "second": [each.second_start for each in encoded],
                "labels": [example.label for example in chunk],
                "ids": [example.id for example in chunk],
            }
            for name, values in columns.items():
                files[name].write(np.asarray(values, ARRAYS.get(name, dtype)).tobytes())
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
    examples: Iterator[Example], encoder: Encoder
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


def _map(folder: Path, name: str, dtype: np.dtype) -> np.ndarray:
    """The array as a plain view of mapped memory: numpy's memmap class is slow to index."""
    # "c": what is never written is never copied, and DLPack takes no read-only array.
    return np.asarray(np.memmap(folder / f"{name}.bin", dtype, mode="c"))


def unread(arrays: dict[str, np.ndarray]) -> tf.experimental.Optional:
    """The arrays as tensors of the same memory, of which nothing is read before it is used.

    A dataset should have them in this form. With every iterator tf.data hashes all plain tensors
    that it uses, whole; and where operations are deterministic it makes nothing ahead that reads a
    variable.
    """
    with tf.device("CPU"):
        return tf.experimental.Optional.from_value(
            {n: tf.experimental.dlpack.from_dlpack(a.__dlpack__()) for n, a in arrays.items()}
        )
