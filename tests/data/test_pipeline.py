"""tf.data: the planned rows, each on its shard, whatever the shards and the first step."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as config_lib

from tests.data.conftest import load_or_build
from trainer import config
from trainer.data import pipeline, plan, table


@pytest.fixture
def split(source, tokenizer, tmp_path):
    return load_or_build(source, "train", tokenizer, config.Data(max_length=16), tmp_path)


@pytest.fixture
def made(split):
    return plan.TrainPlan(split.lengths, 14, plan.bucket_lengths(split.lengths, 2), seed=1)


def read(dataset):
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset]


@pytest.mark.parametrize(("size", "rows"), [(14, 14), (14, 7), (16, 4), (21, 7)])
def test_workers_hold_the_global_batch_by_position(split, made, size, rows):
    whole = read(pipeline.train_dataset(split, made, 0, 30, 14, 0, 14))
    parts = [
        read(pipeline.train_dataset(split, made, 0, 30, size, first, rows))
        for first in range(0, size, rows)
    ]
    for step, expected in enumerate(whole):
        assert expected["step"] == step
        for name in ("input_ids", "attention_mask", "token_type_ids", "label", "weight", "id"):
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined[:14], expected[name])
            if name == "weight":
                assert not joined[14:].any()
        assert [part[step]["row_start"] for part in parts] == list(range(0, size, rows))
        assert all(part[step]["attention_mask"].any(1).all() for part in parts)


def test_starting_late_is_the_same(split, made):
    whole = read(pipeline.train_dataset(split, made, 0, 40, 14, 0, 14))
    late = read(pipeline.train_dataset(split, made, 25, 40, 14, 0, 14))
    for one, other in zip(whole[25:], late, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_static_shapes(split, made):
    dataset = pipeline.train_dataset(split, made, 0, 2, 14, 7, 7)
    shapes = {name: spec.shape.as_list() for name, spec in dataset.element_spec.items()}
    assert shapes["input_ids"] == shapes["attention_mask"] == [7, None]
    assert shapes["weight"] == [7]
    assert shapes["step"] == []


@pytest.mark.parametrize("size", [32, 33])
def test_evaluation_reads_each_example_once(split, size):
    batches = plan.evaluation_batches(split.lengths, 32, plan.bucket_lengths(split.lengths, 3))
    read_ = read(pipeline.evaluation_dataset(split, batches, size, 0, size))
    ids = np.concatenate([b["id"][b["weight"] > 0] for b in read_])
    assert sorted(ids) == list(range(len(split)))
    assert len(read_) == len(batches)


def test_rows_that_do_not_fit_are_a_mistake(split, made):
    with pytest.raises(ValueError, match="14 rows do not fit in 12 places"):
        read(pipeline.train_dataset(split, made, 0, 1, 12, 0, 6))


def test_a_batch_that_is_too_short_is_a_mistake(split):
    batches = [(np.arange(20), 8)]
    with pytest.raises(ValueError, match="shorter than one of its examples"):
        pipeline.evaluation_dataset(split, batches, 20, 0, 20)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resets the peak of memory")
def test_what_is_not_needed_is_not_read(split, made, tmp_path):
    """As a run has it: with deterministic operations tf.data hashes all tensors it is given."""
    path = tmp_path / "tokens.bin"
    with path.open("wb") as file:
        file.truncate(2**29)
    tokens = np.memmap(path, np.uint16, mode="c")
    columns = {name: each.numpy() for name, each in split._columns.get_value().items()}
    split._columns = table.mapped_tensors(columns | {"tokens": tokens})
    tf.config.experimental.enable_op_determinism()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_mb()
        next(iter(pipeline.train_dataset(split, made, 0, 2, 14, 0, 14)))
        assert peak_mb() < before + 256
    finally:
        config_lib.disable_op_determinism()


def test_batches_are_made_ahead_of_use(split, made, tmp_path, monkeypatch):
    """Where operations are deterministic tf.data does so only for functions without state."""
    gather, log = split.gather, tmp_path / "log"

    def told(rows, length):
        tf.print("made", output_stream=f"file://{log}")
        return gather(rows, length)

    monkeypatch.setattr(split, "gather", told)
    tf.config.experimental.enable_op_determinism()
    try:
        iterator = iter(pipeline.train_dataset(split, made, 0, 9, 14, 0, 14))
        next(iterator)
        deadline = time.monotonic() + 60
        while (count := log.read_text().count("made")) < 9 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert count == 9
    finally:
        config_lib.disable_op_determinism()
