"""Files of a workdir that are whole, and what a stranger would make of them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.storage import sealed

_DIGEST = "0" * 64
_METRICS = {"loss": 0.7, "accuracy": 0.5, "calibration_error": 0.1, "examples": 4}
DERIVED: dict[str, Any] = {
    "pretrained": None,
    "pretrained_sha256": None,
    "facts": {"labels": ["neg", "pos"]},
    "tokenizer": "abc",
    "data_fingerprint": {"train": "1", "validation": "2", "test": "3"},
    "buckets": [8, 16],
    "tokenizer_files": {},
}
_RESULT: dict[str, Any] = {
    "test": _METRICS,
    "validation": _METRICS,
    "temperature": 1.0,
    "test_calibration_error": {"before": 0.1, "after": 0.1},
    "best_step": 2,
    "steps": 4,
    "finished": True,
    "skipped_steps": 0,
    "parameters": 10,
    "replicas": 1,
    "wall_seconds": 3.0,
    "seconds": {"compute": 1.0},
    "versions": {"python": "3.11"},
    "sha256": dict.fromkeys(("metrics.jsonl", "scores/validation.npz", "scores/test.npz"), _DIGEST),
}


def result(**changes: Any) -> dict[str, Any]:
    """The values of a whole result.json, changed."""
    return copy.deepcopy(_RESULT) | changes


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the values of a sealed file as a stranger can: the seal fits again."""
    values = sealed.read(path)
    change(values)
    sealed.write(path, values)
