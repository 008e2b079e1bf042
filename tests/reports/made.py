"""Runs that have ended, written by hand."""

import json
from pathlib import Path

import numpy as np
from sealing import DERIVED, result

from trainer import config
from trainer.tasks.calibration import Calibration
from trainer.evaluation.scores import Kept, WrongPrediction
from trainer.tasks.metrics import classification_metrics
from trainer.storage import sealed
from trainer.storage.disk import sha256_of

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
    wrong = [WrongPrediction(EVIL, 0, 1, 0.9, 3)]
    kept = Kept(
        np.arange(count),
        labels.astype(np.int32),
        logits,
        losses,
        random.integers(5, 100, count).astype(np.int32),
        classification_metrics(labels, logits, None, losses),
        wrong,
    )
    folder.mkdir(parents=True)
    scores = kept.save(folder / "scores" / "test.npz")
    experiment = config.Experiment(seed=seed)
    derived = {**DERIVED, "id2label": list(names)}
    sealed.write(folder / "config.json", config.to_dict(experiment) | {"derived": derived})
    Calibration.fit(10, labels, logits, 0.9).save(folder / "calibration.json")
    points = [
        {"step": 10, "train/loss": 0.7, "train/phase": 0, "train/learning_rate": 1e-3},
        {"step": 10, "validation/loss": 0.6, "validation/accuracy": 0.5, "validation/auc": None},
        {"step": 20, "train/loss": 0.5, "train/phase": 1, "time/input_ms": 0.5},
    ]
    log = folder / "metrics.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in points))
    digests = {"scores/test.npz": scores, "scores/validation.npz": scores, log.name: sha256_of(log)}
    metrics = {**kept.metrics, "calibration_error": 0.1}
    values = result(test=metrics, best_step=10, steps=20, parameters=1234, sha256=digests)
    sealed.write(folder / "result.json", values)
    return folder
