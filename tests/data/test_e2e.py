"""Training rows of the E2E challenge, read from the archive in which they are passed on."""

import csv
import dataclasses
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from trainer import config, settings
from trainer.data import e2e, sources
from trainer.data.columns import TEXT
from trainer.errors import UserError
from trainer.tasks.task import Task

SOURCE = (
    "__start_name__ The Mill __end_name__ __start_priceRange__ £ 20 - 25 __end_priceRange__"
    " __start_customerrating__ 5 out of 5 __end_customerrating__"
)
TEXT_ = "' The Mill ' , a family - friendly café , isn 't cheap : £ 20- £ 25 . <eos>|||1,3,0"
ROW = {
    "source": "name[The Mill], priceRange[£20-25], customer rating[5 out of 5]",
    "target": "'The Mill', a family-friendly café, isn't cheap: £20-£25.",
}


@dataclasses.dataclass
class Saying(Task):
    """Two texts."""

    source: str = settings.column(TEXT, "mr")
    target: str = settings.column(TEXT, "ref")


def archive(folder, sources_=(SOURCE,), texts=(TEXT_,)) -> Path:
    """An archive of these lines, and others that nobody asks for."""
    held = {"train.txt": texts, "src_test.txt": ["no row"], "src_train.txt": sources_}
    path = folder / "e2e_aligned.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name, lines in held.items():
            content = "".join(f"{line}\n" for line in lines).encode()
            member = tarfile.TarInfo(f"e2e_aligned/{name}")
            member.size = len(content)
            if lines:
                file.addfile(member, io.BytesIO(content))
    return path


def opened(folder, **fields) -> sources.Source:
    given = {"train": "e2e_aligned.tar.gz", "test": "", "validation_share": 0.0, **fields}
    data = config.Data(source="files", data_dir=str(folder), **given)
    return sources.open_source(data, Saying())


def test_tokens_become_the_rows_of_the_official_files(tmp_path):
    archive(tmp_path, [SOURCE] * 2, [TEXT_, "The Mill . <eos>|||"])
    (tmp_path / "devset.csv").write_text(f'mr,ref\n"{ROW["source"]}","{ROW["target"]}"\n')
    source = opened(tmp_path, validation="devset.csv")
    assert list(source.rows("train")) == [ROW, ROW | {"target": "The Mill."}]
    assert list(source.rows("validation")) == [ROW]
    assert [row.where for row in source.rows("train")][1].endswith("e2e_aligned.tar.gz, row 2")
    assert [
        row["target"] for row in opened(tmp_path, train="e2e_aligned.tar.gz[50%:]").rows("train")
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (((SOURCE,), (TEXT_, TEXT_)), "1 inputs, 2 texts: fetch it again"),
        (((SOURCE,), ()), "does not hold e2e_aligned/train.txt: fetch"),
        ((("Aromi",), (TEXT_,)), "line 1: no __start_name__ in its input"),
        (((SOURCE,), ("The Mill .",)), "line 1: .* no <eos>||| in its text".replace("|", r"\|")),
    ],
)
def test_another_archive_is_refused(tmp_path, lines, said):
    archive(tmp_path, *lines)
    with pytest.raises(UserError, match=said):
        opened(tmp_path)


def test_a_damaged_archive_is_refused(tmp_path):
    path = archive(tmp_path)
    held = path.read_bytes()
    damaged = {
        "is no whole gzip file": [held[:-20], b"no gzip"],
        "is no whole tar archive": [b"", gzip.compress(b"no tar" * 999)],
    }
    for said, contents in damaged.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(UserError, match=said):
                opened(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="there is no such file"):
        opened(tmp_path)


def test_the_real_archive_against_the_official_file(monkeypatch):
    """The validation rows are in both; their words are those that sacrebleu finds."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    folder = Path(os.environ.get("THAW_TASK_DATA", "/nowhere")) / "e2e"
    if not folder.is_dir():
        pytest.skip("THAW_TASK_DATA names no folder with e2e")
    source = opened(folder, validation="devset.csv", test="testset_w_refs.csv")
    counts = {}
    for name in source.names:
        rows = list(source.rows(name))
        counts[name] = len(rows), len({row["source"] for row in rows})
    assert counts == {"train": (42_061, 4_862), "validation": (4_672, 547), "test": (4_693, 630)}
    members = ("e2e_aligned/src_valid.txt", "e2e_aligned/valid.txt")
    monkeypatch.setattr(e2e, "_MEMBERS", members)
    with gzip.open(folder / "devset.csv.gz", "rt", encoding="utf-8-sig") as file:
        official = list(csv.DictReader(file))
    with gzip.open(folder / "e2e_aligned.tar.gz") as file:
        read = [cells for _, cells in e2e.read(file, e2e.COLUMNS, "archive")]
    assert [mr for mr, _ in read] == [row["mr"] for row in official]
    words = Tokenizer13a()
    pairs = zip(read, official, strict=True)
    assert sum(words(ref) != words(row["ref"]) for (_, ref), row in pairs) == 18
