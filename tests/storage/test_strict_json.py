"""The strict reader: what it takes is what Python's own takes, and what it refuses is said."""

import json
import time

import pytest

from trainer.storage import strict_json
from trainer.storage.strict_json import InvalidJson


@pytest.mark.parametrize(
    "value",
    [{}, [], "a", 1, -2.5e-8, None, True, {"a": [1, {"b": "ü\u2028[[["}]}, 10**30, "[" * 500],
)
def test_it_reads_json(value):
    assert strict_json.loads(json.dumps(value)) == value
    assert strict_json.loads(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("[1] 2", "Extra data"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        ('[{"a": {"b": 1, "b": 1}}]', "the key 'b' stands twice"),
        ("NaN", "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ("1e999", "not finite"),
        ("9" * 5000, "an integer of 5,000 digits"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ("[" * 200_000, "nested deeper than 64"),
        ('{"a":' * 200_000, "nested deeper than 64"),
        (b'"caf\xe9"', "not UTF-8 at byte 4"),
        ("[" * 65 + '"' + '\\"' * 200_000, "nested deeper than 64"),
        ("[]" * 40 + '"' + '\\"' * 200_000, "Extra data"),
        ("[" * 65 + '"' * 200_001, "nested deeper than 64"),
        (
            "{" + ",".join(f'"{i}":1' for i in range(200_000)) + ',"199999":1}',
            "the key '199999' stands twice",
        ),
    ],
)
def test_it_refuses(text, said):
    began = time.perf_counter()
    with pytest.raises(InvalidJson, match=said):
        strict_json.loads(text)
    assert time.perf_counter() - began < 5


def test_brackets_in_strings_are_no_depth():
    assert strict_json.loads('["' + "[" * 1000 + '\\"[", [[]]]')[1] == [[]]


def test_a_file_is_an_object(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": "😀 \\ud83d\\ude00"}')
    assert strict_json.read(path) == {"a": "😀 😀"}
    for text, said in [("5", "a JSON object is expected, is '5'"), ('{"a": "\\ud83d"}', "half of")]:
        path.write_text(text)
        with pytest.raises(InvalidJson, match=said):
            strict_json.read(path)
    with pytest.raises(OSError, match="No such file"):
        strict_json.read(tmp_path / "none.json")


def test_a_file_has_a_bound(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": "b" * 100}))
    monkeypatch.setattr(strict_json, "MAX_BYTES", 100)
    with pytest.raises(InvalidJson, match="over 100 bytes"):
        strict_json.read(path)


def test_numbers_without_end_are_taken_where_they_may_be():
    value = strict_json.loads("[1e999, -Infinity, NaN, 1.5, 2]", finite=False)
    assert value[:2] == [float("inf"), -float("inf")]
    assert value[2] != value[2]
    assert value[3:] == [1.5, 2]
    with pytest.raises(InvalidJson, match="nested deeper"):
        strict_json.loads("[" * 100, finite=False)
