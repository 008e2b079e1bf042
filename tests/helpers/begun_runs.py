"""Runs that began with a tiny pretrained model, and whose best weights are still its own."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from pretrained_folders import CLASSES
from sealing import DERIVED

from trainer.config import Experiment, Model
from trainer.data.tokenizers import load_tokenizer
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import open_pretrained
from trainer.storage.workdir import Workdir
from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Task

LABELS = ["bad", "so so", "good \u2665"]
TAGS = ["O", "B-a \u2665", "I-a \u2665"]
# By what is learned: a task, what it learned, and the names of its outputs.
TASKS: dict[str, tuple[Task, dict, list[str]]] = {
    "sequence": (Classification(), {"labels": LABELS}, LABELS),
    "labels": (Classification(multi_label=True), {"labels": LABELS}, LABELS),
    "tokens": (Tagging(), {"types": ["a \u2665"], "scheme": "BIO"}, TAGS),
    "regression": (Regression(), {}, ["LABEL_0"]),
}
STEP = 7


def model_of(
    folder: Path, kind: str = "sequence", outputs: int = CLASSES, **settings
) -> tuple[Network, str]:
    """A pretrained model with its weights, and what is said of them."""
    pretrained, lines = open_pretrained(str(folder)), []
    settings = {"head": "native", **settings}
    model = Network(pretrained.architecture(Model(**settings), kind), outputs)
    ones = np.ones([1, 2], np.int32)
    model({"input_ids": ones, "attention_mask": ones, "token_type_ids": 0 * ones})
    native = settings["head"] == "native"
    pretrained.load(named_parameters(model), native, lines.append, kind=kind)
    return model, "\n".join(lines)


def loaded(
    folder: Path, kind: str = "sequence", outputs: int = CLASSES
) -> tuple[dict[str, tf.Variable], str]:
    """Its parameters, and what is said of them."""
    model, said = model_of(folder, kind, outputs)
    return named_parameters(model), said


def begun(folder: Path, workdir: Path, learned: str = "sequence", **settings) -> Workdir:
    """A run that began with the pretrained model of `folder`.

    `learned` is one of TASKS, `settings` are `config.model`'s.
    """
    task, facts, names = TASKS[learned]
    model = Model(**{"pretrained": str(folder), "head": "native", **settings})
    config = Experiment(model=model, task=task)
    pretrained = json.loads((folder / "config.json").read_text())
    derived = DERIVED | {
        "pretrained": pretrained if config.model.pretrained else None,
        "pretrained_sha256": {} if config.model.pretrained else None,
        "facts": facts,
    }
    run = Workdir(workdir)
    run.begin(config, derived, load_tokenizer(folder))
    made = model_of(folder, task.kind, len(names), **settings)[0]
    values = {f"model/{name}": v for name, v in named_parameters(made).items()}
    run.best.save(STEP, values, {"lower_is_better": False, "value": 0.5, "phase": 0})
    run.checkpoints.save(STEP, values, {"phase": 1})
    return run
