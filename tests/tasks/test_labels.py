"""Labels: their order, what is told of them, and what is refused before anything is trained."""

import gzip
import os

import numpy as np
import pytest

from tests.data.conftest import gold_of, opened, write_csv
from trainer import config
from trainer.errors import UserError
from trainer.tasks import labels
from trainer.tasks.classification import Classification
from trainer.tasks.task import encoding_of


def rows_of(*names: object, times: int = 3) -> list[tuple[str, object]]:
    return [(f"text {i} of {name}", name) for name in names for i in range(times)]


@pytest.mark.parametrize(
    "expected",
    [
        ["-1", "+1"],
        ["1.0", "2.0", "10.0"],
        ["-1e1", "0", ".5", "2", "1E1"],
        ["+1", "1", "1.0"],  # of the same value: as text
        ["-2", "-1", "-0", "0", "10000000000000000000", "10000000000000000001"],
        ["10", "9", "x"],
        ["1 ", "10", "2"],
        ["1", "10", "nan"],
        ["Bad", "bad", "good"],
    ],
)
def test_numbers_are_sorted_by_value_and_others_as_text(make_files, expected):
    assert labels.in_order(set(expected)) == expected
    assert opened(make_files(rows_of(*expected[::-1]))).facts == {"labels": expected}


def test_an_order_that_is_given(make_files):
    train = rows_of("neg", "pos")
    before = opened(make_files(train, train))
    source = opened(make_files(train, train), labels=("pos", "neg"))
    assert source.facts == {"labels": ["pos", "neg"]}
    assert [each["label"] for each in gold_of(source, "test")] == [1, 1, 1, 0, 0, 0]
    assert source.fingerprint("test") != before.fingerprint("test")
    made = [Classification().bound(each.facts) for each in (before, source)]
    assert encoding_of(made[0]) != encoding_of(made[1])
    known = {"labels": ["pos", "neg"]}
    assert opened(make_files(train, train), known).facts == known


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("neg", "other"), r"train.csv, row 4: label 'pos' is not in config.task.labels: 'neg', "),
        (("neg", "pos", "new"), r"train.csv has no row of label 'new', which config.task.labels"),
        (("x" * 9999, "pos"), r"row 1: label 'neg' is not in config.task.labels: 'x{40}'…, 'pos'$"),
    ],
)
def test_an_order_of_other_labels(make_files, asked, said):
    with pytest.raises(UserError, match=said):
        opened(make_files(rows_of("neg", "pos")), labels=asked)


@pytest.mark.parametrize("asked", [("a",), ("a", "b", "a")])
def test_an_order_that_is_none(asked):
    with pytest.raises(UserError, match=r"config.task.labels=\('a',.* must name each class once"):
        config.validate(config.Experiment(task=Classification(labels=asked)))


def test_a_column_that_is_not_of_labels(make_files):
    words = [(f"text {i}", f"another text {i}") for i in range(60)]
    with pytest.raises(UserError, match=r"60 distinct labels in 60 rows: is 'label' the column"):
        opened(make_files(words))
    with pytest.raises(UserError, match=r"\(config.task.label; most have one row only; config.ta"):
        opened(make_files(words))
    numbers = [(text, f"{i / 7:.2f}") for i, (text, _) in enumerate(words)]
    with pytest.raises(UserError, match=r"files\.py:regression --config\.task\.score='label'$"):
        opened(make_files(numbers))
    names = tuple(label for _, label in words)
    assert len(opened(make_files(words), labels=names).facts["labels"]) == 60
    many = [(f"text {i}", i % 20_000) for i in range(60_000)]
    with pytest.raises(
        UserError, match=r"5,001 distinct labels in 5,001 rows.*; at most 5,000 classes"
    ):
        opened(make_files(many))
    long = [("a text", "a"), ("a text", "word " * 200_000)]
    with pytest.raises(UserError, match=r"row 2: a label of 1,000,000 characters, '.{80}'…: is"):
        opened(make_files(long))


@pytest.mark.parametrize("blank", [" ", "\t \u00a0", "\n"])
def test_a_blank_label_is_none(make_files, blank):
    with pytest.raises(UserError, match=r"train.csv, row 2: the label is empty"):
        opened(make_files([("a", "x"), ("b", blank)]))


@pytest.mark.parametrize("value", ["true", "null", "1.0", "[1]", '{"a": 1}'])
def test_a_json_label_is_text_or_a_whole_number(make_files, tmp_path, value):
    path = tmp_path / "bad.JSONL"
    path.write_text(f'{{"text": "a", "label": 1}}\n{{"text": "a", "label": {value}}}\n')
    data = make_files(rows_of(1, 2))
    data.test = str(path)
    examples = opened(data).rows("test")
    first = next(examples)
    assert (first.id, first) == (0, {"text": "a", "label": "1"})
    with pytest.raises(UserError, match=r"row 2: label 'label' must be text or a whole number, is"):
        next(examples)


def test_the_same_rows_packed_or_in_capitals_are_the_same_data(make_files, tmp_path):
    data = make_files()
    content = (tmp_path / "train.csv").read_bytes()
    plain = opened(data)
    (tmp_path / "Train.CSV.gz").write_bytes(gzip.compress(content))
    data.train = str(tmp_path / "Train.CSV.gz")
    packed = opened(data)
    assert packed.fingerprint("train") == plain.fingerprint("train")
    assert list(packed.rows("train")) == list(plain.rows("train"))
    data.test = str(tmp_path / "train.csv")
    with pytest.raises(UserError, match="report on examples that were trained on"):
        opened(data)
    (tmp_path / "Train.CSV.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(UserError, match=r"Train.CSV.gz is no whole gzip file"):
        opened(data)


@pytest.mark.parametrize(("suffix", "same"), [("csv", "minimal"), ("tsv", "none")])
def test_quoting_is_part_of_the_fingerprint(make_files, tmp_path, suffix, same):
    data = make_files()
    data.train = str(write_csv(tmp_path / f"a.{suffix}", rows_of("x", "y"), ["text", "label"]))
    prints = {}
    for data.quoting in ("suffix", "minimal", "none"):
        prints[data.quoting] = opened(data).fingerprint("train")
    assert len(set(prints.values())) == 2
    assert prints["suffix"] == prints[same]


def test_a_pipe_is_no_file_to_train_on(make_files, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"pipe.csv is no regular file: it must be read more than"):
        opened(make_files(validation=str(tmp_path / "pipe.csv")))


def counts(**splits: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in splits.items()}


def test_a_class_that_only_validation_has():
    names = ["bad", "good", "rare"]
    found = counts(train=[5, 1234, 0], validation=[1, 2, 2], test=[0, 1, 0])
    with pytest.raises(UserError, match=r"all rows of label 'rare' \(2\) fell into the validation"):
        labels.check_learned(names, found, cut=["validation"])
    with pytest.raises(UserError, match=r"label 'rare' has 2 rows in validation and none in train"):
        labels.check_learned(names, found, cut=[])
    found["validation"][2], found["test"][2] = 0, 4
    with pytest.raises(UserError, match=r"label 'rare' has 4 rows in test and none in train"):
        labels.check_learned(names, found, cut=["validation"])
    found["test"][2] = 0
    labels.check_learned(names, found, cut=["validation"])


def test_the_table_of_two_classes():
    found = counts(train=[5, 1234], validation=[1, 20], test=[0, 10])
    assert labels.table(["bad", "good\n"], found).splitlines() == [
        "2 classes (F1, AUC and thresholds are of the second), rows in train, validation, test:",
        "  0  'bad'         5   1   0",
        r"  1  'good\n'  1,234  20  10",
    ]


def test_the_table_of_many_classes_shows_both_ends():
    names = [f"{'long ' * 50}{i}" for i in range(100)]
    found = counts(train=list(range(100)), validation=[1] * 100, test=[2] * 100)
    lines = labels.table(names, found).splitlines()
    assert lines[0].endswith("rows in train, validation, test, the most and the least frequent:")
    assert [line.split()[0] for line in lines[1:]] == [
        *map(str, range(99, 84, -1)), "…", *map(str, range(4, -1, -1)),
    ]  # fmt: skip
    assert lines[16] == "  … 80 more"
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["good", "good ", "bad"],
            ["'good' and 'good '", "or characters not seen: 'g"],
        ),
        (["Bad", "bad", "BAD", "x"], ["'Bad' and 'bad' and 'BAD'"]),
        (["caf\u00e9", "cafe\u0301"], ["'caf\u00e9' and 'cafe\u0301'"]),
        (["\ufb01lm", "film", "Stra\u00dfe", "strasse"], ["film', 'Stra\u00dfe' and 'strasse'"]),
        (["a\u200bb", "ab"], [r"'a\u200bb' and 'ab'", r"not seen: 'a\u200bb'"]),
        (["1", "1.0", "+1", "2"], ["'1' and '1.0' and '+1'"]),
        (["\uff11", "1", "x"], ["'\uff11' and '1'"]),
        (["a\nb", "c"], [r"characters not seen: 'a\nb'"]),
        (["good", "bad", "label"], ["is called 'label', as its column: does a header stand"]),
        (["good", "bad", "-1", "+1"], []),
    ],
)
def test_labels_that_look_like_a_mistake(names, said):
    found = labels.notes(names, np.full(len(names), 3), "label")
    assert len(found) == len(said)
    for note, part in zip(found, said, strict=True):
        assert part in note
        assert "\n" not in note


def test_classes_of_few_rows_are_named_and_notes_are_short():
    names = [f"{'x' * 900}{i}" for i in range(40)] + [f"{'X' * 900}{i}" for i in range(40)]
    train = np.array([1, 2, 3, 0] * 20)
    found = labels.notes(names, train, "label")
    assert [len(note) < 800 for note in found] == [True, True, True]
    assert found[1].startswith("classes of few rows each, 80 of 120 in train: ")
    assert found[2].startswith("classes of fewer than 3 rows in train: 'xxx")
    assert "…" in found[2]
    assert "(1)" in found[2]
    assert found[2].endswith(" and 55 more")
    assert labels.notes(["a", "b"], np.array([3, 3]), "label") == []


@pytest.mark.parametrize(
    ("names", "train", "said"),
    [
        (["billing", "billing|technical", "technical"], [9] * 3, "lists of others: 'billing|tech"),
        (["a", "a; b", "c"], [9] * 3, "lists of others: 'a; b'"),
        (["a|b", "c"], [9] * 2, ""),  # neither part is a label
        (["2026-01-02", "2026-01-03", "x"], [9] * 3, "look like dates, such as '2026-01-02'"),
        (["3.1.2026", "4.1.2026"], [9] * 2, "look like dates"),
        ([f"{i}" for i in range(21)], [99] * 21, "numbers, such as '0': to learn how large"),
        (["0.5", "1.5"], [99] * 2, "numbers, such as '0.5'"),
        (["1", "2", "3", "4", "5"], [9] * 5, ""),
        (["a", "b", "c"], [9, 9, 9], ""),
        ([*"abcdef"], [9] * 6, "of few rows each, 6 of 54 in train: is 'label' the column of"),
        ([*"abcdef"], [10] * 6, ""),
        ([*"abcde"], [3] * 5, ""),
    ],
)
def test_labels_that_look_like_something_else_are_noted(names, train, said):
    notes = labels.notes(names, np.array(train), "label")
    assert [said in note for note in notes] == ([True] if said else [])
