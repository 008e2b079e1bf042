"""Files that are whole or not there."""

import os
from pathlib import Path

import pytest

from trainer.storage.disk import replace


def test_replace_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "result.json"
    replace(path, "old")
    with pytest.raises(UnicodeEncodeError):
        replace(path, "new \ud800")
    assert path.read_text() == "old"
    replace(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize("fails", ["fsync", "rename"])
def test_a_replace_that_fails_leaves_nothing(tmp_path, monkeypatch, fails):
    path = tmp_path / "result.json"
    path.write_text("old")
    if fails == "fsync":

        def full(handle):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    else:
        path.unlink()
        path.mkdir()
        (path / "kept").write_text("old")
    with pytest.raises(OSError, match=r"No space|directory"):
        replace(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert (path if path.is_file() else path / "kept").read_text() == "old"


def test_replace_follows_no_link(tmp_path):
    """A stranger's folder may hold one under the name that the new file has at first."""
    mine, path = tmp_path / "mine", tmp_path / "run" / "report.html"
    mine.write_text("precious")
    path.parent.mkdir()
    for link in (path, path.with_name("report.html.tmp")):
        link.symlink_to(mine)
    replace(path, "new")
    assert mine.read_text() == "precious"
    assert path.read_text() == "new"
    assert not path.is_symlink()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("folder", [".", "/"])
def test_a_folder_without_a_name_is_not_replaced(folder):
    with pytest.raises(IsADirectoryError, match="directory"):
        replace(Path(folder), "text")


def test_replace_takes_the_place_of_files_alone(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is there, and no file"):
        replace(tmp_path / "pipe", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()
