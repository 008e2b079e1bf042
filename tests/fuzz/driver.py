"""Sends seeded hostile inputs through every door of the library and judges how each is taken.

  python tests/fuzz/driver.py                                  # all inputs, on two processes
  python tests/fuzz/driver.py --door=rows --number=17          # one again, as it was

An input is a function of (seed, door, number). Prints the counts by door; exit status 1, with the
way to repeat it, where one ended in a traceback, hung, took too much memory, left something
half-written, or was refused in other than one line.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import queue
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

if __name__ == "__main__":
    _TESTS = Path(__file__).parents[1]
    sys.path[:1] = [str(_TESTS / "helpers"), str(_TESTS), str(_TESTS.parent)]

from fuzz import oracle, samples
from fuzz.doors import environment, flags, folders, launchers, meeting, rows, stdin, uses
from fuzz.inputs import Input
from programs import Prewarmed


class Door(NamedTuple):
    """Makes inputs; how many of them `make fuzz` and `make test` send."""

    make: Callable[[Random, Path, samples.Samples], Input]
    inputs: int
    few: int


DOORS = {
    "flags": Door(flags.make, 150, 4),
    "settings": Door(flags.settings, 300, 45),
    "uses": Door(uses.make, 220, 10),
    "launchers": Door(launchers.make, 300, 45),
    "rows": Door(rows.make, 300, 10),
    "stdin": Door(stdin.make, 100, 6),
    "tokenizers": Door(folders.tokenizer, 300, 38),
    "pretrained": Door(folders.pretrained, 100, 4),
    "tfds": Door(folders.tfds, 30, 2),
    "workdir": Door(folders.workdir, 280, 14),
    "cluster": Door(environment.cluster, 170, 15),
    "python": Door(environment.python, 40, 2),
    "meeting": Door(meeting.make, 100, 10),
}
COLUMNS = ("refused", "worked", *oracle.KINDS)
SECONDS = "CPU seconds"
Name = tuple[str, int]


class Fuzz:
    """Runs inputs, several at once.

    Args:
      seed: of all inputs.
      processes: how many.
      seconds: that an input may take.
      keep: a folder in which those of failures stay; None: nothing is kept.
    """

    def __init__(
        self,
        seed: int,
        processes: int = 1,
        seconds: float = oracle.SECONDS,
        keep: Path | None = None,
    ):
        self.seed, self.seconds, self.keep = seed, seconds, keep
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.folder = Path(self._folder.name)
        settings = {"HF_HUB_OFFLINE": "1", "MPLCONFIGDIR": str(self.folder / "matplotlib")}
        self._servers: queue.Queue[Prewarmed] = queue.Queue()
        for _ in range(processes):
            self._servers.put(Prewarmed(**settings, HF_HOME=str(self.folder / "hub")))
        self._pool = concurrent.futures.ThreadPoolExecutor(processes)
        server = self._servers.get()
        self._samples = samples.make(self.folder / "samples", server)
        self._servers.put(server)

    def __enter__(self) -> "Fuzz":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        while not self._servers.empty():
            self._servers.get().close()
        self._folder.cleanup()

    def run(self, names: Iterable[Name]) -> Iterator[tuple[Name, Input, oracle.Verdict]]:
        """The verdicts on inputs by (door, number), as they come."""
        futures = [self._pool.submit(self._one, *name) for name in names]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()

    def _one(self, door: str, number: int) -> tuple[Name, Input, oracle.Verdict]:
        folder = self.folder / f"{door}-{number}"
        folder.mkdir()
        random = Random(f"{self.seed}/{door}/{number}")
        case = DOORS[door].make(random, folder, self._samples)
        server = self._servers.get()
        try:
            verdict = oracle.run(server, case, folder, self.seconds)
        finally:
            self._servers.put(server)
        if verdict.kind in oracle.KINDS and self.keep:
            kept = self.keep / folder.name
            with contextlib.suppress(shutil.Error):  # what is no file stays behind
                shutil.copytree(folder, kept, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return (door, number), case, verdict


def table(counts: dict[str, collections.Counter]) -> str:
    """The counts by door, and of all."""
    total: collections.Counter = sum(counts.values(), collections.Counter())
    names = ("inputs", *COLUMNS, SECONDS)
    lines = [f"{'door':<12}" + "".join(f"{name:>14}" for name in names)]
    for door, counter in [*counts.items(), ("all", total)]:
        inputs = sum(counter[name] for name in COLUMNS)
        cells = [inputs, *(counter[name] for name in COLUMNS), round(counter[SECONDS])]
        lines.append(f"{door:<12}" + "".join(f"{cell:>14,}" for cell in cells))
    return "\n".join(lines)


def failure(seed: int, name: Name, case: Input, verdict: oracle.Verdict) -> str:
    """A failure, and how to repeat it."""
    settings = [f"{key}={value}" for key, value in case.environment.items() if value is not None]
    command = shlex.join([*settings, "python", "-m", case.program, *case.arguments])
    again = f"tests/fuzz/driver.py --seed={seed} --door={name[0]} --number={name[1]}"
    return f"{verdict.kind}: {verdict.why}\n    {again}\n    {command[:600]!r}"


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", choices=DOORS, action="append", help="this one only; more follow")
    parser.add_argument("--number", type=int, help="this input only")
    parser.add_argument("--inputs", type=float, default=1.0, help="a share of all, or a multiple")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=oracle.SECONDS, help="more is a hang")
    parser.add_argument("--keep", type=Path, help="where the files of failures stay")
    chosen = parser.parse_args(arguments)
    doors = chosen.door or list(DOORS)
    names = [(door, n) for door in doors for n in range(round(DOORS[door].inputs * chosen.inputs))]
    if chosen.number is not None:
        names = [(door, chosen.number) for door in doors]
    Random(0).shuffle(names)  # slow doors beside fast ones
    counts = {door: collections.Counter() for door in doors}
    failures, began = 0, time.monotonic()
    processes = min(chosen.processes, len(names))
    with Fuzz(chosen.seed, processes, chosen.seconds, chosen.keep) as fuzz:
        for name, case, verdict in fuzz.run(names):
            counts[name[0]][verdict.kind] += 1
            counts[name[0]][SECONDS] += verdict.ended.seconds
            if verdict.kind in oracle.KINDS:
                failures += 1
                print(failure(chosen.seed, name, case, verdict), flush=True)
            elif chosen.number is not None:
                print(
                    f"{verdict.kind}: {verdict.ended.stderr[-2000:]}{verdict.ended.stdout[-500:]}"
                )
    print(table(counts))
    seconds = time.monotonic() - began
    print(f"{len(names):,} inputs of seed {chosen.seed} in {seconds:.0f} s: {failures} failures")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
