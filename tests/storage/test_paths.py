"""Paths of this machine, and what is none."""

import os
from pathlib import Path

import pytest

from trainer.errors import UserError
from trainer.storage import paths
from trainer.storage.paths import below, glob_character, local, real, without_globs


@pytest.mark.parametrize(
    "text",
    ["gs://b/r", "GS://b", "s3:/b", "file:/tmp/x", "file:///x", "hdfs://n:9/x", " https://h/x"],
)
def test_a_url_is_refused(text):
    with pytest.raises(UserError, match=r"^--output='.*' is a URL, and no path of this machine"):
        local(text, "--output")


@pytest.mark.parametrize(
    "text",
    ["runs/[1e-3,5e-4]", "a b", "größe/ü", "a:b", "12:30/x", "/x:/y", "*?{}\\", "-x", "a\nb"],
)
def test_what_a_folder_may_be_called_stays(text):
    assert str(local(text, "--output")) == text


def test_homes(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert local("~", "--output") == Path("/home/me")
    assert local("~/runs", "--output") == Path("/home/me/runs")
    with pytest.raises(UserError, match="there is no user 'nobody-here'"):
        local("~nobody-here/x", "--output")


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a uid without a name
    with pytest.raises(UserError, match="this user has no home: set HOME"):
        local("~/runs", "--output")


def test_a_dot_before_what_looks_like_a_home_or_a_url(monkeypatch, tmp_path):
    """Written out, in a command to copy say, it must go on meaning the same."""
    monkeypatch.chdir(tmp_path)
    for name in ("~me", "s3:/b"):
        path = local(f"./{name}", "--output")
        assert path == tmp_path / name == local(str(path), "--output")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--output is empty"),
        ("a\0b", "holds a NUL byte"),
        ("a/" + "b" * 241, "has a name of 241 bytes: give one of at most 240"),
        ("ü" * 121, "has a name of 242 bytes"),
        ("a/" * 2000, "is over 3800 bytes long"),
        (os.fsdecode(b"a\xff"), "it holds bytes that are not UTF-8"),
        ("\ud800", "it holds bytes that are not UTF-8"),
    ],
)
def test_what_no_file_can_be_called(text, said):
    with pytest.raises(UserError, match=said) as caught:
        local(text, "--output")
    assert len(str(caught.value)) < 500
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["[1e-3,5e-4]", "a*b", "a?b", "{a}", "a\\b", "]"])
def test_a_name_without_glob_characters(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "file").write_text("here")
    with without_globs(folder) as other:
        assert not set("*?[]{}\\") & set(str(other))
        assert (other / "file").read_text() == "here"
    assert not other.parent.exists()
    assert (folder / "file").read_text() == "here"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("runs/[1]", "["),
        ("a]", "]"),
        ("b*?", "*"),
        ("a?*", "?"),
        ("a\\b", "\\"),
        ("{a}", ""),
        ("a", ""),
    ],
)
def test_the_first_character_of_a_pattern(name, found):
    """TensorFlow reads braces as they are."""
    assert glob_character(Path(name)) == found


def test_the_real_path_of_a_circle_is_left_to_who_opens_it(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder", target_is_directory=True)
    (tmp_path / "loop").symlink_to("loop")
    assert real(tmp_path / "link" / "file") == tmp_path / "folder" / "file"
    assert real(tmp_path / "loop" / "file") == tmp_path / "loop" / "file"


def test_what_lies_below_a_folder(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to("folder", target_is_directory=True)
    (tmp_path / "loop").symlink_to("loop")
    found = {str(path.relative_to(tmp_path)) for path in below(tmp_path)}
    assert found == {"folder", "folder/file", "link", "loop"}
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):  # deeper than Python's functions may call each other
        Path("x").mkdir()
        os.chdir("x")
    assert sum(1 for _ in below(tmp_path)) == 1504
    for _ in range(1500):  # pytest cannot
        os.chdir("..")
        Path("x").rmdir()


def test_most_folders_keep_their_name(tmp_path):
    with without_globs(tmp_path) as other:
        assert other is tmp_path


def test_no_temporary_folder(monkeypatch):
    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(paths.tempfile, "gettempdir", none)
    with pytest.raises(UserError, match="set TMPDIR"), without_globs(Path("[1]")):
        pass
