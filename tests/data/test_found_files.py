"""Files that config.data names, looked for in its data_dir, packed or not."""

import gzip

import pytest

from trainer import config
from trainer.data.columns import LABEL, TEXT, Column
from trainer.data.many_files import open_records
from trainer.errors import UserError

COLUMNS = [Column("text", "text", TEXT)]


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = f"text\n{text}\n".encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _read(**fields) -> str:
    """The text in the file that is found for train."""
    data = config.Data(source="files", train="train.csv", test="", **fields)
    records, _ = open_records(data, COLUMNS, config.sets(data))
    (row,) = records["train"].rows()
    return row["text"]


@pytest.mark.parametrize(
    "place",
    ["train.csv", "train.csv.gz", "CoLA/train.csv.gz", "glue/CoLA/train.csv", "CoLA/train.csv"],
)
def test_a_file_in_the_folder_or_in_that_of_the_name(tmp_path, place):
    _write(tmp_path / place, "found")
    assert _read(data_dir=str(tmp_path), name="glue/CoLA") == "found"


def test_the_nearest_goes_first_and_the_plain_before_the_packed(tmp_path):
    for place in ("glue/CoLA/train.csv", "CoLA/train.csv.gz", "train.csv.gz", "train.csv"):
        _write(tmp_path / place, place)
    assert _read(data_dir=str(tmp_path), name="glue/CoLA") == "train.csv"
    (tmp_path / "train.csv").unlink()
    assert _read(data_dir=str(tmp_path), name="glue/CoLA") == "train.csv.gz"
    (tmp_path / "train.csv.gz").unlink()
    assert _read(data_dir=str(tmp_path), name="glue/CoLA") == "glue/CoLA/train.csv"


def test_without_a_folder_names_are_of_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "train.csv", "here")
    _write(tmp_path / "glue" / "train.csv", "there")
    assert _read(name="glue") == "here"


def test_a_whole_path_is_taken_as_it_is(tmp_path):
    _write(tmp_path / "a" / "train.csv", "inside")
    _write(tmp_path / "b" / "train.csv", "outside")
    data = config.Data(
        source="files",
        train=str(tmp_path / "b" / "train.csv"),
        data_dir=str(tmp_path / "a"),
        test="",
    )
    (row,) = open_records(data, COLUMNS, config.sets(data))[0]["train"].rows()
    assert row["text"] == "outside"


def test_what_is_nowhere_is_looked_for_where_it_should_be(tmp_path):
    said = rf"no such file or folder at {tmp_path}/train\.csv: correct"
    with pytest.raises(UserError, match=said):
        _read(data_dir=str(tmp_path), name="glue/CoLA")


def test_labels_are_of_one_type_in_all_files(tmp_path):
    (tmp_path / "train").mkdir()
    for name, label in (("train/a", "1"), ("train/b", "2"), ("test", '"1"')):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "a", "label": {label}}}\n' * 2)
    data = config.Data(source="files", train="train", test="test.jsonl", data_dir=str(tmp_path))
    columns = [*COLUMNS, Column("label", "label", LABEL)]
    said = r"test\.jsonl, row 1: 'label' is a text, '1', and in row 1 of file .*a\.jsonl a number"
    with pytest.raises(UserError, match=said):
        open_records(data, columns, config.sets(data))
    (tmp_path / "train" / "b.jsonl").write_text(
        '{"text": "a", "label": 1}\n{"text": "a", "label": "2"}'
    )
    records, _ = open_records(data, columns, {"train": "train"})
    with pytest.raises(
        UserError, match=r"b\.jsonl, row 2: 'label' is a text, '2', and in row 1 of"
    ):
        list(records["train"].rows())
