"""The oracle: every kind of fault is seen, and what is right is not taken for one."""

import time
from pathlib import Path

import pytest
from fuzz import oracle
from fuzz.inputs import Input
from programs import ROOT


def judged(launch, folder: Path, fault: str, **more) -> oracle.Verdict:
    """The verdict on wrong.py with a fault."""
    output = folder / "made"
    (folder / "mine").write_text("mine")
    whole = lambda ended: "" if output.read_text() == "whole\n" else "half of it"  # noqa: E731
    path = (ROOT / "tests",)
    case = Input([fault, str(output)], "fuzz.wrong", outputs=(output,), check=whole, path=path)
    return oracle.run(launch, case, folder, **more)


@pytest.mark.parametrize(
    ("fault", "kind", "why"),
    [
        ("whole", "worked", ""),
        ("refused", "refused", ""),
        ("traceback", "traceback", "KeyError: 'label'"),
        ("said traceback", "traceback", "ValueError: y"),
        ("status", "other", "exit status 7"),
        ("half", "half-written", "half of it"),
        ("temporary", "half-written", r"left behind at status 0: ['made.tmp']"),
        ("stray", "half-written", "else.txt was written at status 0"),
        ("half and refused", "half-written", "made was written at status 2"),
        ("changed", "half-written", "mine was changed at status 2"),
        ("two lines", "other", "2 lines begin with 'error: '"),
        ("no line", "other", "0 lines begin with 'error: '"),
        ("not last", "other", "the last line is no 'error: '"),
        ("long", "other", "a line of 5,007 characters"),
        ("control", "other", "control characters"),
    ],
)
def test_a_fault_is_seen(launch, tmp_path, fault, kind, why):
    verdict = judged(launch, tmp_path, fault)
    assert (verdict.kind, why in verdict.why) == (kind, True), verdict


def test_a_hang_is_ended(launch, tmp_path):
    began = time.monotonic()
    verdict = judged(launch, tmp_path, "hang", seconds=1)
    assert verdict.kind == "hang"
    assert verdict.why == "'Reading'"
    assert time.monotonic() - began < 10


@pytest.mark.long
def test_too_much_memory_is_ended(launch, tmp_path, monkeypatch):
    monkeypatch.setattr(oracle, "BYTES", 2**30)
    verdict = judged(launch, tmp_path, "memory")
    assert verdict.kind == "memory"
    assert 2**30 < verdict.ended.bytes < 3 * 2**30


def test_what_runs_is_as_the_input_says(launch, tmp_path):
    """Variables, standard input and folder; in a new Python as in a forked one."""
    program = tmp_path / "says.py"
    program.write_text(
        "import os, sys\n"
        "print(os.environ.get('SAID'), os.environ.get('HOME'), sys.stdin.read(), os.getcwd())\n"
    )
    for fresh in (False, True):
        folder = tmp_path / str(fresh)
        folder.mkdir()
        environment = {"SAID": "yes", "HOME": None}
        case = Input([], "says", environment, b"in", path=(tmp_path,), fresh=fresh)
        verdict = oracle.run(launch, case, folder)
        assert verdict.kind == "worked", verdict
        assert verdict.ended.stdout == f"yes None in {folder / 'cwd'}\n"
