"""Flags of evaluate, predict, export, report and tokenize, on a run that is whole."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz.doors.flags import misplaced
from fuzz.inputs import NUMBERS, PATHS, TEXTS, Input, of
from fuzz.samples import ASKED, Samples
from programs import Ended

FORMATS = ("savedmodel", "keras", "huggingface")
_FLAGS = {
    "evaluate": ("split", "data_dir", "batch_size", "cpu_devices", "cache_dir", "workdir"),
    "predict": (
        *("texts", "input", "format", "text", "text_pair", "id", "output", "resume", "threshold"),
        *("explain", "explain_steps", "page", "cpu_devices", "workdir"),
    ),
    "export": ("workdir", "format", "output"),
    "report": ("workdir", "output"),
    "tokenize": ("tokenizer",),
}
_WORDS = {
    "split": ("train", "validation", "test"),
    "format": ("text", "csv", "tsv", "jsonl", *FORMATS),
    "threshold": ("f1", "precision", "0.5", "1e-400", "2", "nan"),
    "explain_steps": ("1", "2", "3"),
    "resume": ("true", "false"),
    "explain": ("true", "false"),
}
_PATHS = ("data_dir", "cache_dir", "workdir", "input", "output", "page", "tokenizer")


def numbers_of(text: str) -> list[float]:
    """Every number in a JSON text; fails on what is no JSON, NaN and infinity among it."""

    def refuse(name: str) -> float:
        raise ValueError(f"{name} in {text[:80]!r}")

    found: list[float] = []
    todo = [json.loads(text, parse_constant=refuse)]
    while todo:
        value = todo.pop()
        if isinstance(value, (dict, list)):
            todo += value.values() if isinstance(value, dict) else value
        elif isinstance(value, float):
            found.append(value)
    return found


def predictions(count: int | None, output: Path | None = None) -> Callable[[Ended], str]:
    """A check: whole lines with probabilities that sum to 1, as many as texts where known."""

    def check(ended: Ended) -> str:
        text = output.read_text() if output else ended.stdout
        if text and not text.endswith("\n"):
            return "the last line is not whole"
        lines = text.split("\n")[:-1]
        for line in lines:
            made = json.loads(line)
            if not {"id", "label", "probabilities"} <= made.keys():
                return f"a line without a field: {line[:80]!r}"
            if not math.isclose(sum(made["probabilities"]), 1, abs_tol=1e-4):
                return f"probabilities that do not sum to 1: {line[:80]!r}"
        if count is not None and len(lines) != count:
            return f"{len(lines)} lines for {count} texts"
        return ""

    return check


def metrics(ended: Ended) -> str:
    """A check: one JSON object, all of its numbers finite."""
    return "" if numbers_of(ended.stdout) else "no number was printed"


def page(path: Path) -> Callable[[Ended], str]:
    """A check: a page with an end."""
    return lambda ended: "" if path.read_text().rstrip().endswith("</html>") else "half a page"


def make(random: Random, folder: Path, samples: Samples) -> Input:
    """A command that would work, but for a flag or two."""
    name = random.choice(["evaluate", "predict", "predict", "export", "report", "tokenize"])
    run, output = samples.copy_run(folder), folder / "made"
    case = command(random, name, folder, run)
    if name == "tokenize":
        case = Input([f"--tokenizer={run / 'tokenizer'}", of(random, TEXTS)], "launch.tokenize")
    for _ in range(random.choice([1, 1, 2])):
        flag = random.choice([*_FLAGS[name], of(random, TEXTS)])
        value = of(random, random.choice([NUMBERS, TEXTS, PATHS]))
        if flag in _PATHS:
            value = of(random, PATHS)
        elif flag in _WORDS and random.random() < 0.7:
            value = random.choice(_WORDS[flag])
        case.arguments.append(f"--{flag}={value}")
    if random.random() < 0.1:
        case.arguments.append(of(random, TEXTS))
    case.outputs = (run / "report.html", output, folder / "cwd", folder / "home")
    case.check = misplaced(folder)
    return case


def command(random: Random, name: str, folder: Path, run: Path) -> Input:
    """A command that works on the run `run`, with its check."""
    made = folder / "made"
    if name == "evaluate":
        flags = [f"--workdir={run}", f"--cache_dir={folder / 'cache'}"]
        return Input(flags, "launch.evaluate", check=metrics)
    if name == "predict":
        flags = [f"--workdir={run}", *(f"--texts={text}" for text in ASKED)]
        return Input(flags, "launch.predict", check=predictions(len(ASKED)))
    if name == "export":
        kind = random.choices(FORMATS, [1, 8, 3])[0]
        flags = [f"--workdir={run}", f"--format={kind}", f"--output={made}"]
        whole = lambda ended: "" if (made / "README.md").is_file() else "no model card"  # noqa: E731
        return Input(flags, "launch.export", outputs=(made,), check=whole)
    flags = [f"--workdir={run}"]
    return Input(
        flags, "launch.report", outputs=(run / "report.html",), check=page(run / "report.html")
    )
