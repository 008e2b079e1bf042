"""Common part of the systems: rounds on command, the job, tokens and batches."""

import collections
import dataclasses
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts.benchmarks import machine

BATCH, LENGTH, RATE, DECAY = 16, 512, 2e-5, 0.01
STEPS = 5  # of a round
MASKED = 0.15  # of the tokens, where the objective is to find masked words
EPOCHS = 100  # more than anybody asks for
MULTIPLE = 8  # that a tuned peer pads to


class Rounds:
    """Stops a training after every round, until the next one is asked for.

    Args:
      product: see machine.product_rate.
      answers: where the rounds are told.
      steps: of a round.
    """

    def __init__(self, product: Callable[[int], Any], answers: Any, steps: float = STEPS):
        self._product, self._answers, self._steps = product, answers, steps
        self.made: collections.deque[tuple[int, ...]] = collections.deque()
        self._began = time.perf_counter()
        self._wait()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            os._exit(0)
        self._flops = machine.product_rate(self._product)
        self._done: list[tuple[int, ...]] = []
        self._began = time.perf_counter()

    def plan(self, lengths: Iterable[int], slots: int) -> None:
        """Says what the next batch holds: the tokens of its examples, and with padding."""
        tokens = [int(length) for length in lengths]
        self.made.append((len(tokens), sum(tokens), sum(n * n for n in tokens), int(slots)))

    def step(self, loss: float) -> None:
        """Says that a batch was trained; returns when the next one may be."""
        self._done.append(self.made.popleft())
        if len(self._done) < self._steps:
            return
        seconds = time.perf_counter() - self._began
        sums = map(sum, zip(*self._done, strict=True))
        found = dict(zip(("examples", "tokens", "squares", "slots"), sums, strict=True))
        found |= {"seconds": seconds, "loss": loss, "flops": self._flops, "peak_mb": peak()}
        self._answers.write(json.dumps(found) + "\n")
        self._answers.flush()
        self._wait()


def peak() -> float:
    """The most memory this process held, in MB of 10^6 bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").split("VmHWM:")[1]
    return int(status.split()[0]) * 1024 / 1e6


Reviews = list[dict[str, Any]]
Start = Callable[[Callable[[int], Any]], Rounds]
Plan = list[list[int]]
Pack = Callable[[Any, Any], Any]
Logits = Callable[[Any, Any], Any]  # of int32 ids and mask [B, T], after the training


@dataclasses.dataclass(frozen=True)
class Job:
    """A system's training data. Tuned: in the batches of `grouped`, otherwise there are none."""

    reviews: Reviews
    weights: Path
    grouped: Plan
    folder: Path  # for what a system writes
    length: int = LENGTH
    rate: float = RATE
    seed: int = 0
    objective: str = "classification"  # one of peers.OBJECTIVES
    precision: str = "mixed_bfloat16"  # of config.runtime


def random_batches(reviews: int) -> Plan:
    """Random batches of EPOCHS epochs."""
    numbers, made = random.Random(0), []
    for _ in range(EPOCHS):
        order = numbers.sample(range(reviews), reviews)
        made += [order[i : i + BATCH] for i in range(0, reviews, BATCH)]
    return made


def tokens(reviews: Reviews, weights: Path, length: int) -> list[list[int]]:
    """Up to `length` token ids, as the tokenizer that comes with the weights cuts them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    return [each.ids for each in tokenizer.encode_batch([review["text"] for review in reviews])]


def pair_tokens(pairs: Reviews, weights: Path, length: int) -> list[list[list[int]]]:
    """Up to `length` token ids of all sources, and of all targets, each with its end token."""
    return [
        tokens([{"text": pair[side]} for pair in pairs], weights, length)
        for side in ("source", "target")
    ]


def arrays(
    reviews: Reviews, ids: list[list[int]], rows: list[int], length: int
) -> tuple[Any, Any, Any]:
    """Padded ids and mask [B, T], and labels [B]."""
    import numpy as np

    labels = np.array([reviews[row]["label"] for row in rows], np.int32)
    return *padded(ids, rows, length), labels


def padded(ids: list[list[int]], rows: list[int], length: int) -> tuple[Any, Any]:
    """Padded ids and mask, int32 [B, T]."""
    import numpy as np

    batch = np.zeros([len(rows), length], np.int32)
    for place, row in enumerate(rows):
        batch[place, : len(ids[row])] = ids[row]
    mask = np.arange(length) < np.array([len(ids[row]) for row in rows])[:, None]
    return batch, mask.astype(np.int32)


def multiple_of(length: int, longest: int) -> int:
    return min(-(-length // MULTIPLE) * MULTIPLE, longest)


# Keras and TensorFlow


def products(tf: Any) -> Callable[[int], Any]:
    """The products that machine.product_rate takes, in TensorFlow."""
    matrix = tf.cast(tf.random.normal([machine.SIDE] * 2), machine.best_type())
    return lambda count: [matrix @ matrix for _ in range(count)][-1][0, 0].numpy()


def dataset(tf: Any, reviews: Any, ids: Any, lengths: Any, plan: Plan, pack: Pack) -> Any:
    """Batches as `plan` has them, as a tf.data.Dataset; `lengths` are what rows are padded to."""

    def generate() -> Iterator[Any]:
        for rows in plan:
            batch, mask, labels = arrays(reviews, ids, rows, max(lengths[row] for row in rows))
            yield pack(batch, mask), labels

    whole = tf.TensorSpec([None, None], tf.int32)
    signature = (pack(whole, whole), tf.TensorSpec([None], tf.int32))
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(4)


def planned(ids: list[list[int]], lengths: list[int], grouped: Plan, rounds: Rounds) -> Plan:
    """Batches to train on, told to `rounds`: as `grouped` has them, or random ones."""
    made = grouped or random_batches(len(ids))
    for rows in made:
        slots = len(rows) * max(lengths[row] for row in rows)
        rounds.plan([len(ids[row]) for row in rows], slots)
    return made
