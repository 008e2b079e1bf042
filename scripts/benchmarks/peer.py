"""One system of `make bench`: it trains on command, in an environment of its own; see peers.py.

  python -P -m scripts.benchmarks.peer '{"system": "kerashub", "tuned": false, "folder": ..., ...}'

Each line on standard input lets it train a round of `STEPS` batches, and is answered by one of JSON
on standard output: what the round took, and the rate of matrix products right before it. With
"learn" in the settings it trains to the end on the first line, and answers with its accuracy.
"""

import importlib
import json
import os
import sys
from pathlib import Path

from scripts.benchmarks.systems.common import (
    BATCH,
    STEPS,
    Job,
    Logits,
    Reviews,
    Rounds,
    arrays,
    peak,
    tokens,
)


def accuracy(reviews: Reviews, job: Job, logits: Logits) -> float:
    """The share of the reviews that are labelled right."""
    import numpy as np

    ids = tokens(reviews, job.weights, job.length)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    right = 0
    for first in range(0, len(order), 4 * BATCH):
        rows = order[first : first + 4 * BATCH]
        batch, mask, labels = arrays(reviews, ids, rows, max(len(ids[row]) for row in rows))
        right += int((np.asarray(logits(batch, mask)).argmax(-1) == labels).sum())
    return right / len(reviews)


def main() -> None:
    """Trains until standard input ends, or until it has learned."""
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    folder, learn = Path(settings["folder"]), settings["learn"]

    def read(name: str) -> Reviews:
        with (folder / name).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    grouped = plan if settings["tuned"] else []
    job = Job(read("reviews.jsonl"), Path(settings["weights"]), grouped, folder, **settings["job"])
    steps = float("inf") if learn else STEPS
    system = importlib.import_module(f"scripts.benchmarks.systems.{settings['system']}")
    logits = system.train(job, lambda p: Rounds(p, answers, steps))
    if learn:
        found = {"accuracy": accuracy(read("test.jsonl"), job, logits), "peak_mb": peak()}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
