"""Thaw, as launch.train runs it."""

import csv
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from scripts.benchmarks.systems.common import (
    BATCH,
    DECAY,
    STEPS,
    Job,
    Logits,
    Start,
    padded,
    pair_tokens,
    products,
    tokens,
)


def train(job: Job, start: Start) -> Logits:
    """The step of the config that learns such a thing, with this batch, length and rate."""
    from launch import main as program

    program.import_tensorflow()
    import numpy as np
    import tensorflow as tf

    from trainer.data.progress import quiet
    from trainer.loop import Loop
    from trainer.run import Run
    from trainer.runtime import devices
    from trainer.step import STEP_METRICS
    from trainer.storage.workdir import Workdir

    folder = Path(tempfile.mkdtemp(dir=job.folder))
    config = (_of_pairs if job.objective == "text_to_text" else _of_reviews)(job, folder)
    config.optimizer.weight_decay, config.optimizer.beta2 = DECAY, 0.999  # as the others have it
    config.runtime.precision, config.global_batch_size = job.precision, BATCH
    config.seed = job.seed
    strategy = devices.start(config.runtime, config.seed)
    run = Run(
        config, Workdir(folder / "run"), folder / "cache", strategy, progress=quiet, say=print
    )
    loop = Loop(run, print)
    step_function, steps = loop.step_function(), len(job.grouped)
    rounds = start(products(tf))
    sizes = run.split("train").sizes  # [N, 1], or of sources and targets [N, 2]
    planned = [loop.plan.batch(step)[0].tolist() for step in range(steps)]
    if planned != job.grouped or _others(job, next(iter(run.train_batches(loop.plan, 0, 1)))):
        raise RuntimeError("the tuned peers get other batches than these")
    batches = iter(run.train_batches(loop.plan, 0, steps))
    for first in range(0, steps, STEPS):
        for step in range(first, first + STEPS):
            rows, length = loop.plan.batch(step)
            rounds.plan(sizes[rows[rows >= 0], -1], len(rows) * np.ravel(length)[-1])
        called = step_function.run(batches, tf.constant(STEPS), tf.constant(False))
        loss = float(called.metrics.numpy()[STEP_METRICS.index("loss")])
        for _ in range(STEPS):
            rounds.step(loss)

    def logits(ids: Any, mask: Any) -> Any:
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        return run.model({name: tf.constant(value) for name, value in inputs.items()})

    return logits


def _others(job: Job, batch: Any) -> bool:
    """True if the first batch has not the tokens that the peers get."""
    if job.objective == "text_to_text":
        sides = pair_tokens(job.reviews, job.weights, job.length)
        names = ("input_ids", "attention_mask"), ("target_ids", "target_mask")
    else:
        sides = [tokens(job.reviews, job.weights, job.length)]
        names = (("input_ids", "attention_mask"),)
    wrong = False
    for ids, (of_ids, of_mask) in zip(sides, names, strict=True):
        wanted, mask = padded(ids, job.grouped[0], batch[of_mask].shape[1])
        wrong |= (batch[of_mask].numpy() != mask).any()
        if job.objective != "masked":
            wrong |= (batch[of_ids].numpy() != wanted).any()
    return bool(wrong)


def _of_reviews(job: Job, folder: Path) -> Any:
    """configs/minilm_imdb.py, or minilm_imdb_further.py for masked words, with these reviews."""
    from configs import minilm_imdb
    from configs.pretraining import minilm_imdb_further

    config = minilm_imdb.get_config()
    buckets = config.data.buckets
    if job.objective == "masked":
        config = minilm_imdb_further.get_config()
    rows = [{"text": review["text"], "label": "np"[review["label"]]} for review in job.reviews]
    others = [{"text": f"no review {i}", "label": "np"[i % 2]} for i in range(4)]
    config.data = _data(folder, job, rows, others, buckets)
    config.model.pretrained = str(job.weights)
    rate = {"learning_rate": job.rate, "schedule": "constant", "warmup_steps": 0}
    config.phases = [dataclasses.replace(config.phases[-1], epochs=1000, layer_decay=1, **rate)]
    return config


def _of_pairs(job: Job, folder: Path) -> Any:
    """configs/translation/multi30k_en_de.py with these pairs, and the T5's weights and dropout."""
    from configs.translation import multi30k_en_de
    from trainer.config import Model, Phase, Tokenizer

    config = multi30k_en_de.get_config()
    others = [{"source": f"a source {i}", "target": f"a target {i}"} for i in range(4)]
    config.data = _data(folder, job, job.reviews, others, config.data.buckets)
    config.tokenizer, config.model = Tokenizer(), Model(pretrained=str(job.weights))
    config.task.source, config.task.target = "source", "target"
    config.task.target_length = job.length
    config.task.label_smoothing = config.optimizer.ema = 0.0
    config.phases = [Phase(name="all", epochs=1000, learning_rate=job.rate, schedule="constant")]
    return config


def _data(folder: Path, job: Job, rows: Any, others: Any, buckets: int) -> Any:
    """Settings of files with these rows to train on, and four others to score."""
    from trainer.config import Data

    files = {}
    for name, held in (("train", rows), ("validation", others[:2]), ("test", others[2:])):
        files[name] = str(folder / f"{name}.csv")
        with Path(files[name]).open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(held)
    return Data(source="files", **files, max_length=job.length, cut="head", buckets=buckets)
