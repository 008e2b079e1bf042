"""A small run whose parts a test spoils, one at a time."""

import csv
from collections.abc import Iterable
from pathlib import Path

import pytest

ROWS = [(f"{word} film number {i}", word) for i in range(12) for word in ("good", "bad")]


class Few:
    """The files of a small run, and its flags."""

    rows = ROWS

    def __init__(self, folder: Path, cache: str):
        self.train, self.test = folder / "train.csv", folder / "test.csv"
        self.workdir = folder / "run"
        self.cache = Path(cache.partition("=")[2])
        self.write(self.train, ROWS)
        self.write(self.test, [(f"a {text}", label) for text, label in ROWS[:8]])

    @staticmethod
    def write(path: Path, rows: Iterable[tuple], header: tuple = ("text", "label")) -> None:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])

    @property
    def flags(self) -> list[str]:
        return [
            f"--config={Path(__file__).with_name('few.py')}",
            f"--workdir={self.workdir}",
            f"--config.data.train={self.train}",
            f"--config.data.test={self.test}",
            f"--cache_dir={self.cache}",
        ]


@pytest.fixture
def few(tmp_path, cache) -> Few:
    """A run that would work."""
    return Few(tmp_path, cache)
