"""Sources: what is read, in which order, under which fingerprint, and what is refused."""

import json
import shutil

import pytest

from tests.data.conftest import ROWS, gold_of, opened, write_csv
from trainer import config
from trainer.data import survey
from trainer.errors import UserError


def ids(source, split):
    return [row.id for row in source.rows(split)]


def test_files_are_read_in_order_with_labels_by_name(source):
    assert source.facts == {"labels": ["bad", "good"]}
    rows = list(source.rows("test"))
    assert [row.id for row in rows] == list(range(20))
    assert rows[1] == {"text": f"{ROWS[1][0]} .", "label": "good"}
    assert rows[1].where.endswith("test.csv, row 2")
    assert rows == list(source.rows("test"))
    assert gold_of(source, "test")[1] == {"label": 1}


def test_validation_is_cut_from_train_by_text(make_files):
    rows = [*ROWS, *ROWS[:50]]
    source = opened(make_files(train=rows, validation_share=0.3))
    sides = [{row["text"] for row in source.rows(s)} for s in ("train", "validation")]
    assert not sides[0] & sides[1]
    assert sorted(ids(source, "train") + ids(source, "validation")) == list(range(250))
    share = len(ids(source, "validation")) / 250
    assert 0.2 < share < 0.4


def test_the_cut_is_by_a_hash_of_its_own():
    """A dataset may itself be cut by the sha256 of its texts, as the sample is."""
    assert survey.place_of("a") == int("efe1b0acbf83449e", 16) / 2**64
    assert survey.place_of("a", "") != survey.place_of("a")


def test_a_fingerprint_is_of_content_and_settings(make_files, tmp_path):
    base = opened(make_files())
    assert len(base.fingerprint("train")) == 64
    assert len({base.fingerprint(s) for s in base.names}) == 3
    again = opened(make_files(max_length=99))
    assert base.fingerprint("train") == again.fingerprint("train")
    other = opened(make_files(validation_share=0.2))
    assert base.fingerprint("train") != other.fingerprint("train")
    assert base.fingerprint("test") == other.fingerprint("test")
    changed = opened(make_files(train=[*ROWS, ("one more", "good")]))
    assert base.fingerprint("train") != changed.fingerprint("train")
    balanced = opened(make_files(), class_weights=("balanced",))
    assert balanced.facts["counts"]
    assert base.fingerprint("test") == balanced.fingerprint("test")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["4.5", "4", "5"], ["4", "4.5", "5"]),
    ],
)
def test_whole_numbers_are_sorted_by_value(make_files, labels, expected):
    rows = [(f"t{i}", labels[i % 3]) for i in range(9)]
    assert opened(make_files(rows, rows)).facts["labels"] == expected


def test_texts_may_hold_quotes_and_every_kind_of_line_end(make_files):
    text = 'one "two",\nthree\r\nfour\u2028five\x85six\x1cseven\tend'
    source = opened(make_files([(text, "a"), ("x" * 200_000, "b")], [("", "a")]))
    read = sorted(row["text"] for row in source.rows("train"))
    assert read == sorted([text, "x" * 200_000])


def test_pairs_tsv_and_jsonl(tmp_path):
    train = write_csv(tmp_path / "a.tsv", [["x", "y", 1], ["z", "w", 0]], ["one", "two", "label"])
    test = tmp_path / "b.jsonl"
    rows = [
        {"label": 1, "one": "p\u2028q", "two": "", "more": [1]},
        {"label": 0, "one": "", "two": "t"},
    ]
    test.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    data = config.Data(*("files", "", ""), str(train), str(train), 0.1, str(test))
    pair = {"text": "one", "text_pair": "two"}
    with pytest.raises(UserError, match=r"train.*overlaps.*validation"):
        opened(data, **pair)
    copy = write_csv(tmp_path / "c.csv", [["x", "y", 1]], ["one", "two", "label"])
    data.validation = str(copy)
    source = opened(data, **pair)
    found = [(row.id, *row.values()) for row in source.rows("test")]
    assert found == [(0, "p\u2028q", "", "1"), (1, "", "t", "0")]
    assert gold_of(source, "test", **pair) == [{"label": 1}, {"label": 0}]
    assert list(source.rows("validation")) == [{"text": "x", "text_pair": "y", "label": "1"}]
    assert [row.id for row in source.rows("validation")] == [0]


def test_a_bad_file_is_named_with_its_row(make_files, tmp_path):
    def refused(content: bytes, name="bad.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            gold_of(opened(bad(path)), "test")
        message = str(caught.value)
        assert "\n" not in message
        assert name in message
        return message

    def bad(path):
        data = make_files()
        data.test = str(path)
        return data

    assert "line 3: not UTF-8 (byte 0xff at position 1)" in refused(
        b"text,label\na,bad\nb\xff,bad\n"
    )
    assert "has no column 'label'; its columns: 'text', 'mark'" in refused(b"text,mark\na,bad\n")
    assert "row 2: label 'ugly' is not one of" in refused(b"text,label\na,bad\nb,ugly\n")
    assert "row 1 (line 2): 3 cells under 2 columns" in refused(b"text,label\na,b,bad\n")
    assert "row 1: the label is empty" in refused(b"text,label\na,\n")
    assert "is empty" in refused(b"text,label\n")
    assert "its columns: none" in refused(b"")
    assert "line 2: unexpected end of data" in refused(b'text,label\n"a,bad\n')
    assert "must end in .csv, .tsv, .jsonl" in refused(b"", "bad.txt")
    assert "row 2: not JSON" in refused(b'{"text": "a", "label": "bad"}\n{oops\n', "bad.jsonl")
    assert "row 1: not a JSON object" in refused(b"[1]\n", "bad.jsonl")
    assert "row 1: label 'label' must be text or a whole" in refused(
        b'{"text": "a", "label": 1.5}\n', "bad.jsonl"
    )
    assert "row 1: 'text' must be text, is 3" in refused(b'{"text": 3, "label": "bad"}', "b.jsonl")
    assert r"row 2: 'text' holds '\ud800', half of a surrogate pair" in refused(
        b'{"text": "\\ud83d\\ude00", "label": "bad"}\n{"text": "a \\ud800", "label": "bad"}\n',
        "bad.jsonl",
    )
    assert "row 1 has no column 'label'" in refused(b'{"text": "a"}', "bad.jsonl")


def test_missing_files_and_single_labels_are_refused(make_files, tmp_path):
    with pytest.raises(
        UserError,
        match=r"csv': there is no such file or folder: correct .* --config.data.validation=$",
    ):
        opened(make_files(test=ROWS[:2], validation=str(tmp_path / "nowhere.csv")))
    with pytest.raises(UserError, match="1 distinct labels: at least 2"):
        opened(make_files([("a", "x"), ("b", "x")]))
    tiny = opened(make_files([("a", "x"), ("b", "y")], validation_share=0.001))
    with pytest.raises(UserError, match=r"validation_share=0.001 .* no example for validation"):
        list(tiny.rows("validation"))


def test_the_reported_file_cannot_be_selected_on(make_files, tmp_path):
    data = make_files()
    data.validation = str(tmp_path / "copy.csv")
    (tmp_path / "copy.csv").write_bytes((tmp_path / "test.csv").read_bytes())
    with pytest.raises(UserError, match="selecting on the split that is reported"):
        opened(data)
    data.validation, data.test = "", str(tmp_path / "." / "train.csv")
    with pytest.raises(UserError, match="report on examples that were trained on"):
        opened(data)


def tiny(tfds_dir, **fields):
    settings = {name: fields.pop(name) for name in ("text", "label", "labels") if name in fields}
    return opened(config.Data(name="tiny", data_dir=str(tfds_dir), **fields), **settings)


def test_tfds_splits_and_parts_of_splits(tfds_dir):
    source = tiny(tfds_dir, validation="test[:25%]", test="test[10:]")
    assert source.facts == {"labels": ["bad", "good"]}
    assert [row["text"] for row in source.rows("train")] == [text for text, _ in ROWS[:60]]
    assert [row["text"] for row in source.rows("test")] == [text for text, _ in ROWS[70:80]]
    assert ids(source, "validation") == [0, 1, 2, 3, 4]
    assert len({source.fingerprint(s) for s in source.names}) == 3
    assert tiny(tfds_dir, label="stars").facts["labels"] == ["0", "10"]


def test_the_classes_of_a_dataset_in_another_order(tfds_dir):
    named = {
        order[0]: [order[each["label"]] for each in gold_of(tiny(tfds_dir, labels=order), "test")]
        for order in (("bad", "good"), ("good", "bad"))
    }
    assert tiny(tfds_dir, labels=("good", "bad")).facts["labels"] == ["good", "bad"]
    rows = [row["label"] for row in tiny(tfds_dir).rows("test")]
    assert named["bad"] == rows
    assert named["bad"] == named["good"]
    assert set(named["bad"]) == {"bad", "good"}
    with pytest.raises(
        UserError, match=r"class of split 'train' of tiny/1.0.0 once, 'best' is not in bo"
    ):
        tiny(tfds_dir, labels=("bad", "best"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test": "tset"}, "no split 'tset' .* its splits: 'test', 'train', 'unlabelled'"),
        ({"test": "test[:0]"}, "is empty"),
        ({"validation": "test[:50%]"}, "selecting on the split that is reported"),
        ({"validation": "train+test"}, "selecting on the split that is reported"),
        ({"train": "test[:5]"}, "report on examples that were trained on"),
        ({"validation": "train[:5]"}, "select on examples that were trained on"),
        ({"text": "body"}, "'body' is no feature .* its features: '(text|label|stars)', '"),
        ({"text": "stars"}, "config.task.text='stars' must be text, is Tensor"),
        (
            {"label": "text"},
            "config.task.label='text' must be a class label or whole number, is Text",
        ),
    ],
)
def test_tfds_mistakes_are_named(tfds_dir, fields, message):
    with pytest.raises(UserError, match=message):
        tiny(tfds_dir, **fields)


def test_an_unlabelled_or_unknown_dataset_is_refused(tfds_dir):
    with pytest.raises(UserError, match=r"row 1 has no label \(-1\)"):
        list(tiny(tfds_dir, test="unlabelled").rows("test"))
    with pytest.raises(UserError, match=f"'no_such_set'.* prepared in {tfds_dir}: 'tiny'"):
        opened(config.Data(name="no_such_set", data_dir=str(tfds_dir)))


def test_damaged_tfds_records_are_refused(tfds_dir, tmp_path):
    shutil.copytree(tfds_dir, tmp_path / "copy")
    source = tiny(tmp_path / "copy")
    [records] = (tmp_path / "copy").rglob("tiny-train.tfrecord*")
    whole = records.read_bytes()
    prepare = f"remove {records.parent} and prepare the dataset again"

    records.write_bytes(whole[:-10])
    with pytest.raises(
        UserError, match=r"'train' of tiny.*, rows 1 to 256: DataLossError: truncated"
    ) as caught:
        list(source.rows("train"))
    assert prepare in str(caught.value)
    records.unlink()
    with pytest.raises(UserError, match=r"'train' of tiny.*, rows 1 to 256: NotFound") as caught:
        list(source.rows("train"))
    with pytest.raises(UserError, match=r"'train' of tiny.*No such file") as caught:
        tiny(tmp_path / "copy").fingerprint("train")
    assert str(records) in str(caught.value)
    assert prepare in str(caught.value)


def test_real_imdb_keeps_duplicates_on_one_side(imdb_dir):
    source = opened(config.Data(data_dir=str(imdb_dir)))
    assert source.facts == {"labels": ["neg", "pos"]}
    train, held = (list(source.rows(s)) for s in ("train", "validation"))
    assert len(train) + len(held) == 25_000
    assert not {row["text"] for row in train} & {row["text"] for row in held}
    assert sum(row["label"] == "pos" for row in train + held) == 12_500
