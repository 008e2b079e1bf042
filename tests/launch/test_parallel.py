"""A run on parallel files of lines, what it predicts and scores, and what is refused."""

import gzip
import json

import pytest
from programs import replaced

pytestmark = pytest.mark.long


def lines(folder, stem, rows):
    """A file of the texts, packed, and one of the labels."""
    texts, labels = zip(*rows, strict=True)
    (folder / f"{stem}.text.gz").write_bytes(
        gzip.compress("".join(f"{t}\n" for t in texts).encode())
    )
    (folder / f"{stem}.label").write_text("".join(f"{label}\n" for label in labels))


def flags(few, **fields):
    named = {"train": "train", "test": "test_1", "format": "parallel", "data_dir": few.train.parent}
    return replaced(few.flags, *(f"--config.data.{k}={v}" for k, v in (named | fields).items()))


@pytest.fixture
def files(few):
    folder = few.train.parent
    lines(folder, "train", few.rows)
    lines(folder, "test_1", [(f"a {text}", label) for text, label in few.rows[:8]])
    return folder


def test_trained_predicted_and_scored(launch, few, files):
    ended = launch(*flags(few))
    assert ended.status == 0, ended.stderr
    assert json.loads((few.workdir / "result.json").read_text())["test"]["examples"] == 8
    at = f"--workdir={few.workdir}"
    # A file of lines is read as one of texts, whatever it ends in; the labels need not be there.
    (files / "new.text.gz").write_bytes((files / "test_1.text.gz").read_bytes())
    (files / "new.txt").write_bytes(gzip.decompress((files / "new.text.gz").read_bytes()))
    found = []
    for name in ("new.text.gz", "new.txt"):
        ended = launch(at, f"--input={files / name}", program="launch.predict")
        assert ended.status == 0, ended.stderr
        found.append(ended.stdout.splitlines())
    assert len(found[0]) == 8
    assert found[0] == found[1]
    lines(files, "other", few.rows[:5])
    ended = launch(at, f"--data={files / 'other'}", program="launch.evaluate")
    assert ended.status == 0, ended.stderr
    assert json.loads(ended.stdout)["examples"] == 5
    ended = launch(at, f"--data={files / 'nowhere'}", program="launch.evaluate")
    assert ended.status == 2
    assert "there is no such file" in ended.stderr


def test_mistakes_are_one_line(launch, few, files):
    (files / "short.text").write_text("a\nb\n")
    (files / "short.label").write_text("good\n")
    cases = {
        "short": f"files {files}/short.text and short.label must have as many lines, one a row:"
        " short.text 2, short.label 1: mend",
        "none": f"no such file or folder at {files}/none.text",
        "train.text": f"no such file or folder at {files}/train.text.text",
    }
    for train, said in cases.items():
        ended = launch(*flags(few, train=train))
        assert ended.status == 2, ended.stderr
        (error,) = [line for line in ended.stderr.splitlines() if "error" in line.lower()]
        assert said in error
        assert not few.workdir.exists()
