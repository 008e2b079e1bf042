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

LABELS = ["bad", "so so", "good \u2665"]
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


def begun(
    folder: Path, workdir: Path, kind: str = "sequence", outputs: int = CLASSES, **settings
) -> Workdir:
    """A run that began with the pretrained model of `folder`; `settings` are `config.model`'s."""
    config = Experiment(model=Model(**{"pretrained": str(folder), "head": "native", **settings}))
    pretrained = json.loads((folder / "config.json").read_text())
    derived = DERIVED | {
        "pretrained": pretrained if config.model.pretrained else None,
        "pretrained_sha256": {} if config.model.pretrained else None,
        "id2label": LABELS,
    }
    run = Workdir(workdir)
    run.begin(config, derived, load_tokenizer(folder))
    model = model_of(folder, kind, outputs, **settings)[0]
    values = {f"model/{name}": v for name, v in named_parameters(model).items()}
    run.best.save(STEP, values, {"metric": "accuracy", "value": 0.5, "phase": 0})
    run.checkpoints.save(STEP, values, {"phase": 1})
    return run
