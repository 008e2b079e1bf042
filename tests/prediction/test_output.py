"""JSON lines that an interrupted program left, and how it goes on."""

import json
import resource

import pytest

from trainer.errors import UserError
from trainer.prediction import output
from trainer.prediction.output import Output

FIELDS = ("label", "probabilities")
LINES = [
    json.dumps({"id": i, "label": "ä" * i, "probabilities": [1]}, ensure_ascii=False)
    for i in range(9)
]
WHOLE = "".join(f"{line}\n" for line in LINES).encode()


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_goes_on_after_the_last_whole_line_wherever_it_was_cut(tmp_path, monkeypatch, block):
    monkeypatch.setattr(output, "_BLOCK", block)
    path = tmp_path / "out.jsonl"
    for end in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:end])
        with Output(path, resume=True, fields=FIELDS) as sink:
            assert sink.done == WHOLE[:end].count(b"\n")
            if sink.done:
                sink.check(LINES[sink.done - 1])
            for line in LINES[sink.done :]:
                sink.write(line)
        assert path.read_bytes() == WHOLE


@pytest.mark.parametrize(("old", "new"), [("8", "9"), ("ä", "a"), ("[1]", "[0.9]")])
def test_another_last_line_is_refused(tmp_path, old, new):
    path = tmp_path / "out.jsonl"
    path.write_bytes(WHOLE)
    with (
        Output(path, resume=True, fields=FIELDS) as sink,
        pytest.raises(UserError, match="line 9, is not what"),
    ):
        sink.check(LINES[-1].replace(old, new))
    assert path.read_bytes() == WHOLE


def test_a_full_disk_is_one_line(tmp_path):
    """A limit on the size of files stands for it: it fails in the same way."""
    path = tmp_path / "out.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        with Output(path, resume=False, fields=FIELDS) as sink:
            sink.write(LINES[0])
            sink.write(LINES[1])

    resource.setrlimit(resource.RLIMIT_FSIZE, (len(LINES[0]) + 9, limits[1]))
    try:
        with pytest.raises(UserError, match=f"cannot write --output={path}: File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with Output(path, resume=True, fields=FIELDS) as sink:
        assert sink.done == 1


@pytest.mark.parametrize(
    "held",
    [
        *(b"no prediction\n", b"a,b\n1,half a li", b"half", b'{"id": 1}\n', b"1\n"),
        *(b"[1]\n", b"[" * 100_000 + b"\n", b"9" * 5000 + b"\n"),
        LINES[1].encode()[:-1] + b', "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        LINES[1].encode()[:-1] + b', "id": 2}\n',
        LINES[1].encode()[:-1] + b', "more": NaN}\n',
        LINES[1].encode()[:-1] + b', "more": "\xff"}\n',
    ],
)
def test_another_kind_of_file_is_left_as_it_is(tmp_path, held):
    path = tmp_path / "reviews.csv"
    path.write_bytes(held)
    with pytest.raises(UserError, match="holds no predictions"):
        Output(path, resume=True, fields=FIELDS)
    assert path.read_bytes() == held


def test_a_line_too_long_to_be_ours_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(output.strict_json, "MAX_BYTES", len(f"{LINES[1]}\n".encode()))
    path = tmp_path / "out.jsonl"
    path.write_text(f"{LINES[1]}\n")
    with Output(path, resume=True, fields=FIELDS) as sink:
        assert sink.done == 1
    path.write_text(f"{LINES[1]} \n")
    with pytest.raises(UserError, match="holds no predictions"):
        Output(path, resume=True, fields=FIELDS)


def test_a_file_that_is_there_or_cannot_be_written(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_bytes(WHOLE)
    with pytest.raises(UserError, match="is there already"):
        Output(path, resume=False, fields=FIELDS)
    assert path.read_bytes() == WHOLE
    with pytest.raises(UserError, match="cannot write"):
        Output(tmp_path, resume=True, fields=FIELDS)
