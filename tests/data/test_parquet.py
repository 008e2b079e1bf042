"""Parquet: the same rows as from other files, and what is refused."""

import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.conftest import ROWS, opened
from trainer import config
from trainer.data import sources
from trainer.errors import UserError
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging


def written(path, columns, **how):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **how)
    return config.Data(source="files", train=str(path), test="")


def test_the_rows_are_those_of_a_csv(make_files, tmp_path):
    texts, labels = zip(*ROWS, strict=True)
    unread = [{"a": 1}] * len(ROWS)
    columns = {"more": unread, "label": pyarrow.array(labels).dictionary_encode(), "text": texts}
    data = written(tmp_path / "t.parquet", columns, row_group_size=7)
    assert list(opened(data).rows("train")) == list(opened(make_files(ROWS)).rows("train"))
    assert [row.id for row in opened(data).rows("validation")]
    before = opened(data).fingerprint("train")
    written(tmp_path / "t.parquet", {"label": labels[::-1], "text": texts})
    assert opened(data).fingerprint("train") != before


def test_numbers_and_lists(tmp_path):
    data = written(tmp_path / "t.parquet", {"text": ["a", "b"], "score": [0.5, 2]})
    source = sources.open_source(data, Regression())
    assert [row["score"] for row in source._records["train"].rows()] == [0.5, 2.0]
    columns = {"tokens": [["EU", "rejects"], ["Peter"]], "ner_tags": [["B-ORG", "O"], ["B-PER"]]}
    source = sources.open_source(written(tmp_path / "w.parquet", columns), Tagging())
    assert source.facts["types"] == ["ORG", "PER"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": [{"a": "b"}], "label": ["x"]}, r"column 'text' is nested \(struct<a: string>\)"),
        ({"text": [[["b"]]], "label": ["x"]}, r"column 'text' is nested \(list<"),
        ({"text": ["a"], "label": [None]}, r"row 1: label 'label' must be text or a whole number"),
        ({"text": [None], "label": ["x"]}, r"row 1: 'text' must be text, is None"),
        ({"text": ["a"], "label": [datetime.date(2026, 1, 2)]}, r"is datetime\.date\(2026, 1, 2\)"),
        ({"text": [["a"]], "label": ["x"]}, r"row 1: 'text' must be text, is \['a'\]"),
        ({"text": ["a"]}, r"has no column 'label'; its columns: 'text'"),
    ],
)
def test_what_is_refused(tmp_path, columns, said):
    with pytest.raises(UserError, match=said):
        opened(written(tmp_path / "t.parquet", columns))


def test_files_that_are_no_parquet(tmp_path):
    data = written(tmp_path / "t.parquet", {"text": ["a"] * 99, "label": ["x", "y", "z"] * 33})
    whole = (tmp_path / "t.parquet").read_bytes()
    for damaged in (b"", b"text,label\n", whole[:-20], whole[:4] + b"\0" * 200 + whole[204:]):
        (tmp_path / "t.parquet").write_bytes(damaged)
        with pytest.raises(UserError, match=r"t\.parquet is no whole Parquet file: "):
            opened(data)
    data.train += ".gz"
    Path(data.train).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"is packed twice: unpack it"):
        opened(data)
