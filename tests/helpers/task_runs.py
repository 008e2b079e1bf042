"""Runs of the tasks in small_tasks.py, and their refusals."""

import json
from pathlib import Path
from typing import NamedTuple

from programs import ROOT, Ended, contents

CONFIG = ROOT / "tests" / "helpers" / "small_tasks.py"


class Job(NamedTuple):
    """A run: its flags but for the workdir."""

    flags: tuple[str, ...]

    def at(self, workdir: Path, *more: str) -> tuple[str, ...]:
        return (*self.flags, f"--workdir={workdir}", *more)


def job(name: str, train: Path, test: Path, cache: str) -> Job:
    """A run of the task of that name in small_tasks.py."""
    return Job(
        (
            f"--config={CONFIG}:{name}",
            f"--config.data.train={train}",
            f"--config.data.test={test}",
            cache,
        )
    )


def ok(ended: Ended) -> Ended:
    """A program that must have ended well."""
    assert ended.status == 0, ended.stderr
    return ended


def metrics(workdir: Path) -> dict:
    """The metrics of the test split, by name."""
    return json.loads((workdir / "result.json").read_text())["test"]


def refused(launch, workdir: Path, *flags: object, program: str = "launch.train") -> str:
    """The one line that says why; nothing is written."""
    before = contents(workdir) if workdir.is_dir() else None
    ended = launch(*flags, program=program)
    assert ended.status == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    errors = [line for line in ended.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, ended.stderr
    assert errors[0].startswith("error: ")
    assert ended.stderr.endswith(f"{errors[0]}\n")
    assert (contents(workdir) if workdir.is_dir() else None) == before
    return errors[0]
