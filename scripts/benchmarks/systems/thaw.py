"""Thaw, as launch.train runs it."""

import dataclasses
from pathlib import Path
from typing import Any

from scripts.benchmarks.systems.common import (
    BATCH,
    DECAY,
    STEPS,
    Job,
    Logits,
    Start,
    arrays,
    products,
    tokens,
)


def train(job: Job, start: Start) -> Logits:
    """The step of configs/minilm_imdb.py with this batch, length and rate."""
    import csv
    import tempfile

    from launch import main as program

    program.import_tensorflow()
    import tensorflow as tf

    from configs import minilm_imdb
    from trainer.config import Data
    from trainer.data.progress import quiet
    from trainer.loop import Loop
    from trainer.run import Run
    from trainer.runtime import devices
    from trainer.step import STEP_METRICS
    from trainer.storage.workdir import Workdir

    folder = Path(tempfile.mkdtemp(dir=job.folder))
    others = [{"text": f"no review {i}", "label": i % 2} for i in range(4)]
    for name, held in (("train", job.reviews), ("validation", others[:2]), ("test", others[2:])):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("text", "label"))
            table.writerows((review["text"], "np"[review["label"]]) for review in held)
    config = minilm_imdb.get_config()
    files = {name: str(folder / f"{name}.csv") for name in ("train", "validation", "test")}
    config.data = Data(
        source="files",
        **files,
        max_length=job.length,
        cut="head",
        buckets=config.data.buckets,
    )
    config.model.pretrained, config.seed = str(job.weights), job.seed
    rate = {"learning_rate": job.rate, "schedule": "constant", "warmup_steps": 0}
    config.phases = [dataclasses.replace(config.phases[-1], epochs=1000, layer_decay=1, **rate)]
    config.optimizer.weight_decay, config.optimizer.beta2 = DECAY, 0.999  # as the others have it
    config.runtime.precision, config.global_batch_size = job.precision, BATCH
    strategy = devices.start(config.runtime, config.seed)
    run = Run(
        config, Workdir(folder / "run"), folder / "cache", strategy, progress=quiet, say=print
    )
    loop = Loop(run, print)
    step_function, steps = loop.step_function(), len(job.grouped)
    rounds = start(products(tf))
    lengths, first = run.split("train").lengths, next(iter(run.train_batches(loop.plan, 0, 1)))
    ids = tokens(job.reviews, job.weights, job.length)
    theirs = arrays(job.reviews, ids, job.grouped[0], first["input_ids"].shape[1])
    if (first["input_ids"].numpy() != theirs[0]).any() or any(
        loop.plan.batch(step)[0].tolist() != rows for step, rows in enumerate(job.grouped)
    ):
        raise RuntimeError("the tuned peers get other batches than these")
    batches = iter(run.train_batches(loop.plan, 0, steps))
    for first in range(0, steps, STEPS):
        for step in range(first, first + STEPS):
            rows, length = loop.plan.batch(step)
            rounds.plan(lengths[rows[rows >= 0]], len(rows) * length)
        called = step_function.run(batches, tf.constant(STEPS), tf.constant(False))
        loss = float(called.metrics.numpy()[STEP_METRICS.index("loss")])
        for _ in range(STEPS):
            rounds.step(loss)

    def logits(ids: Any, mask: Any) -> Any:
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        return run.model({name: tf.constant(value) for name, value in inputs.items()})

    return logits
