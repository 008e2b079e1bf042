"""Parallel text: a file of lines for each column."""

import dataclasses
import gzip
import os

import pytest

from tests.helpers.one_text import OneText
from trainer import config, settings
from trainer.data import sources
from trainer.data.columns import LABEL, TEXT
from trainer.errors import UserError
from trainer.tasks.task import Task

EN = ["A dog.", "  Two men\twork ", "", "a \u2028 b \x85 c \x0b d", 'He says "no', "x"]
DE = ["Ein Hund.", "Zwei Männer", "leer", "a\u2029b\x1cc", "", "y"]
ROWS = [{"source": en, "target": de} for en, de in zip(EN, DE, strict=True)]


@dataclasses.dataclass
class Translating(Task):
    """Two texts, and a kind of row where it is asked for."""

    source: str = settings.column(TEXT, "en")
    target: str = settings.column(TEXT, "de")
    kind_: str = settings.column(LABEL)


def write(folder, stem="train", packed="", **columns):
    """A file of each column; by default those of ROWS."""
    for name, lines in (columns or {"en": EN, "de": DE}).items():
        held = lines if isinstance(lines, bytes) else "".join(f"{t}\n" for t in lines).encode()
        path = folder / f"{stem}.{name}{packed}"
        path.write_bytes(gzip.compress(held) if packed else held)


def opened(folder, task=None, **fields) -> sources.Source:
    given = {"train": "train", "test": "", "validation_share": 0.0, **fields}
    data = config.Data(source="files", data_dir=str(folder), format="parallel", **given)
    return sources.open_source(data, task or Translating())


def rows(folder, split="train", **fields) -> list[dict]:
    return list(opened(folder, **fields).rows(split))


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_line_of_each_file_is_a_row(tmp_path, packed):
    write(tmp_path, packed=packed)
    found = rows(tmp_path)
    assert found == ROWS
    assert [row.id for row in found] == list(range(len(ROWS)))
    ends = [f"train.{name}{packed}" for name in ("en", "de")]
    assert found[3].where == f"files {tmp_path / ends[0]} and {ends[1]}, row 4"


def test_one_packed_the_other_not_and_line_ends_of_windows(tmp_path):
    write(tmp_path, packed=".gz", en=EN)
    write(tmp_path, de="\r\n".join(DE).encode())  # no end of the last line
    assert rows(tmp_path) == ROWS
    write(tmp_path, de=b"\xef\xbb\xbf" + "\n".join(DE).encode())
    assert rows(tmp_path) == ROWS


def test_columns_of_other_kinds_and_a_single_one(tmp_path):
    write(tmp_path, en=EN, de=DE, topic=["a", "b", "a", "b", "a", "b"])
    task = Translating(kind_="topic")
    assert [row["kind_"] for row in opened(tmp_path, task).rows("train")] == [*"ababab"]
    found = opened(tmp_path, OneText("de")).rows("train")
    assert [row["text"] for row in found] == DE
    write(tmp_path, topic=["a", "b", "", "b", "a", "b"])
    with pytest.raises(UserError, match=r"topic, row 3: the label is empty"):
        list(opened(tmp_path, task).rows("train"))


def test_parts_of_a_set(tmp_path):
    write(tmp_path)
    parts = {"train": "train[:50%]", "validation": "train[50%:67%]", "test": "train[67%:]"}
    cut = [rows(tmp_path, split, **parts) for split in parts]
    assert cut == [ROWS[:3], ROWS[3:4], ROWS[4:]]
    assert [row.id for row in cut[1]] == [3]
    with pytest.raises(UserError, match=r"train='train\[60%:50%\]' must be a part of the rows"):
        opened(tmp_path, train="train[60%:50%]")
    with pytest.raises(UserError, match="this would report on examples that were trained on"):
        opened(tmp_path, train="train[:70%]", test="train[60%:]")


def test_several_sets_a_mixture_and_what_is_left_out(tmp_path):
    write(tmp_path)
    write(tmp_path, "more", en=["x", "new"], de=["z", "neu"])
    write(tmp_path, "test_2016", en=["A dog."], de=["Ein Hund."])
    more = {"mixture": ("more",), "exclude": ("test_2016:en",), "more_tests": ("old=test_2016",)}
    source = opened(tmp_path, **more)
    assert [row["target"] for row in source.rows("train")] == [*DE[1:], "z", "neu"]
    assert [row["source"] for row in source.rows("old")] == ["A dog."]
    with pytest.raises(UserError, match=r"config\.data\.train='train' overlaps"):
        opened(tmp_path, more_tests=("old=train",))
    write(tmp_path, "same_source", en=EN, de=DE[::-1])
    with pytest.raises(UserError, match="overlaps"):
        opened(tmp_path, test="same_source")


def test_the_fingerprint_is_of_all_files_and_not_of_their_names(tmp_path):
    write(tmp_path)
    write(tmp_path, "packed", ".gz")
    write(tmp_path, "other", en=EN, de=[*DE[:-1], "z"])
    write(tmp_path, "turned", en=DE, de=EN)
    base = opened(tmp_path).fingerprint("train")
    assert opened(tmp_path, train="packed").fingerprint("train") == base
    others = [opened(tmp_path, train=t) for t in ("other", "turned", "train[:99%]")]
    others.append(opened(tmp_path, Translating(source="de", target="en")))
    assert len({base, *(each.fingerprint("train") for each in others)}) == 5


def test_unequal_numbers_of_lines(tmp_path):
    write(tmp_path, en=["a"] * 1234, de=["b"] * 1232)
    said = (
        rf"files {tmp_path}/train\.en and train\.de must have as many lines, one a row: train\.en"
        r" 1,234, train\.de 1,232: mend the files"
    )
    for train in ("train", "train[:10%]"):
        with pytest.raises(UserError, match=said) as caught:
            rows(tmp_path, train=train)
    assert "\n" not in str(caught.value)
    write(tmp_path, en=[], de=["b"])
    with pytest.raises(UserError, match=r"train\.en 0, train\.de 1"):
        opened(tmp_path)
    write(tmp_path, en=["a", ""], de=["b"])  # an empty last line is one
    with pytest.raises(UserError, match=r"train\.en 2, train\.de 1"):
        rows(tmp_path)


def test_what_is_not_to_be_read(tmp_path):
    write(tmp_path)
    write(tmp_path, "bad", en=EN, de=b"a\nb\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"file .*/bad\.de, line 3: not UTF-8 \(byte 0xff at"):
        rows(tmp_path, train="bad")
    write(tmp_path, "bad", de=b"a\rb\n")
    with pytest.raises(UserError, match=r"bad\.de, line 1: a carriage return inside the line"):
        rows(tmp_path, train="bad")
    (tmp_path / "bad.de").unlink()
    (tmp_path / "bad.de.gz").write_bytes(gzip.compress("".join(DE).encode())[:-9])
    with pytest.raises(UserError, match=r"bad\.de\.gz is no whole gzip file"):
        rows(tmp_path, train="bad")
    write(tmp_path, "empty", en=[], de=[])
    with pytest.raises(UserError, match=r"empty\.en and empty\.de is empty: it has no example"):
        rows(tmp_path, train="empty")
    os.mkfifo(tmp_path / "pipe.en")
    write(tmp_path, "pipe", de=DE)
    with pytest.raises(UserError, match=r"pipe\.en is no regular file: it must be read more"):
        opened(tmp_path, train="pipe")
    (tmp_path / "folder.en").mkdir()
    write(tmp_path, "folder", de=DE)
    with pytest.raises(UserError, match=r"cannot read file .*/folder\.en: Is a directory"):
        opened(tmp_path, train="folder")


@pytest.mark.parametrize("train", ["no", "*", "train.en", "train[:20%].en", ""])
def test_a_file_that_is_not_there(tmp_path, train):
    write(tmp_path, "train", en=EN)
    train = train or "train"
    with pytest.raises(UserError, match="there is no such file or folder at") as caught:
        opened(tmp_path, train=train)
    name = "de" if train == "train" else "en"
    key = "target" if name == "de" else "source"
    begins = f"config.data.train={train!r} with config.task.{key}={name!r}: there is no such file"
    assert str(caught.value).startswith(f"{begins} or folder at {tmp_path}/{train}.{name}: correct")


def test_a_column_without_a_name(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match=r"config\.task\.target is empty: with .*'en' in train\.en"):
        opened(tmp_path, Translating(target=""))
