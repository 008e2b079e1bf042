"""Small runs of each task on made-up rows; a test names the files.

Its config is asked for with the name of the task: --config=tests/helpers/small_tasks.py:tagging
"""

import gzip
import importlib
import json
import random
from collections.abc import Sequence
from pathlib import Path

from trainer.config import Data, Experiment, Model, Phase, Tokenizer
from trainer.tasks.classification import Classification
from trainer.tasks.entities import tagged
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging

Sentence = tuple[list[str], list[str]]
PEOPLE = ("anna", "bob", "zoe li", "tom van dam", "mia")
PLACES = ("rome", "new york", "oslo", "rio de janeiro", "york")
FRAMES = ("P met P in L", "in L it rained", "P left L for L", "what a day", "P 's dog saw P", "L")
TASKS = {
    "tagging": Tagging(context=4),
    "columns": Tagging(words="0", tags="-1", context=4),
    "regression": Regression(text="0", text_pair="2", score="1", bounds=(0.0, 5.0)),
    "scores": Regression(),
    "classification": Classification(),
    "labels": Classification(label="labels", multi_label=True),
}


def get_config(name: str) -> Experiment:
    """The experiment of the task of that name, or of two_losses.py."""
    task = TASKS.get(name)
    if task is None:
        task = importlib.import_module(f"tests.helpers.{name}").TwoLosses(
            **vars(TASKS["regression"])
        )
    return Experiment(
        data=Data(
            source="files",
            validation_share=0.3,
            max_length=12,
            buckets=2,
            header=name not in ("regression", "two_losses"),
        ),
        tokenizer=Tokenizer(vocab_size=150),
        model=Model(width=16, heads=2, ffn_width=32),
        task=task,
        phases=[Phase(steps=60, learning_rate=1e-2, warmup_steps=5)],
        global_batch_size=16,
        save_every_steps=20,
    )


def sentences(count: int, seed: int = 0) -> list[Sentence]:
    """Words and tags, in BIO, of sentences that are all different; some are long."""
    drawn = random.Random(seed)
    made = []
    for i in range(count):
        words: list[str] = []
        found = []
        frames = 4 if i % 10 == 0 else 1
        for part in " , ".join(drawn.choices(FRAMES, k=frames)).split():
            name = {"P": PEOPLE, "L": PLACES}.get(part)
            new = drawn.choice(name).split() if name else [part]
            if name:
                kind = "PER" if part == "P" else "LOC"
                found.append((len(words), len(words) + len(new), kind))
            words += new
        words += ["no", ".", *str(1000 * seed + i)]
        made.append((words, tagged(found, len(words))))
    return made


def in_iob1(tags: Sequence[str]) -> list[str]:
    """Tags written as CoNLL-2003 has them."""
    found, before = [], "O"
    for tag in tags:
        needed = tag[:1] == "B" and before[2:] == tag[2:]
        found.append(tag if tag == "O" or needed else f"I-{tag[2:]}")
        before = tag
    return found


def write_jsonl(path: Path, rows: Sequence[dict]) -> Path:
    """A JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_sentences(path: Path, given: Sequence[Sentence]) -> Path:
    """JSONL, or columns of words, a middle column, and tags; packed where the name says so."""
    if path.suffix == ".jsonl":
        return write_jsonl(path, [{"tokens": w, "ner_tags": t} for w, t in given])
    lines = ["-DOCSTART- -X- O", ""]
    for words, tags in given:
        lines += [f"{word} NN {tag}" for word, tag in zip(words, tags, strict=True)] + [""]
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_labelled(path: Path, count: int, seed: int = 0) -> Path:
    """JSONL of texts with none to three labels, each of which a word stands for."""
    drawn = random.Random(seed)
    rows = []
    for i in range(count):
        labels = [label for label in ("billing", "login", "speed") if drawn.random() < 0.5]
        rows.append({"text": f"about {' '.join(labels)} {1000 * seed + i}", "labels": labels})
    return write_jsonl(path, rows)


def write_pairs(path: Path, count: int, seed: int = 0) -> Path:
    """A TSV without a header: a text, the score of how good both are, and another text."""
    drawn = random.Random(seed)
    lines = []
    for i in range(count):
        good = [drawn.random() < 0.5 for _ in range(4)]
        words = ["good" if each else "bad" for each in good]
        score = 1.25 * sum(good)
        number = " ".join(str(1000 * seed + i))
        lines.append(f'{" ".join(words[:2])} {number}\t{score}\t{" ".join(words[2:])} "film')
    path.write_text("\n".join(lines) + "\n")
    return path
