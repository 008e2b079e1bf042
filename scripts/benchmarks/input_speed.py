"""The speed of making batches of reviews, beside the training that eats them; see speed.py."""

import contextlib
import itertools
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from trainer import config as config_lib
from trainer.data.cache import load_or_build
from trainer.data.progress import quiet
from trainer.data.sources import open_source
from trainer.errors import UserError
from trainer.loop import Loop
from trainer.run import Run
from trainer.runtime import devices
from trainer.storage.workdir import Workdir
from trainer.tasks.classification import Classification

TIMES = 20.0  # the training rate
STEPS = 10  # of training, in a round
# In the environment of the peers: `datasets` has no place among our dependencies.
MAP = """
import json, sys, time, datasets, transformers
datasets.disable_caching()
datasets.disable_progress_bars()
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[2])
data = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[3])
for line in sys.stdin:
    processes = json.loads(line)
    began = time.perf_counter()
    data.map(
        lambda rows: tokenizer(rows["text"], truncation=True, max_length=512),
        batched=True, num_proc=processes, remove_columns=["text"],
    )
    print(time.perf_counter() - began, flush=True)
"""


def batches(config: config_lib.Experiment, cache: Path, rounds: int) -> int:
    """Prints the rate of the input alone over that of training; 0 if it is at least TIMES."""
    strategy = devices.start(config.runtime, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config, Workdir(Path(folder) / "run"), cache, strategy, progress=quiet, say=print)
        loop = Loop(run, print)
        loop.position.phase = len(loop.phases) - 1  # the whole model
        step_function, steps = loop.step_function(), loop.plan.steps_per_epoch

        def tokens(first: int, last: int) -> int:
            return sum(loop.size(step)[0] for step in range(first, last))

        ratios = []
        for number in range(rounds + 1):  # the first one compiles each length
            iterator = iter(run.train_batches(loop.plan, 0, STEPS))
            began = time.perf_counter()
            arguments = (iterator, tf.constant(STEPS), tf.constant(False))
            step_function.run(*arguments).metrics.numpy()
            training = tokens(0, STEPS) / (time.perf_counter() - began)
            began = time.perf_counter()
            for _ in run.train_batches(loop.plan, 0, steps):
                pass
            alone = tokens(0, steps) / (time.perf_counter() - began)
            if number:
                ratios.append(alone / training)
                print(
                    f"round {number}: input alone {alone:,.0f} tokens/s, training {training:,.0f},"
                    f" {ratios[-1]:.0f} times"
                )
    median = statistics.median(ratios)
    print(f"median {median:.0f}, lowest {min(ratios):.0f}, highest {max(ratios):.0f} times")
    print(f"{'holds' if median >= TIMES else 'does not hold'}: at least {TIMES:g} times")
    return int(median < TIMES)


def tokenising(data: config_lib.Data, weights: Path, python: Path, rounds: int) -> int:
    """Prints our time for all labelled reviews over that of datasets.map; 0 if at most 1.

    Args:
      data: where they are; its train and test splits are read.
      weights: the folder of the tokenizer.
      python: of an environment with datasets and transformers.
      rounds: ratios to take.

    Raises:
      UserError: there is no such environment.
    """
    if not python.is_file():
        raise UserError(f"{python} is not there: make bench makes it")
    from trainer.data.tokenizers import load_tokenizer

    task, tokenizer = Classification(), load_tokenizer(weights)
    source = open_source(data, task)
    task = task.bound(source.facts, tokenizer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = 0
        with (folder / "reviews.jsonl").open("w", encoding="utf-8") as file:
            for row in itertools.chain(source.rows("train"), source.rows("test")):
                count += 1
                file.write(json.dumps({"text": row["text"]}) + "\n")
        arguments = [folder / "reviews.jsonl", weights.absolute(), folder / "arrow"]
        peer = subprocess.Popen(
            [python, "-c", MAP, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        def theirs(processes: int | None) -> float:
            assert peer.stdin
            assert peer.stdout
            with contextlib.suppress(BrokenPipeError):
                peer.stdin.write(json.dumps(processes) + "\n")
                peer.stdin.flush()
            if line := peer.stdout.readline():
                return float(line)
            raise UserError(f"datasets.map in {python} ended with status {peer.wait()}")

        def ours(number: int) -> float:
            began = time.perf_counter()
            for split in ("train", "test"):
                load_or_build(
                    source,
                    split,
                    task,
                    tokenizer=tokenizer,
                    data=data,
                    cache_dir=folder / f"cache-{number}",
                    progress=quiet,
                )
            return time.perf_counter() - began

        ratios = []
        for number in range(rounds):
            times = [ours(number), theirs(None), theirs(2)]
            ratios.append(times[0] / min(times[1:]))
            print(
                f"round {number + 1}: {count:,} reviews in {times[0]:.1f} s; datasets.map with the"
                f" tokenizer's threads {times[1]:.1f} s, with 2 processes {times[2]:.1f} s"
            )
        peer.kill()
        peer.wait()
    median = statistics.median(ratios)
    print(f"median {median:.2f}, lowest {min(ratios):.2f}, highest {max(ratios):.2f} of its best")
    print(f"{'holds' if median <= 1 else 'does not hold'}: at most the time of datasets.map")
    return int(median > 1)
