"""Costs of a start on many times as much data, in seconds and memory; see speed.py."""

import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.benchmarks import start_speed
from trainer.data.sources import Source

MEMORY = 1.2  # times the peak of the run on one share
SECONDS = 10.0  # that a resumed start may take longer


def gigabytes(times: int) -> float:
    """Room that the folder needs for imdb_reviews: texts, tokens, and checkpoints of both runs."""
    return 0.08 * times + 1


def measure(source: Source, times: int, flags: Sequence[str], folder: Path) -> int:
    """Prints both starts; returns 0 if memory and the resumed start stay within their limits.

    Args:
      source: its training split is repeated, each time with ids of its own.
      times: how often.
      flags: of launch.train, but for data and workdir.
      folder: an empty folder, see `gigabytes`.
    """
    examples = list(source.rows("train"))
    held = list(itertools.islice(source.rows("test"), 1000))
    found = []
    for number in (1, times):
        files = {}
        for name, rows, again in (
            ("train", examples, number),
            ("validation", held[:500], 1),
            ("test", held[500:], 1),
        ):
            files[name] = folder / f"{name}-{number}.jsonl"
            with files[name].open("w", encoding="utf-8") as file:
                for _ in range(again):
                    file.writelines(json.dumps(row) + "\n" for row in rows)
        own = [f"--config.data.{name}={path}" for name, path in files.items()]
        own += ["--config.data.source=files", f"--cache_dir={folder / 'cache'}"]
        own += [f"--workdir={folder / f'run-{number}'}"]
        began = time.perf_counter()
        fresh = start_speed.start([*flags, *own])
        resumed = start_speed.start([*flags, *own])
        made, peak = fresh["tokenising"], max(fresh["peak_mb"], resumed["peak_mb"])
        found.append((made, resumed["total"], peak))
        print(
            f"{number * len(examples):,} reviews: first step {fresh['total']:.1f} s after the"
            f" start, of which reading and tokenising took {made:.1f} s; {resumed['total']:.1f} s"
            f" after a resumed one; at most {peak:,.0f} MB"
            f" ({time.perf_counter() - began:.0f} s in all)",
            flush=True,
        )
    (once, before, small), (often, after, large) = found
    print(
        f"{times} times the data: reading and tokenising {often / once:.0f} times as long, a"
        f" resumed start {after - before:.1f} s longer, {large / small:.2f} times the memory"
    )
    holds = large <= MEMORY * small and after - before <= SECONDS and often <= 1.2 * times * once
    print(f"{'holds' if holds else 'does not hold'}: linear, within {MEMORY} times the memory")
    return int(not holds)
