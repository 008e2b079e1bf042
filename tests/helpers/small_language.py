"""Small language models of made-up texts, and a classifier; a test names the files."""

import json
import random
from pathlib import Path

from trainer.config import Data, Experiment, Model, Phase, Tokenizer
from trainer.tasks.causal import Causal
from trainer.tasks.classification import Classification
from trainer.tasks.masked import MaskedWords
from trainer.tasks.replaced import ReplacedTokens
from trainer.tasks.task import Task

TASKS = {
    "causal": Causal(),
    "masked": MaskedWords(),
    "sentences": MaskedWords(whole_words=True, next_sentence=True),
    "replaced": ReplacedTokens(),
}
STEPS = 60


def get_config(name: str = "causal") -> Experiment:
    """The experiment of that task; "thawed" thaws an encoder that two of them made."""
    config = _language(Causal() if name == "thawed" else TASKS[name])
    if name == "thawed":
        config.model.causal, config.model.head = False, "mean"
        config.model.initial_run = "pretrained"
        config.task = Classification()
        config.phases = [
            Phase(name="head", train=("head/.*",), steps=14, learning_rate=1e-2, warmup_steps=2),
            Phase(name="all", steps=26, learning_rate=1e-2, warmup_steps=2, layer_decay=0.9),
        ]
    else:
        config.model.causal = name == "causal"
    return config


def _language(task: Task) -> Experiment:
    return Experiment(
        data=Data(source="files", validation_share=0.2, max_length=24, buckets=2),
        tokenizer=Tokenizer(vocab_size=150),
        model=Model(width=16, depth=1, heads=2, ffn_width=32, norm="pre"),
        task=task,
        phases=[Phase(steps=STEPS, learning_rate=1e-2, warmup_steps=5)],
        global_batch_size=16,
        save_every_steps=30,
    )


def write(path: Path, count: int, seed: int = 0) -> Path:
    """Texts of a few words, some longer than the model's positions, in JSONL."""
    drawn = random.Random(seed)
    rows = ({"text": _text(drawn, 30)} for _ in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_labelled(path: Path, count: int, seed: int = 0) -> Path:
    """Texts of a few sentences, by turns with dogs or with birds in them, in JSONL."""
    drawn = random.Random(seed)
    rows = []
    for i in range(count):
        kind = ("dog", "bird")[i % 2]
        text = " ".join(f"{_text(drawn, 6)} {kind}." for _ in range(drawn.randint(1, 5)))
        rows.append({"text": text, "label": kind})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _text(drawn: random.Random, longest: int) -> str:
    words = ("the", "cat", "dog", "saw", "a", "bird", "and", "ran", "away")
    return " ".join(drawn.choices(words, k=drawn.randint(1, longest)))
