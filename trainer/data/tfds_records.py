"""Datasets as TFDS prepares them: a split read in the fixed order of its files."""

import contextlib
import functools
import hashlib
import json
import logging as std_logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.download import downloader

from trainer import config
from trainer.data import labels
from trainer.data.rows import listed
from trainer.data.sources import Records, Row
from trainer.data.tfds_features import only_known
from trainer.errors import UserError

RETRIES = 3  # of a download that finds no network
READ_BATCH = 256  # examples taken from TFDS at once: one at a time is ten times slower


class TfdsRecords:
    """One split, or a part of one such as "test[:100]", of a prepared dataset."""

    remarks = ""  # a record holds what was put into it

    def __init__(
        self,
        builder: tfds.core.DatasetBuilder,
        data: config.Data,
        split: str,
        names: list[str] | None,
    ):
        self._builder, self._data, self._split, self._names = builder, data, split, names
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
        data, number = self._data, 0
        names = [data.text, data.label] + ([data.text_pair] if data.text_pair else [])
        options = tf.data.Options()
        options.autotune.enabled = False  # its thread can hold up the end of an iterator for long
        with _quiet():
            batches = self._builder.as_dataset(
                split=self._split,
                decoders=tfds.decode.PartialDecoding(dict.fromkeys(names, True)),
                read_config=tfds.ReadConfig(
                    interleave_cycle_length=1, try_autocache=False, options=options
                ),
                shuffle_files=False,
            ).batch(READ_BATCH)
        for batch in self._read(batches):
            for cells in zip(*(batch[name] for name in names), strict=True):
                number += 1
                text, pair = (
                    self._decode(c, number) if c is not None else None
                    for c in (cells[0], cells[2] if data.text_pair else None)
                )
                assert text is not None
                yield Row(text, pair, self._label(int(cells[1]), number))

    def _read(self, batches: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
        count = 0
        try:
            for batch in batches.as_numpy_iterator():
                yield batch
                count += len(batch[self._data.label])
        except tf.errors.OpError as error:
            rows = f"rows {count + 1} to {count + READ_BATCH}"
            raise self._unreadable(f"{rows}: {_one_line(error)}") from error

    def _unreadable(self, what: str) -> UserError:
        return UserError(
            f"cannot read {self.title}, {what}: remove {self._builder.data_dir} and prepare the"
            " dataset again"
        )

    def _decode(self, text: bytes, number: int) -> str:
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.title}, row {number}: text is not UTF-8: {error}") from error

    def _label(self, label: int, number: int) -> str:
        names = self._names
        if names is None:
            return str(label)
        if not 0 <= label < len(names):
            raise UserError(
                f"{self.title}, row {number} has no label ({label}): name a split with labels"
            )
        return names[label]


def open_records(data: config.Data) -> tuple[dict[str, Records], list[str] | None]:
    """The records of each split, and the class names where the dataset knows them."""
    builder = _prepared_builder(data)
    _check_features(builder, data)
    names = _class_names(builder, data.label)
    records: dict[str, Records] = {
        split: TfdsRecords(builder, data, getattr(data, split), names)
        for split in ("train", "validation", "test")
        if getattr(data, split)
    }
    return records, names and labels.reordered(names, data.labels, builder.info.full_name)


def _class_names(builder: tfds.core.DatasetBuilder, column: str) -> list[str] | None:
    """The names of the classes; None where labels are whole numbers."""
    feature = builder.info.features[column]
    if not isinstance(feature, tfds.features.ClassLabel) or feature.num_classes is None:
        return None
    if not 2 <= feature.num_classes <= config.MAX_CLASSES:
        raise UserError(
            f"config.data.label={column!r} of {builder.info.full_name} has"
            f" {feature.num_classes:,} classes: 2 to {config.MAX_CLASSES:,} can be told apart"
        )
    return list(feature.names)


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


def _check_features(builder: tfds.core.DatasetBuilder, data: config.Data) -> None:
    features = builder.info.features
    for field in ("text", "text_pair", "label"):
        name = getattr(data, field)
        if name and name not in features:
            raise UserError(
                f"config.data.{field}={name!r} is no feature of {builder.info.full_name};"
                f" its features: {listed(list(features))}"
            )
        if not name:
            continue
        feature, dtype = features[name], np.dtype(features[name].np_dtype)
        is_label = isinstance(feature, tfds.features.ClassLabel) or dtype.kind in "iu"
        wanted = "a class label or whole number" if field == "label" else "text"
        fits = is_label if field == "label" else not is_label and dtype.kind in "OSU"
        if feature.shape != () or not fits:
            kind = f"{feature!r}"[:80]
            raise UserError(f"config.data.{field}={name!r} must be {wanted}, is {kind}")


def _taken(part: Any) -> int:
    """How many rows of a file are read; TFDS writes "all" as -1."""
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
