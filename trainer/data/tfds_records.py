"""Datasets as TFDS prepares them: a split read in the fixed order of its files."""

import contextlib
import functools
import hashlib
import json
import logging as std_logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.download import downloader

from trainer import config
from trainer.data.columns import (
    KINDS,
    LABEL,
    LABELS,
    LISTS,
    MAX_ITEMS,
    NUMBER,
    TAGS,
    TEXT,
    WORDS,
    Column,
    Row,
    value_of,
)
from trainer.data.rows import listed
from trainer.data.sources import Records
from trainer.data.tfds_features import only_known
from trainer.errors import UserError

RETRIES = 3  # of a download that finds no network
_FEATURES = KINDS | {  # a text is no label here: its names are not known before it is read
    LABEL: "a class label or whole number",
    LABELS: "a list of class labels or whole numbers",
    TAGS: "a list of class labels or whole numbers, one a word",
}
READ_BATCH = 256  # examples taken from TFDS at once: one at a time is ten times slower


class TfdsRecords:
    """One split, or a part of one such as "test[:100]", of a prepared dataset."""

    remarks = ""  # a record holds what was put into it

    def __init__(
        self,
        builder: tfds.core.DatasetBuilder,
        columns: Sequence[Column],
        split: str,
        names: Mapping[str, Sequence[str]],
    ):
        self._builder, self._split = builder, split
        self.columns, self._names = list(columns), names
        self.title = f"split {split!r} of {builder.info.full_name}"
        try:
            self._files = builder.info.splits[split].file_instructions
        except (KeyError, ValueError, AssertionError) as error:
            known = listed(sorted(builder.info.splits))
            raise UserError(f"no {self.title}; its splits: {known}") from error
        if not sum(part.examples_in_shard and _taken(part) for part in self._files):
            raise UserError(f"{self.title} is empty: name a split that has examples")

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of the record files, which rows of them are read, and the features."""
        try:
            what = [[_content(p.filename), p.skip, _taken(p)] for p in self._files]
        except OSError as error:
            raise self._unreadable(f"{error.filename}: {error.strerror}") from error
        features = self._builder.info.features.to_json()
        return hashlib.sha256(json.dumps([what, features], sort_keys=True).encode()).hexdigest()

    def overlaps(self, other: Records) -> bool:
        """True if both read some row of a record file."""
        assert isinstance(other, TfdsRecords)
        return any(
            mine.filename == its.filename
            and max(mine.skip, its.skip) < min(mine.skip + _taken(mine), its.skip + _taken(its))
            for mine in self._files
            for its in other._files
        )

    def rows(self) -> Iterator[Row]:
        """Raises UserError, with split and row, for what cannot be read or has no label."""
        number = 0
        options = tf.data.Options()
        options.autotune.enabled = False  # its thread can hold up the end of an iterator for long
        names = dict.fromkeys((column.name for column in self.columns), True)
        with _quiet():
            dataset = self._builder.as_dataset(
                split=self._split,
                decoders=tfds.decode.PartialDecoding(names),
                read_config=tfds.ReadConfig(
                    interleave_cycle_length=1, try_autocache=False, options=options
                ),
                shuffle_files=False,
            )
        lists = any(column.kind in LISTS for column in self.columns)
        batches = dataset.ragged_batch(READ_BATCH) if lists else dataset.batch(READ_BATCH)
        for batch in self._read(batches):
            for cells in zip(*(_items(batch[c.name]) for c in self.columns), strict=True):
                number += 1
                values = {
                    column.key: self._value(column, cell, number)
                    for column, cell in zip(self.columns, cells, strict=True)
                }
                yield Row(values, number - 1, self.title)

    def _read(self, batches: tf.data.Dataset) -> Iterator[dict[str, Any]]:
        count = 0
        try:
            for batch in batches.as_numpy_iterator():
                yield batch
                count += len(_items(batch[self.columns[0].name]))
        except tf.errors.OpError as error:
            rows = f"rows {count + 1} to {count + READ_BATCH}"
            raise self._unreadable(f"{rows}: {_one_line(error)}") from error

    def _unreadable(self, what: str) -> UserError:
        return UserError(
            f"cannot read {self.title}, {what}: remove {self._builder.data_dir} and prepare the"
            " dataset again"
        )

    def _value(self, column: Column, cell: Any, number: int) -> Any:
        """A cell as a value of its column's kind."""
        where = f"{self.title}, row {number}"
        if column.kind in LISTS:
            if len(cell) > MAX_ITEMS:
                raise UserError(f"{where}: {len(cell):,} items in {column.name!r}")
            kind = {WORDS: TEXT}.get(column.kind, LABEL)
            found = [self._value(column._replace(kind=kind), each, number) for each in cell]
            return value_of(column, found, where, typed=True)
        if column.kind == TEXT:
            try:
                return cell.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{where}: text is not UTF-8: {error}") from error
        if column.kind == NUMBER:
            return value_of(column, float(cell), where, typed=True)
        names, label = self._names.get(column.key), int(cell)
        if names is None:
            return str(label)
        if not 0 <= label < len(names):
            raise UserError(f"{where} has no label ({label}): name a split with labels")
        return names[label]


def _items(column: Any) -> Any:
    """The cells of a batch's column, each a value or a list."""
    return column.to_list() if hasattr(column, "to_list") else column


def open_records(
    data: config.Data, columns: Sequence[Column], sets: Mapping[str, str]
) -> tuple[dict[str, Records], dict[str, Sequence[str]]]:
    """The records of each set, and the names of labels by the key of their column.

    Args:
      data: the settings.
      columns: those that are read.
      sets: splits by the name of a set.

    Raises:
      UserError: there is no such dataset, split or feature, or it cannot be read.
    """
    builder = _prepared_builder(data)
    _check_features(builder, columns)
    known = {c.key: names for c in columns if (names := _label_names(builder, c)) is not None}
    records: dict[str, Records] = {
        name: TfdsRecords(builder, columns, split, known) for name, split in sets.items()
    }
    return records, known


def _label_names(builder: tfds.core.DatasetBuilder, column: Column) -> Sequence[str] | None:
    """The names of the labels in a column; None where they are whole numbers, or it has none."""
    feature = _inner(builder.info.features[column.name])
    if not isinstance(feature, tfds.features.ClassLabel) or feature.num_classes is None:
        return None
    # Names are generated where there are none: too many of them take all memory.
    return feature.names if feature.num_classes <= 10**6 else [""] * feature.num_classes


def _inner(feature: Any) -> Any:
    """The feature of the items, of a sequence; or the feature itself."""
    return feature.feature if isinstance(feature, tfds.features.Sequence) else feature


def _prepared_builder(data: config.Data) -> tfds.core.DatasetBuilder:
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    where = data.data_dir or str(tfds.core.constants.DATA_DIR)
    try:
        with _quiet(), only_known():
            builder = tfds.builder(data.name, data_dir=data.data_dir or None)
            prepared = builder.is_prepared()
    except Exception as error:  # TFDS raises whatever its own parts raised
        raise UserError(
            f"no TFDS dataset config.data.name={data.name!r} ({_one_line(error)}); prepared in"
            f" {where}: {_prepared_in(where)}: pass --config.data.data_dir=FOLDER, or run"
            " scripts/fetch_sample.py to make imdb_sample"
        ) from error
    if prepared:
        return builder
    try:
        download = tfds.download.DownloadConfig(try_download_gcs=False)
        root = Path(where).expanduser()
        root.mkdir(parents=True, exist_ok=True)
        # One of the workers that share the folder prepares it; TFDS itself would let all do it.
        lock = filelock.FileLock(root / f".{data.name.replace('/', '-')}.lock")
        with lock, _quiet(), _impatient(), only_known():
            builder = tfds.builder(data.name, data_dir=data.data_dir or None)
            builder.download_and_prepare(download_config=download)  # nothing, if it is there now
    except Exception as error:
        raise UserError(
            f"dataset {data.name} is not in {builder.data_dir} and could not be downloaded"
            f" ({_one_line(error)}): prepare it there, pass --config.data.data_dir=FOLDER, or run"
            " scripts/fetch_sample.py for a sample"
        ) from error
    return builder


def _check_features(builder: tfds.core.DatasetBuilder, columns: Sequence[Column]) -> None:
    features = builder.info.features
    for column in columns:
        name = column.name
        if name not in features:
            raise UserError(
                f"{column.field}={name!r} is no feature of {builder.info.full_name};"
                f" its features: {listed(list(features))}"
            )
        feature, is_list = features[name], isinstance(features[name], tfds.features.Sequence)
        inner = _inner(feature)
        dtype = getattr(inner, "np_dtype", None)
        kind = np.dtype(dtype).kind if dtype is not None and inner.shape == () else ""
        is_label = isinstance(inner, tfds.features.ClassLabel) or kind in tuple("iu")
        is_text = not is_label and kind in tuple("OSU")
        fits = {
            TEXT: is_text,
            WORDS: is_text,
            NUMBER: kind in tuple("iuf") and not isinstance(inner, tfds.features.ClassLabel),
        }.get(column.kind, is_label)
        if is_list != (column.kind in LISTS) or not fits:
            raise UserError(
                f"{column.field}={name!r} must be {_FEATURES[column.kind]}, is"
                f" {f'{feature!r}'[:80]}"
            )


def _taken(part: Any) -> int:
    """The number of rows of a file that are read; TFDS writes "all" as -1."""
    return part.examples_in_shard if part.take == -1 else part.take


@functools.cache
def _content(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prepared_in(folder: str) -> str:
    found = Path(folder).expanduser()
    folders = [p for p in found.iterdir() if p.is_dir()] if found.is_dir() else []
    names = [p.name for p in folders if p.name != "downloads"]
    return listed(sorted(names))


def _one_line(error: Exception) -> str:
    text = re.sub(r"{{.*?}} ?", "", str(error))  # where in a graph TensorFlow was
    text = " ".join(text.split()).split(" Available datasets:")[0]  # of thousands
    return f"{type(error).__name__}: {text[:160]}"


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Without a network, TFDS's own ten attempts take minutes."""
    retries, log = downloader.MAX_RETRIES, std_logging.getLogger("urllib3")
    level = log.level
    downloader.MAX_RETRIES = RETRIES
    log.setLevel(std_logging.ERROR)
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries
        log.setLevel(level)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS logs what it does in detail, and warns of itself."""
    level = logging.get_verbosity()
    logging.set_verbosity(min(level, logging.ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(level)
