"""Runs that have ended, written by hand."""

import json
from pathlib import Path

import numpy as np
from sealing import DERIVED, result

from trainer import config
from trainer.evaluation.scores import Kept, Mistake
from trainer.storage import sealed
from trainer.storage.disk import sha256_of
from trainer.tasks.classification import Classification
from trainer.tasks.task import Scores

EVIL = "<script>alert(1)</script> & \u2028 <b>bold</b> $x$ \x07"


def run(folder: Path, right: np.ndarray, names=("neg", "pos"), seed: int = 0, labels=None) -> Path:
    """A finished run that predicted the examples `right` says, bool [N]; of random confidence."""
    random = np.random.default_rng(seed)
    count, classes = len(right), len(names)
    if labels is None:
        labels = np.arange(count) % classes
    predictions = np.where(right, labels, (labels + 1) % classes)
    logits = random.normal(size=(count, classes)) / 2
    logits[np.arange(count), predictions] = logits.max(1) + random.uniform(0.1, 4, count)
    losses = random.uniform(0, 1, count)
    task = Classification(precision_target=0.9).bound({"labels": list(names)})
    gold = {
        "label": labels.astype(np.int32),
        "rows": np.arange(count),
        "lengths": random.integers(5, 100, count).astype(np.int32),
    }
    scored = Scores({"loss": losses}, {"loss": np.ones(count)}, {"logits": logits})
    wrong = [Mistake(int(np.flatnonzero(~right)[0]), 3, EVIL, ["a"])]
    kept = Kept(gold, scored, task.judge(gold, scored), wrong)
    folder.mkdir(parents=True)
    scores = kept.save(folder / "scores" / "test.npz")
    experiment = config.Experiment(seed=seed)
    derived = {**DERIVED, "facts": {"labels": list(names)}}
    sealed.write(folder / "config.json", config.to_dict(experiment) | {"derived": derived})
    task.fit(10, gold, scored).save(folder / "calibration.json")
    points = [
        {"step": 10, "train/loss": 0.7, "train/phase": 0, "train/learning_rate": 1e-3},
        {"step": 10, "validation/loss": 0.6, "validation/accuracy": 0.5, "validation/auc": None},
        {"step": 20, "train/loss": 0.5, "train/phase": 1, "time/input_ms": 0.5},
    ]
    log = folder / "metrics.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in points))
    digests = {"scores/test.npz": scores, "scores/validation.npz": scores, log.name: sha256_of(log)}
    values = result(test=kept.metrics, best_step=10, steps=20, parameters=1234, sha256=digests)
    sealed.write(folder / "result.json", values)
    return folder
