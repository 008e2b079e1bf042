"""Sealed JSON: what comes back, and that no changed bit goes unnoticed."""

import json
import math
import os

import numpy as np
import pytest

from trainer.storage import sealed
from trainer.storage.strict_json import InvalidJson

VALUES = {"a": 0.1 + 0.2, "b": [1, None, True], "größe\n": {"x": "🎈", "y": -1e-7}, "step": 2**60}


def test_what_was_written_comes_back(tmp_path):
    path = tmp_path / "a.json"
    sealed.write(path, VALUES)
    assert sealed.read(path) == VALUES
    assert json.loads(path.read_text()) == {**VALUES, "seal": sealed.seal_of(VALUES)}
    sealed.write(path, {"b": 2, "a": {1: (np.float32(0.5), math.nan, np.arange(2))}})
    assert sealed.read(path) == {"a": {"1": [0.5, None, [0, 1]]}, "b": 2}


def test_any_changed_bit_is_refused_or_changes_no_value(tmp_path):
    path = tmp_path / "a.json"
    sealed.write(path, VALUES)
    content = bytearray(path.read_bytes())
    refused = 0
    for at in range(0, len(content), 5):
        for bit in range(8):
            content[at] ^= 1 << bit
            path.write_bytes(content)
            try:
                assert sealed.read(path) == VALUES
            except InvalidJson:
                refused += 1
            content[at] ^= 1 << bit
    assert refused > 7.8 * len(content) / 5  # "1E-07" is as good as "1e-07"


@pytest.mark.parametrize("content", ["", "{}", "[]", "5", "null", '{"seal": 1}', '{"a": 1}', "["])
def test_what_has_no_seal_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InvalidJson):
        sealed.read(tmp_path / "a.json")


def test_a_file_without_a_seal_is_told_from_a_damaged_one(tmp_path):
    path = tmp_path / "a.json"
    for content, damaged in (('{"a": 1}', False), ('{"a": 1, "seal": ""}', True), ("[1]", True)):
        path.write_text(content)
        with pytest.raises(InvalidJson) as caught:
            sealed.read(path)
        assert isinstance(caught.value, sealed.Damaged) == damaged


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        sealed.read(tmp_path / "none.json")
    os.mkfifo(tmp_path / "pipe.json")  # reading it would wait for ever
    with pytest.raises(InvalidJson, match="no regular file"):
        sealed.read(tmp_path / "pipe.json")
    with pytest.raises(InvalidJson, match="no regular file"):
        sealed.read(tmp_path)
