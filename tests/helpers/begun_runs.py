"""Runs whose best weights are those that they began with: a tiny pretrained model's, or random."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
import words
from pretrained_folders import CLASSES, POSITIONS
from sealing import DERIVED

from trainer.config import Data, Experiment, Model
from trainer.data.tokenizers import load_tokenizer
from trainer.models.encoder_decoder import EncoderDecoder
from trainer.models.network import Network, assembled
from trainer.models.parameters import build_model, named_parameters
from trainer.models.pretrained import open_pretrained
from trainer.storage.workdir import Workdir
from trainer.tasks.causal import Causal
from trainer.tasks.classification import Classification
from trainer.tasks.masked import MaskedWords
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Task
from trainer.tasks.text_to_text import TextToText

LABELS = ["bad", "so so", "good \u2665"]
TAGS = ["O", "B-a \u2665", "I-a \u2665"]
# By what is learned: a task, what it learned, and the names of its outputs.
TASKS: dict[str, tuple[Task, dict, list[str]]] = {
    "sequence": (Classification(), {"labels": LABELS}, LABELS),
    "labels": (Classification(multi_label=True), {"labels": LABELS}, LABELS),
    "tokens": (Tagging(), {"types": ["a \u2665"], "scheme": "BIO"}, TAGS),
    "regression": (Regression(), {}, ["LABEL_0"]),
    "masked": (MaskedWords(), {}, [""]),
    "causal": (Causal(), {}, [""]),
    "text": (TextToText(target_length=9), {}, [""]),
}
STEP = 7
# Models that transformers has a class for too: BERT's, or with those below GPT-2's, Llama's, T5's.
SCRATCH = {"width": 16, "heads": 2, "ffn_width": 24, "positions": "learned", "activation": "relu"}
LIKE_GPT2 = {"norm": "pre", "embedding_norm": False, "causal": True, "activation": "gelu_tanh"}
LIKE_LLAMA = LIKE_GPT2 | {
    **{"norm_kind": "rms", "positions": "rotary", "rotary_theta": 100.0, "gated_ffn": True},
    **{"activation": "silu", "biases": False, "heads": 4, "kv_heads": 2},
}
LIKE_T5 = {
    **{"norm": "pre", "norm_kind": "rms", "positions": "relative", "embedding_norm": False},
    **{"biases": False, "attention_scale": False, "depth": 2, "decoder_depth": 1},
    **{"relative_buckets": 8, "relative_distance": 12},
}


def model_of(
    folder: Path,
    kind: str = "sequence",
    outputs: int = CLASSES,
    task: Task | None = None,
    **settings,
) -> tuple[Network | EncoderDecoder, str]:
    """A pretrained model with its weights, and what is said of them. `task` may have a head."""
    pretrained, lines = open_pretrained(str(folder)), []
    settings = {"head": "native", **settings}
    own = task is not None and task.own_head
    longest = task.longest_target if task else 0
    shape = pretrained.architecture(Model(**settings), kind, longest)
    model = assembled(shape, outputs, task.head if own else None)
    ones = np.ones([1, 2], np.int32)
    inputs = {"input_ids": ones, "attention_mask": ones, "token_type_ids": 0 * ones}
    model(inputs | ({"decoder_input_ids": ones} if longest else {}))
    native = settings["head"] == "native"
    kind = task.native_kind if own else kind
    pretrained.load(named_parameters(model), native, lines.append, kind=kind)
    return model, "\n".join(lines)


def words_of(folder: Path, task: Task) -> tuple[Network | EncoderDecoder, str]:
    """Like `model_of`, of a task that predicts words."""
    return model_of(folder, "tokens", 1, task.bound({}, load_tokenizer(folder)))


def loaded(
    folder: Path, kind: str = "sequence", outputs: int = CLASSES
) -> tuple[dict[str, tf.Variable], str]:
    """Its parameters, and what is said of them."""
    model, said = model_of(folder, kind, outputs)
    return named_parameters(model), said


def begun(
    folder: Path, workdir: Path, learned: str = "sequence", task: Task | None = None, **settings
) -> Workdir:
    """A run that began with the pretrained model of `folder`.

    `learned` is one of TASKS, of which `task` may have other settings; `settings` are
    `config.model`'s.
    """
    usual, facts, names = TASKS[learned]
    task = task or usual
    model = Model(**{"pretrained": str(folder), "head": "native", **settings})
    config = Experiment(data=Data(max_length=POSITIONS), model=model, task=task)
    pretrained = json.loads((folder / "config.json").read_text())
    derived = DERIVED | {
        "pretrained": pretrained if config.model.pretrained else None,
        "pretrained_sha256": {} if config.model.pretrained else None,
        "facts": facts,
    }
    run = Workdir(workdir)
    run.begin(config, derived, load_tokenizer(folder))
    bound = task.bound(facts, load_tokenizer(folder))
    made = model_of(folder, task.kind, len(names), bound, **settings)[0]
    values = {f"model/{name}": v for name, v in named_parameters(made).items()}
    run.best.save(STEP, values, {"lower_is_better": False, "value": 0.5, "phase": 0})
    run.checkpoints.save(STEP, values, {"phase": 1})
    return run


def scratch(folder: Path, task: Task, max_length: int = 12, **settings) -> Workdir:
    """A run of a model of this library's own that predicts words, with random weights.

    Its tokenizer is that of words.py, `settings` are `config.model`'s.
    """
    config = Experiment(
        data=Data(max_length=max_length), model=Model(**{**SCRATCH, **settings}), task=task
    )
    run = Workdir(folder)
    run.begin(config, {**DERIVED, "facts": {}}, words.tokenizer())
    bound = task.bound({}, words.TOKENIZER)
    model = build_model(config, 40, 1, kind="tokens", make_head=bound.head)
    random = np.random.default_rng(0)
    for variable in named_parameters(model).values():
        variable.assign(random.normal(0, 0.3, variable.shape).astype(np.float32))
    values = {f"model/{name}": v for name, v in named_parameters(model).items()}
    run.best.save(STEP, values, {"lower_is_better": True, "value": 0.5, "phase": 0})
    run.checkpoints.save(STEP, values, {"phase": 1})
    return run
