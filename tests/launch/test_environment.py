"""Surroundings of a program: other programs' settings, no home, no temporary folder, any locale."""

import io
import os
import sys
import tempfile
from pathlib import Path

import pytest
from programs import ROOT, environment, run

from launch import main as program
from thaw import environment as ours
from thaw.environment import cache_dir, import_tensorflow, prepare, speak_any_text
from trainer.errors import UserError


@pytest.fixture
def kept(monkeypatch):
    """The variables, which the test may change, and `prepare` as well."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return os.environ


@pytest.mark.parametrize("text", ['{"backend": "torch"}', "[1,", "5", '{"floatx": "float16"}'])
def test_settings_of_keras_for_other_programs_are_left_out_and_named(kept, tmp_path, text):
    (tmp_path / "keras.json").write_text(text)
    kept.update(KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path), KERAS_MAX_EPOCHS="abc")
    notes = prepare()
    assert notes[0] == "KERAS_BACKEND has no effect: this library runs on TensorFlow"
    assert notes[1].startswith(f"{tmp_path}/keras.json has no effect")
    assert len(notes) == 2
    assert kept["KERAS_BACKEND"] == "tensorflow"
    assert not Path(kept["KERAS_HOME"]).exists()
    assert "KERAS_MAX_EPOCHS" not in kept


def test_nothing_is_said_of_what_keras_writes_itself(kept, tmp_path):
    text = '{"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow",'
    (tmp_path / "keras.json").write_text(f'{text} "image_data_format": "channels_last"}}')
    kept.update(KERAS_BACKEND="tensorflow", KERAS_HOME=str(tmp_path))
    assert prepare() == []


def test_variables_that_are_nonsense(kept):
    kept.update(TF_CPP_MIN_LOG_LEVEL="abc", TF_CPU_BFC_MEM_LIMIT_IN_MB="x")
    kept.update(HF_HUB_DOWNLOAD_TIMEOUT="x", HF_HUB_ETAG_TIMEOUT="7")
    prepare()
    assert "HF_HUB_DOWNLOAD_TIMEOUT" not in kept
    assert kept["HF_HUB_ETAG_TIMEOUT"] == "7"
    assert kept["TF_CPP_MIN_LOG_LEVEL"] == "2"
    assert int(kept["TF_CPU_BFC_MEM_LIMIT_IN_MB"]) > 0


@pytest.mark.long
def test_flags_that_tensorflow_would_end_the_process_for(monkeypatch):
    monkeypatch.setattr(ours, "_imported", False)
    monkeypatch.setenv("TF_XLA_FLAGS", "--nosuch")
    with pytest.raises(UserError, match=r"no TF_XLA_FLAGS='--nosuch': .*Unknown flag.*--nosuch"):
        import_tensorflow()


def test_the_folder_of_caches(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path("/home/me/.cache/thaw")
    for relative in ("caches", "gs://b/c", ""):  # of no effect, by its specification
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_dir() == Path("/home/me/.cache/thaw")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_dir() == Path("/caches/thaw")


def test_no_home_for_caches(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a uid without a name
    with pytest.raises(UserError, match="this user has no home for token caches: give --cache_dir"):
        cache_dir()


def test_no_temporary_folder(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [])
    monkeypatch.setattr(ours, "_imported", False)
    with pytest.raises(UserError, match="no temporary folder that can be written: set TMPDIR"):
        import_tensorflow()


def test_every_text_can_be_printed(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    speak_any_text()
    print("größe …\ud800", file=stream, flush=True)
    assert stream.buffer.getvalue() == b"gr\\xf6\\xdfe \\u2026\\ud800\n"


@pytest.mark.long
@pytest.mark.end_to_end
def test_programs_in_a_locale_without_utf_8(tmp_path):
    """Nothing fails while it prints; what cannot be named there is refused in a line."""
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    variables = {**environment(), **bare}
    flags = ("--tokenizer=data/minilm",)
    ended = run(*flags, "a film", program="launch.tokenize", env=variables)
    assert ended.status == 0, ended.stderr
    assert "film" in ended.stdout
    ended = run(*flags, "größe", program="launch.tokenize", env=variables, cwd=ROOT)
    assert ended.status == 2
    assert ended.stderr.endswith("has no UTF-8: set PYTHONUTF8=1, or LC_ALL=C.UTF-8\n")
    assert len(ended.stderr.splitlines()) == 1


def test_a_place_without_permission_is_named_and_other_refusals_are_left_alone():
    def opened(*error) -> None:
        with program.permitted():
            raise PermissionError(*error)

    with pytest.raises(UserError, match=r"^/a: Permission denied: name a place that this user may"):
        opened(13, "Permission denied", "/a")
    for error in (("gated",), (1, "Operation not permitted")):
        with pytest.raises(PermissionError):
            opened(*error)
