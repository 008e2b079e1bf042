"""The speed of a phase of the head alone beside one of the whole model; see speed.py."""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer import config as config_lib
from trainer.data.progress import quiet
from trainer.loop import Loop
from trainer.run import Run
from trainer.runtime import devices
from trainer.storage.workdir import Workdir

HEAD, CACHED = 2.2, 20.0  # times the examples/s of the full phase
STEPS = 10  # of a round


def measure(config: config_lib.Experiment, cache: Path, rounds: int) -> int:
    """Prints the examples/s of a head phase, and with cached features, over the full phase's.

    Returns:
      0 if they are at least HEAD and CACHED times as many.
    """
    whole = dataclasses.replace(config.phases[-1], epochs=0.0, steps=10**6)
    alone = dataclasses.replace(whole, name="head", train=("head/.*",), layer_decay=1.0)
    config.phases, config.task.mask_share = [alone, whole], 0.0
    strategy = devices.start(config.runtime, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(Path(folder) / "run")
        workdir.path.mkdir()
        run = Run(config, workdir, cache, strategy, progress=quiet, say=print)
        loop = Loop(run, print)
        functions = []
        for index in range(2):
            loop.position.phase = index
            functions.append(loop.step_function())
        loop.position.phase = 0
        began = time.perf_counter()
        features = run.features(lambda: False)
        first = time.perf_counter() - began
        count = len(run.split("train"))
        print(f"the features of {count:,} examples: {count / first:.1f} examples/s")
        kinds: list[tuple[str, Any, Any, int]] = [
            ("full", functions[1], None, STEPS),
            ("head", functions[0], None, STEPS),
            ("cached", loop.step_function(), features, 20 * STEPS),
        ]
        rates: dict[str, list[float]] = {kind[0]: [] for kind in kinds}
        for number in range(rounds + 1):  # the first one compiles each length
            for name, function, kept, steps in kinds:
                iterator = iter(run.train_batches(loop.plan, 0, steps, kept))
                began = time.perf_counter()
                arguments = (iterator, tf.constant(steps), tf.constant(False))
                function.run(*arguments).metrics.numpy()
                seconds = time.perf_counter() - began
                if number:
                    rates[name].append(steps * config.global_batch_size / seconds)
            if number:
                print(f"round {number}: " + ", ".join(f"{n} {r[-1]:.1f}" for n, r in rates.items()))
    status = 0
    for name, least in (("head", HEAD), ("cached", CACHED)):
        ratios = [a / b for a, b in zip(rates[name], rates["full"], strict=True)]
        median = statistics.median(ratios)
        status |= int(median < least)
        print(
            f"{name}: median {median:.2f}, lowest {min(ratios):.2f}, highest {max(ratios):.2f}"
            f" times the examples/s of the full phase"
            f" ({'holds' if median >= least else 'does not hold'}: at least {least:g})"
        )
    return status
