"""Bad rows of each task's data: one line, and nothing is written."""

import pytest
import small_tasks
from task_runs import job, metrics, ok, refused

pytestmark = pytest.mark.end_to_end

SENTENCES = [
    {"tokens": ["anna", "saw", "rome", str(i)], "ner_tags": ["B-PER", "O", "B-LOC", "O"]}
    for i in range(12)
]
SCORES = [{"text": f"a film {i}", "score": i / 2} for i in range(12)]
LABELLED = [{"text": f"a film {i}", "labels": ["good", "long"][: i % 3]} for i in range(12)]


def _tagged(**cells) -> dict:
    return {**SENTENCES[0], **cells}


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("tagging", {"tokens": ["a"]}, "row 13 has no column 'ner_tags'"),
        ("tagging", {"tokens": [], "ner_tags": []}, "row 13 has no word: leave it out"),
        ("tagging", _tagged(tokens=["a", "b"]), "row 13: 2 words and 4 tags: give a tag a word"),
        ("tagging", _tagged(ner_tags=["O"] * 3 + ["PER"]), "row 13: the tag 'PER' is neither"),
        (
            "tagging",
            _tagged(ner_tags=["O", "E-PER", "O", "O"]),
            "'E-PER' in sentence 13 belongs to BIOES, and 'B-PER' in sentence 1 ends an entity",
        ),
        ("tagging", _tagged(ner_tags=["O", "I-PER", "O", "O"]), "'I-PER' in sentence 13 begins an"),
        ("tagging", _tagged(ner_tags="O O O O"), "row 13: 'ner_tags' must be a list of tags, one"),
        ("tagging", _tagged(tokens=["a", 3, "b", "c"]), "row 13: 'tokens' must be text, is 3"),
        ("scores", {"text": "a", "score": "4"}, "row 13: 'score' must be a finite number, is '4'"),
        (
            "scores",
            {"text": "a", "score": 1e31},
            "row 13: 'score' must be from -1e+18 to 1e+18, is 1",
        ),
        ("scores", {"text": "a", "score": float("nan")}, "row 13: not JSON"),
        ("scores", {"text": "a"}, "row 13 has no column 'score'"),
        (
            "tagging",
            {"tokens": ["a", "b"], "ner_tags": ["O", 3]},
            "row 13: 'ner_tags' is a number, 3, and in row 1 a text: write all as texts, or all",
        ),
        (
            "labels",
            {"text": "a", "labels": ["good", 1]},
            "row 13: 'labels' is a number, 1, and in row 2 a text",
        ),
        (
            "labels",
            {"text": "a", "labels": "good"},
            "row 13: 'labels' must be a list of labels, is",
        ),
    ],
)
def test_a_bad_row_is_one_line(launch, cache, tmp_path, name, row, said):
    rows = {"tagging": SENTENCES, "scores": SCORES, "labels": LABELLED}[name]
    train = small_tasks.write_jsonl(tmp_path / "train.jsonl", [*rows, row])
    test = small_tasks.write_jsonl(tmp_path / "test.jsonl", rows[:8])
    line = refused(launch, tmp_path / "run", *job(name, train, test, cache).at(tmp_path / "run"))
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_type_that_is_only_in_test_is_refused(launch, cache, tmp_path):
    train = small_tasks.write_jsonl(tmp_path / "train.jsonl", SENTENCES)
    odd = {"tokens": ["anna", "b"], "ner_tags": ["B-ORG", "O"]}
    test = small_tasks.write_jsonl(tmp_path / "test.jsonl", [odd, *SENTENCES[:3]])
    line = refused(launch, tmp_path, *job("tagging", train, test, cache).at(tmp_path / "run"))
    assert "test.jsonl, row 1: tag 'B-ORG' is of no type of train: 'LOC', 'PER'" in line


def test_tags_in_csv_are_refused(launch, cache, tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(f"tokens,ner_tags\n{name} b,O O\n")
    flags = job("tagging", tmp_path / "train.csv", tmp_path / "test.csv", cache)
    line = refused(launch, tmp_path, *flags.at(tmp_path / "run"))
    assert "'tokens' must be a list of words, is 'train b': in CSV and TSV a cell is text" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("anna B-PER\nsaw\n", "line 2: 1 columns, 0 and -1 are asked for: an empty line ends"),
        ("anna B-PER\nsaw ZZ\n", "row 1: the tag 'ZZ' is neither"),
        ("", "train.conll is empty"),
        ("\n\n\n", "train.conll is empty"),
        ("-DOCSTART- O\n\n", "train.conll is empty"),
    ],
)
def test_bad_columns_are_one_line(launch, cache, tmp_path, content, said):
    (tmp_path / "train.conll").write_text(content)
    (tmp_path / "test.conll").write_text("bob B-PER\n")
    flags = job("columns", tmp_path / "train.conll", tmp_path / "test.conll", cache)
    assert said in refused(launch, tmp_path, *flags.at(tmp_path / "run"))


def test_names_for_columns_without_names_are_refused(launch, cache, tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.conll").write_text("anna B-PER\nsaw O\n")
    flags = job("tagging", tmp_path / "train.conll", tmp_path / "test.conll", cache)
    line = refused(launch, tmp_path, *flags.at(tmp_path / "run"))
    assert "config.task.words='tokens': file" in line
    assert "give the column's number" in line


@pytest.mark.long
def test_a_sentence_of_ten_thousand_words_and_words_without_a_token_are_trained_on(
    launch, cache, tmp_path
):
    words = ["anna", "\u200b", "rome", "\u00ad"] * 2500
    long = {"tokens": words, "ner_tags": ["B-PER", "O", "B-LOC", "O"] * 2500}
    train = small_tasks.write_jsonl(tmp_path / "train.jsonl", [*SENTENCES, long])
    test = small_tasks.write_jsonl(tmp_path / "test.jsonl", [*SENTENCES[:4], _long_test()])
    flags = job("tagging", train, test, cache).at(tmp_path / "run", "--config.max_steps=2")
    ok(launch(*flags))
    assert metrics(tmp_path / "run")["examples"] == 5


def _long_test() -> dict:
    return {"tokens": ["bob", "\u200b"] * 1000, "ner_tags": ["B-PER", "O"] * 1000}
