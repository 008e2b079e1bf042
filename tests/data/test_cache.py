"""The token cache: what gather makes of it, and that damage or a race leaves nothing wrong."""

import json
import multiprocessing
import os
import signal
import time

import filelock
import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.data.conftest import gold_of, load_or_build, opened, write_csv
from trainer import config
from trainer.data import cache, store
from trainer.data.encode import TextEncoder
from trainer.data.progress import bar
from trainer.data.subwords import Subwords
from trainer.errors import UserError
from trainer.storage.disk import seal_of


@pytest.fixture
def data():
    return config.Data(max_length=12, cut="head+tail")


@pytest.fixture
def split(source, tokenizer, data, tmp_path):
    return load_or_build(source, "train", tokenizer, data, tmp_path / "c", bar)


def gather(split, rows, length):
    return {name: value.numpy() for name, value in split.gather(rows, length).items()}


def test_a_split_holds_what_the_encoder_makes(split, source, tokenizer, data):
    rows_read, gold = list(source.rows("train")), gold_of(source, "train")
    encoder = TextEncoder(tokenizer, 12, "head+tail")
    encoded = encoder.encode([row["text"] for row in rows_read])
    assert len(split) == len(rows_read)
    assert split.lengths.tolist() == [len(e.ids) for e in encoded]
    assert split.gold["label"].tolist() == [each["label"] for each in gold]
    assert split.rows.tolist() == [row.id for row in rows_read]
    assert split.gold["rows"].tolist() == split.rows.tolist()
    assert split.gold["lengths"].tolist() == split.lengths.tolist()
    assert split.cut_count == sum(e.cut for e in encoded) > 0
    kinds = (split.lengths.dtype, split.gold["label"].dtype, split.rows.dtype)
    assert kinds == (np.int32, np.int32, np.int64)

    rows = np.array([5, -1, 0, 5])
    batch = gather(split, rows, 16)
    for at, row in enumerate(rows):
        ids = encoded[row].ids if row >= 0 else np.array([tokenizer.pad_token_id])
        assert batch["input_ids"][at].tolist() == [*ids, *[0] * (16 - len(ids))]
        assert batch["attention_mask"][at].tolist() == [1] * len(ids) + [0] * (16 - len(ids))
    assert not batch["token_type_ids"].any()
    assert batch["label"].tolist() == [gold[5]["label"], 0, gold[0]["label"], gold[5]["label"]]
    assert batch["weight"].tolist() == [1, 0, 1, 1]
    assert batch["id"].tolist() == [5, -1, 0, 5]
    kinds = {name: value.dtype.name for name, value in batch.items()}
    assert kinds.pop("id") == "int64"
    assert kinds.pop("weight") == "float32"
    assert set(kinds.values()) == {"int32"}


def test_pairs_have_token_types_and_empty_texts_are_kept(tokenizer, tmp_path):
    rows = [["good film", "bad man", 1], ["", " ", 0], ["a", "", 1]]
    paths = [
        str(write_csv(tmp_path / f"{n}.csv", rows[n:], ["text", "two", "label"])) for n in range(3)
    ]
    data = config.Data("files", "", "", *paths[:2], 0.1, paths[2], max_length=16)
    source = opened(data, text_pair="two")
    split = load_or_build(source, "train", tokenizer, data, tmp_path / "c", text_pair="two")
    batch = gather(split, np.arange(3), 8)
    assert split.empty_count == 1
    assert split.lengths.tolist() == [7, 3, 4]
    assert batch["token_type_ids"].tolist()[:2] == [[0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 1] + [0] * 5]
    expected = tokenizer.for_transformers()("good film", "bad man")
    assert batch["input_ids"][0, :7].tolist() == expected["input_ids"]
    assert batch["token_type_ids"][0, :7].tolist() == expected["token_type_ids"]


def test_ids_beyond_the_number_of_tokens_are_kept(source, tokenizer, data, tmp_path):
    vocab = {"[UNK]": 0, "good": 7, "film": 70_000}
    backend = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    gaps = Subwords(backend, {"unk_token": "[UNK]"}, {})
    split = load_or_build(source, "train", gaps, data, tmp_path)
    batch = gather(split, np.arange(len(split)), 16)
    assert set(batch["input_ids"].flat) == set(vocab.values())


def test_it_is_built_once_and_again_when_something_changed(
    source, tokenizer, data, tmp_path, monkeypatch
):
    built = []
    write = cache._write

    def counted(*args, **more):
        built.append(1)
        return write(*args, **more)

    monkeypatch.setattr(cache, "_write", counted)

    def load(split="train"):
        load_or_build(source, split, tokenizer, data, tmp_path)
        return len(built)

    assert [load(), load(), load("test"), load("test")] == [1, 1, 2, 2]
    data.cut = "head"
    assert load() == 3
    data.max_length = 10
    assert load() == 4
    tokenizer = Subwords(tokenizer.backend_tokenizer, {"pad_token": "film"}, {})
    assert load() == 5
    tokenizer = Subwords(
        tokenizer.backend_tokenizer, {"pad_token": "film", "eos_token": "good"}, {}
    )
    assert load() == 6  # rows may hold the token that is the end


@pytest.mark.parametrize("name", ["tokens.bin", "label.bin", store.META])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_said_and_mended(source, tokenizer, data, tmp_path, caplog, name, damage):
    def load():
        return load_or_build(source, "train", tokenizer, data, tmp_path / "c")

    expected = gather(load(), np.arange(20), 16)
    [folder] = [p for p in (tmp_path / "c").iterdir() if p.is_dir()]
    content = bytearray((folder / name).read_bytes())
    (folder / name).unlink()
    if damage != "remove":
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content[: None if damage == "flip" else len(content) // 2])
    caplog.clear()
    again = gather(load(), np.arange(20), 16)
    assert all(np.array_equal(expected[key], again[key]) for key in expected)
    [record] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "token cache of train" in record.getMessage()
    assert "is damaged" in record.getMessage()


@pytest.mark.parametrize(
    "meta",
    [
        *(b"[1]", b"5", b"null", b"", b"{}", b"\xff", b"[" * 100_000, b'{"sum": []}'),
        b'{"files": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        *(
            json.dumps({**held, "sum": seal_of(held)}).encode()
            for held in ({"files": [], "notes": {}}, {"files": {}}, {"files": {}, "notes": 5})
        ),
    ],
)
def test_notes_that_are_none_are_built_again(tmp_path, caplog, meta):
    def build(part):
        (part / "one").write_text("1")
        return {"by": 7}

    folder, notes = store.open_or_build(tmp_path, "thing", "thing", build)
    (folder / store.META).write_bytes(meta)
    assert store.open_or_build(tmp_path, "thing", "thing", build) == (folder, notes)
    assert "is damaged" in caplog.text
    caplog.clear()
    assert store.open_or_build(tmp_path, "thing", "thing", build) == (folder, notes)
    assert not caplog.text


def _build_slowly(folder, seconds):
    def build(part):
        (part / "one").write_text("1")
        time.sleep(seconds)
        (part / "two").write_text("2")
        return {"by": os.getpid()}

    return store.open_or_build(folder, "thing", "thing", build)[1]["by"]


@pytest.mark.long
def test_two_processes_build_one(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        makers = pool.starmap(_build_slowly, [(tmp_path, 0.3)] * 2)
    assert makers[0] == makers[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thing", "thing.lock"]


def test_whoever_reads_does_not_wait_for_others(tmp_path):
    """Not even where the lock is held: 32 workers check the folder side by side."""
    _build_slowly(tmp_path, 0)
    with filelock.FileLock(tmp_path / "thing.lock"):
        assert _build_slowly(tmp_path, 60) == os.getpid()


@pytest.mark.long
def test_a_killed_build_leaves_nothing_that_counts(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=_build_slowly, args=(tmp_path, 60)
    )
    process.start()
    while not list(tmp_path.glob("thing.part-*/one")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert _build_slowly(tmp_path, 0) == os.getpid()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thing", "thing.lock"]


def test_a_failed_build_leaves_nothing(tmp_path, source, tokenizer, data):
    def fail(part):
        (part / "one").write_text("1")
        raise UserError("row 7 is bad")

    with pytest.raises(UserError, match="row 7"):
        store.open_or_build(tmp_path, "thing", "thing", fail)
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the token cache of test in .*file"):
        load_or_build(source, "test", tokenizer, data, tmp_path / "file")


def test_gather_is_quick(source, tokenizer, tmp_path):
    split = load_or_build(source, "train", tokenizer, config.Data(), tmp_path)
    rows = tf.range(64, dtype=tf.int64) % len(split)
    compiled = tf.function(split.gather)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        compiled(rows, 384)
        times.append(time.perf_counter() - start)
    assert min(times) < 2e-3  # seconds
