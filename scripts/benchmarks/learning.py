"""Do all systems of peers.py learn the same? `make bench-learning`, an hour.

Each trains the real weights of MiniLM-L6 on the same 4,000 reviews of up to 64 tokens, an epoch in
the same batches of 16 at the same constant rate, for three seeds, and is scored on 1,000 others.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import scipy.stats

from launch import main as program
from scripts.benchmarks import peers
from scripts.benchmarks.systems import common
from trainer.errors import UserError

REVIEWS, SCORED, LENGTH, RATE, SEEDS = 4000, 1000, 64, 1e-4, 3
PATIENCE = 3600  # seconds that a training may take
CHANCE = 0.05  # of a difference, between systems that learn the same


def main(arguments: Sequence[str]) -> int:
    """Compares; returns 0, 1 (some learn otherwise) or 2 (a mistake of the user)."""
    flags = peers.parser(__doc__).parse_args(arguments)
    try:
        peers.check(flags)
        return judge(train(flags))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return program.USER_ERROR


def train(flags: argparse.Namespace) -> dict[str, list[float]]:
    """Trains every system; returns the share of reviews that it then labels right, by seed."""
    scores: dict[str, list[float]] = {"thaw": []} | {name: [] for name in flags.only}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reviews = peers.reviews_of("train", REVIEWS)
        peers.write(folder / "reviews.jsonl", reviews)
        peers.write(folder / "test.jsonl", peers.reviews_of("test", SCORED))
        for seed in range(SEEDS):
            plan = peers.plan_of(reviews, flags.weights, LENGTH, seed)
            epoch = plan[: REVIEWS // common.BATCH]
            (folder / "plan.json").write_text(json.dumps(epoch), encoding="utf-8")
            how = {"length": LENGTH, "rate": RATE, "seed": seed}
            for system, found in scores.items():
                began = time.perf_counter()
                process = peers.System(
                    system, True, folder=folder, flags=flags, precision=flags.precision, learn=how
                )
                try:
                    found.append(process.round(PATIENCE)["accuracy"])
                finally:
                    process.close()
                took = time.perf_counter() - began
                print(f"seed {seed}: {process.label} {found[-1]:.4f} ({took:.0f} s)", flush=True)
    return scores


def judge(scores: dict[str, list[float]]) -> int:
    """Prints the mean accuracies; returns 1 if one differs from ours by more than noise.

    By Dunnett's test (1955, "A multiple comparison procedure for comparing several treatments with
    a control"), which takes the noise of the seeds from all systems.
    """
    ours = statistics.mean(scores["thaw"])
    others = {name: found for name, found in scores.items() if name != "thaw"}
    test = scipy.stats.dunnett(*others.values(), control=scores["thaw"], random_state=0)
    print(f"Thaw: {ours:.4f} +- {statistics.stdev(scores['thaw']):.4f}")
    for (name, found), chance in zip(others.items(), test.pvalue, strict=True):
        mean = statistics.mean(found)
        print(
            f"{peers.PEERS[name][0]}: {mean:.4f} +- {statistics.stdev(found):.4f};"
            f" {mean - ours:+.4f} beside ours, by chance with a probability of {chance:.2f}"
        )
    differ = bool((test.pvalue < CHANCE).any())
    print(f"{'does not hold' if differ else 'holds'}: all at least {CHANCE}")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
