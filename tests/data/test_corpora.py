"""Corpora: texts without labels, of files of every kind, folders, patterns and TFDS splits."""

import collections
import csv
import gzip
import io
import json
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.conftest import ROWS
from tests.helpers.one_text import OneText
from trainer import config
from trainer.data import documents, rows, sources
from trainer.errors import UserError
from trainer.tasks.classification import Classification

TEXTS = ["a fine film", 'it is "so", so', "naïve 🙂 \u2028 end", "tab\tand\x85more"]


def opened(train, text="text", **fields):
    data = config.Data(source="files", train=str(train), **{"test": "", **fields})
    return sources.open_source(data, OneText(text))


def texts(train, split="train", **fields):
    return [row["text"] for row in opened(train, **{"validation_share": 0.0, **fields}).rows(split)]


def write(path, held=TEXTS, name="text"):
    """A file of the kind that its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.name.removesuffix(".gz")
    kind = plain.rpartition(".")[2]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"id": range(len(held)), name: held}), path)
        return path
    if kind == "jsonl":
        content = "".join(json.dumps({"id": 1, name: text}) + "\n" for text in held)
    elif kind == "csv":
        written = io.StringIO()
        csv.writer(written).writerows([["id", name], *([1, text] for text in held)])
        content = written.getvalue()
    elif kind == "tsv":
        content = "".join(f"1\t{text}\n" for text in [name, *(t.replace("\t", " ") for t in held)])
    else:
        content = "\n".join(held)
    packed = plain != path.name
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet"])
def test_each_kind_of_file_is_a_corpus(tmp_path, kind, packed):
    path = write(tmp_path / f"a.{kind}{'' if kind == 'parquet' else packed}")
    source = opened(path, validation_share=0.0)
    expected = [t.replace("\t", " ") for t in TEXTS] if kind == "tsv" else TEXTS
    assert [row["text"] for row in source.rows("train")] == expected
    assert [row.id for row in source.rows("train")] == [0, 1, 2, 3]
    assert source.names == ["train"]


def test_the_documents_of_a_text_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n one\ntwo \n \t\n\n\nthree\r\nfour\n")
    assert texts(path) == [" one", "two ", "three", "four"]
    assert texts(path, documents="paragraphs") == [" one\ntwo ", "three\nfour"]
    assert texts(path, documents="file") == ["\n one\ntwo \n \t\n\n\nthree\nfour\n"]
    prints = {
        opened(path, documents=how).fingerprint("train") for how in ("lines", "paragraphs", "file")
    }
    assert len(prints) == 3
    other = path.rename(tmp_path / "a.tokens")
    assert texts(other, format="text") == [" one", "two ", "three", "four"]


def test_files_of_a_folder_in_order_whatever_their_kinds(tmp_path):
    write(tmp_path / "c" / "b.txt", ["3"])
    write(tmp_path / "c" / "a" / "z.jsonl.gz", ["1", "2"])
    write(tmp_path / "c" / "c.csv", ["4", "5"])
    write(tmp_path / "c" / "README.md", ["no text of it"])
    write(tmp_path / "c" / ".hidden.txt", ["nor this"])
    write(tmp_path / "c" / ".git" / "a.txt", ["nor this"])
    source = opened(tmp_path / "c", validation_share=0.0)
    read = list(source.rows("train"))
    assert [row["text"] for row in read] == ["1", "2", "3", "4", "5"]
    assert [row.id for row in read] == [0, 1, 2, 3, 4]
    assert read[4].where == f"file {tmp_path / 'c' / 'c.csv'}, row 2"
    assert source.remarks("train") == "left out, as their endings are not known: 'README.md'"
    where = {"data_dir": str(tmp_path), "name": "c"}
    assert texts("*/*.[jt]*", **where) == ["3"]
    assert texts("[a]/*.[jt]*", **where) == ["1", "2"]
    assert texts("**/*.[jt]*", **where) == ["1", "2", "3"]
    assert texts("c/*.csv", data_dir=str(tmp_path)) == ["4", "5"]
    assert texts("b.txt", **where) == ["3"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    write(tmp_path / "a[1].txt", ["itself"])
    write(tmp_path / "a1.txt", ["another"])
    assert texts(tmp_path / "a[1].txt") == ["itself"]


def test_many_files_are_known_by_all_their_contents(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.txt", [name])
    before = opened(tmp_path / "*.txt").fingerprint("train")
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert opened(tmp_path / "*.txt").fingerprint("train") == before
    (tmp_path / "c.txt").rename(tmp_path / "0.txt")
    assert opened(tmp_path / "*.txt").fingerprint("train") != before
    write(tmp_path / "x" / "copy.txt", ["a"])
    for test in ("x", "x/*", "x/copy.txt"):
        with pytest.raises(UserError, match="this would report on examples that were trained on"):
            opened("*.txt", data_dir=str(tmp_path), test=test)


def test_a_labelled_task_reads_many_files_too(tmp_path):
    rows_ = [{"text": text, "label": label} for text, label in ROWS]
    for i in range(2):
        path = tmp_path / f"{i}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows_[i::2]))
    (tmp_path / "notes.txt").write_text("no row of a classification")
    data = config.Data(source="files", train=str(tmp_path), test="")
    source = sources.open_source(data, Classification(text="", label=""))
    assert (source.task.text, source.task.label) == ("text", "label")
    sizes = [len(list(source.rows(split))) for split in ("train", "validation")]
    assert sum(sizes) == len(ROWS)


def test_the_column_is_found_in_the_first_file_that_has_columns(tmp_path):
    write(tmp_path / "a.jsonl", name="body")
    write(tmp_path / "b.csv", name="body")
    source = opened(tmp_path, text="", validation_share=0.0)
    assert source.task.text == "body"
    assert len(list(source.rows("train"))) == 8
    write(tmp_path / "0.txt", ["one"])
    with pytest.raises(UserError, match=r"a\.jsonl, row 1 has no column 'text'; .*'body'"):
        opened(tmp_path, text="")
    assert len(list(opened(tmp_path, text="body", validation_share=0.0).rows("train"))) == 9


def test_validation_is_cut_by_the_hash_of_a_text(tmp_path):
    write(tmp_path / "a.txt", [str(i) for i in range(300)])
    write(tmp_path / "b.csv", [str(i) for i in range(300)])
    parts = [
        {row["text"] for row in opened(tmp_path, validation_share=0.3).rows(split)}
        for split in ("train", "validation")
    ]
    assert parts[0] | parts[1] == {str(i) for i in range(300)}
    assert not parts[0] & parts[1]


def test_a_part_of_a_file(tmp_path):
    text = "".join(f"line {i}\r\n" for i in range(101)) + "end\n"
    path = tmp_path / "all.txt"
    path.write_text(text, newline="")
    text = text.replace("\r", "")
    shares = ("[:90%]", "[90%:]", "[0%:5%]", "[33%:34%]", "[90%:95%]")
    first = len(text) * 9 // 10
    for how in ("file", "lines"):
        sets = {share: texts(f"{path}{share}", documents=how) for share in shares}
        joined = "".join if how == "file" else "\n".join
        whole = joined(texts(path, documents=how))
        assert joined([*sets["[:90%]"], *sets["[90%:]"]]) == whole
        prints = {opened(f"{path}{s}", documents=how).fingerprint("train") for s in ("", *shares)}
        assert len(prints) == 6
    assert texts(f"{path}[:90%]", documents="file") == [text[:first]]
    assert texts(f"{path}[33%:34%]") == ["line 33"]
    row = next(iter(opened(f"{path}[90%:]", validation_share=0.0).rows("train")))
    assert (row.id, row.where) == (91, f"file {path} [90%:100%], row 92")
    opened(f"{path}[:90%]", test=f"{path}[90%:95%]", validation=f"{path}[95%:]")
    with pytest.raises(UserError, match="this would report on examples that were trained on"):
        opened(f"{path}[:90%]", test=f"{path}[89%:]")
    with pytest.raises(UserError, match="this would report on examples that were trained on"):
        opened(f"{path}[:90%]", test=str(tmp_path))
    for wrong in ("[90%:10%]", "[:101%]", "[50%:50%]"):
        with pytest.raises(UserError, match=r"must be a part of one file, such as 'all.txt\[:90%"):
            opened(f"{path}{wrong}")
    with pytest.raises(UserError, match="must be a part of one file"):
        opened(f"{tmp_path}[:90%]")
    with pytest.raises(UserError, match="there is no such file"):
        opened(f"{path}[90:]")
    with pytest.raises(UserError, match=r"\[0%:1%\] is empty: it has no example for train"):
        texts(f"{write(tmp_path / 'b.csv')}[:1%]")


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, r"train=.*c' is a folder without files: name a file, or one that holds some"),
        ({"README.md": "x"}, r"no file there has an ending .* \('README.md'\): name others"),
        ({"a.txt": "\n \n"}, r"folder .*c is empty: it has no example for train"),
        ({"a.txt": "x", "b.csv": "body\nx\n"}, r"b\.csv has no column 'text'; its columns: 'body'"),
        ({"a.txt": "x", "b.jsonl": '{"body": "x"}'}, r"b\.jsonl, row 1 has no column 'text'"),
        ({"a.txt": "x", "b.parquet": "x"}, r"b\.parquet is no whole Parquet file"),
        ({"a.txt": b"x\nb\xff"}, r"a\.txt, line 2: not UTF-8 \(byte 0xff at position 1\)"),
        ({"a.txt": b"a\0b"}, r"a\.txt, line 1: a NUL byte: is it text"),
        ({"a.txt": b"a\rb\n"}, r"a\.txt, line 1: a carriage return inside the line"),
        ({"a.txt.gz": b"a"}, r"a\.txt\.gz is no whole gzip file"),
    ],
)
def test_what_is_refused(tmp_path, held, said):
    (tmp_path / "c").mkdir()
    for name, content in held.items():
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "c" / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        texts(tmp_path / "c")
    assert "\n" not in str(caught.value)


def test_an_empty_pattern_or_file_and_a_format_that_does_not_fit(tmp_path):
    with pytest.raises(UserError, match=r"\*\.txt': there is no such file: name a file"):
        opened(tmp_path / "*.txt")
    with pytest.raises(UserError, match=r"file .*a\.txt is empty: it has no example for train"):
        texts(write(tmp_path / "a.txt", []))
    with pytest.raises(UserError, match=r"must end in \.csv, .*, \.parquet, \.txt, or in one"):
        opened(write(tmp_path / "a.docx", []))
    data = config.Data(source="files", train=str(tmp_path / "a.txt"), format="text")
    with pytest.raises(UserError, match="format='text' is for a task with a single column"):
        sources.open_source(data, Classification())


def test_a_long_document_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 10)
    monkeypatch.setattr(rows, "MAX_CHARACTERS", 10)
    text = "one two\nthree four five\n\nsix\n" + "seven " * 5 + "\nend\n"
    path = write(tmp_path / "a.txt", [text.removesuffix("\n"), ""])
    source = opened(path, documents="file", validation_share=0.0)
    read = list(source.rows("train"))
    assert "".join(row["text"] for row in read) == text
    assert max(len(row["text"]) for row in read) <= 10
    assert {row.id for row in read} == {0}
    cuts = f"documents of over 10 characters are read in parts: {len(read) - 1} cuts"
    assert cuts in source.remarks("train")
    held = collections.defaultdict(str)
    for row in opened(path, documents="paragraphs", validation_share=0.0).rows("train"):
        assert len(row["text"]) <= 10
        held[row.id] += row["text"]
    assert list(held.values()) == text.removesuffix("\n").split("\n\n")
    for kind in ("jsonl", "csv", "parquet"):
        source = opened(write(tmp_path / f"a.{kind}", ["short", text]), validation_share=0.0)
        read = list(source.rows("train"))
        assert "".join(row["text"] for row in read) == f"short{text}"
        assert {row.id for row in read} == {0, 1}
    with pytest.raises(UserError, match=r"document 2: 10 characters without a line end or blank"):
        texts(write(tmp_path / "b.txt", ["short", "x" * 11]))


def test_memory_does_not_grow_with_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_CHARACTERS", 2**12)
    line = "some words that stand in a line of a corpus of text\n"
    peaks = []
    for kind in ("txt.gz", "jsonl", "csv"):
        for size in (2**16, 2**18):
            path = tmp_path / f"{size}.{kind}"
            count = size // len(line)
            many = {"txt.gz": line * count, "csv": "text\n" + line * count}
            content = many.get(kind, (json.dumps({"text": line}) + "\n") * count).encode()
            path.write_bytes(gzip.compress(content, 1) if kind == "txt.gz" else content)
            source = opened(path, documents="file", validation_share=0.0)
            tracemalloc.start()
            characters = sum(len(row["text"]) for row in source.rows("train"))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert characters > size / 2
        assert peaks[-1] < 1.2 * peaks[-2] + 2**15, (kind, peaks)
        assert peaks[-1] < 2**18


def of_tfds(folder, **fields):
    data = config.Data(name="tiny", data_dir=str(folder), **{"test": "", **fields})
    return sources.open_source(data, OneText())


def test_sums_of_tfds_splits_whose_labels_are_missing(tfds_dir):
    source = of_tfds(tfds_dir, train="train+unlabelled", validation_share=0.0)
    assert [row["text"] for row in source.rows("train")] == [
        text for text, _ in [*ROWS[:60], *ROWS[80:83]]
    ]
    assert [row.id for row in source.rows("train")] == list(range(63))
    assert source.fingerprint("train") != of_tfds(tfds_dir, train="train").fingerprint("train")
    with pytest.raises(UserError, match="report on examples that were trained on"):
        of_tfds(tfds_dir, train="train+test", test="test")


def test_texts_of_a_later_test_set_are_left_out(tfds_dir, tmp_path):
    whole = of_tfds(tfds_dir, train="train+unlabelled")
    source = of_tfds(tfds_dir, train="train+unlabelled", exclude=("train[:25%]:text",))
    half = of_tfds(tfds_dir, train="train[:25%]", validation_share=0.0)
    later = {row["text"] for row in half.rows("train")}
    for split in ("train", "validation"):
        rows_ = list(source.rows(split))
        kept = [(row.id, row["text"]) for row in whole.rows(split) if row["text"] not in later]
        assert [(row.id, row["text"]) for row in rows_] == kept
        assert source.fingerprint(split) != whole.fingerprint(split)
    left = sum(row["text"] in later for s in ("train", "validation") for row in whole.rows(s))
    assert left > 0
    assert source.remarks("train").startswith(f"{left} texts of split 'train[:25%]' of tiny/1.0.0 ")


def test_files_of_texts_that_are_left_out(tmp_path):
    write(tmp_path / "c" / "a.txt", ["one", "two", "three", "one"])
    write(tmp_path / "test.csv", ["one", "four"], name="body")
    write(tmp_path / "more.txt.gz", ["three"])
    fields = {"data_dir": str(tmp_path), "validation_share": 0.0}
    source = opened("c", exclude=("test.csv:body", "more.txt:text"), **fields)
    assert [(row.id, row["text"]) for row in source.rows("train")] == [(1, "two")]
    said = source.remarks("train")
    assert said.startswith("3 texts of file ")
    assert said.endswith(" left out")
    before = source.fingerprint("train")
    write(tmp_path / "test.csv", ["one", "five"], name="body")
    other = opened("c", exclude=("test.csv:body", "more.txt:text"), **fields)
    assert other.fingerprint("train") != before
    write(tmp_path / "test.docx", ["one"])
    for exclude, message in (
        (
            "nowhere.csv:text",
            r"exclude='nowhere.csv': there is no such file or folder at .*\.csv: c",
        ),
        ("test.csv:text", r"test.csv has no column 'text'; its columns: 'id', 'body'"),
        ("test.docx:text", r"config.data.exclude='.*test.docx' must end in .csv"),
        ("*.none:text", r"config.data.exclude='\*.none': there is no such file"),
    ):
        with pytest.raises(UserError, match=message):
            opened("c", exclude=(exclude,), **fields)
    with pytest.raises(UserError, match=r"c is empty: it has no example for train \(4 texts of"):
        list(opened("c", exclude=("c:text",), **fields).rows("train"))


def test_what_is_left_out_of_tfds_must_be_there(tfds_dir):
    for exclude, message in (
        ("tset:text", r"no split 'tset' of tiny/1.0.0; its splits: "),
        ("test:body", r"config.data.exclude='body' is no feature of tiny"),
        ("test:stars", r"config.data.exclude='stars' must be text"),
    ):
        with pytest.raises(UserError, match=message):
            of_tfds(tfds_dir, exclude=(exclude,))


@pytest.mark.long
def test_real_imdb_without_the_texts_of_its_test_set(imdb_dir):
    fields = {"validation_share": 0.0, "test": "", "data_dir": str(imdb_dir)}
    test = sources.open_source(config.Data(train="test", **fields), OneText())
    later = {row["text"] for row in test.rows("train")}
    for train, rows_, left in (("unsupervised", 50_000, 270), ("train", 25_000, 123)):
        data = config.Data(train=train, exclude=("test:text",), **fields)
        source = sources.open_source(data, OneText())
        kept = [row["text"] for row in source.rows("train")]
        assert len(kept) == rows_ - left
        assert not later & set(kept)
        assert source.remarks("train").startswith(f"{left} texts of split 'test' of imdb_reviews/p")
