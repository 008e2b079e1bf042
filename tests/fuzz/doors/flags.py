"""Flags of launch.train and fields of its config."""

import dataclasses
import json
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from fuzz.inputs import NUMBERS, PATHS, TEXTS, Input, odd_bytes, of, with_changes
from fuzz.samples import QUICK, Samples
from programs import Ended

from trainer.config import Experiment
from trainer.tasks.classification import Classification
from trainer.tasks.task import Task

_FILES = ("data.train", "data.validation", "data.test", "data.data_dir", "model.initial_run")
_CODE = (
    *("os:nosuch", "nosuch.module:build", "trainer.models.network", ":", "a:", ":b", "a:b:c"),
    *("builtins:print", "json:loads", "trainer.config:Experiment", "../x:y", "a b:c", "x" * 300),
)
_PATTERNS = (
    "(",
    "[",
    "(a+)+$",
    ".*",
    "nosuch/.*",
    "",
    "\\",
    "x" * 5000,
    "(?P<a>",
    "*",
    "{9999999}",
)
_SYNTAX = (
    *("phases[99999999999].steps=1", "phases[-1].steps=1", "phases[x].steps=1", "phases[0]=1"),
    "phases=3",
    *(".seed=1", "model=1", "model.__class__=1", "seed", "model.width.x=1", "phases[0][0].steps=1"),
    *("__dict__=1", "phases.0.steps=1", "model..width=1", "phases[0].train[0]=x", "\udcff=1", "=1"),
    *("data=", "runtime.gpus[0]=1", "phases[0].nosuch=1", "phases[0].steps"),
    "phases[" + "9" * 5000 + "].steps=1",
)

_SIZES = (
    *("model.width", "model.depth", "model.heads", "model.ffn_width", "model.head_width"),
    *("model.vocab_size", "model.attention_window", "tokenizer.vocab_size", "data.max_length"),
    *("data.buckets", "global_batch_size", "evaluation.batch_size", "runtime.cpu_devices"),
    *("runtime.intra_op_threads", "runtime.inter_op_threads", "runtime.steps_per_call"),
    *("runtime.pack_mebibytes", "keep_checkpoints", "phases[0].warmup_steps"),
    "optimizer.clip_norm",
)
_LARGE = ("1000", "4096", "65536", "100000", "1000000", "1000000000", "2147483647", "2000000000000")
_DEEP = ("17", "\u0661\u0662")  # good depths, which train: a block takes a second or two to begin


def finished(workdir: Path) -> Callable[[Ended], str]:
    """A check: the folder holds a run that has ended."""

    def check(ended: Ended) -> str:
        result = json.loads((workdir / "result.json").read_text())
        for line in (workdir / "metrics.jsonl").read_text().splitlines():
            json.loads(line)
        return "" if "test" in result else "result.json has no test"

    return check


def misplaced(folder: Path) -> Callable[[Ended], str]:
    """A check: nothing was written into a folder called as a URL begins, or after a home."""

    def check(ended: Ended) -> str:
        names = [path.name for path in (folder / "cwd").iterdir()]
        wrong = [name for name in names if name[:1] == "~" or name[-1:] == ":"]
        return f"written to {wrong}" if wrong else ""

    return check


def fields(node: typing.Any = Experiment, path: str = "") -> Iterator[tuple[str, typing.Any]]:
    """Every field of the config by its path, with its type."""
    hints = typing.get_type_hints(node)
    for spec in dataclasses.fields(node):
        kind = Classification if hints[spec.name] is Task else hints[spec.name]
        if spec.name == "phases":
            yield from fields(typing.get_args(kind)[0], f"{path}phases[0].")
        elif dataclasses.is_dataclass(kind):
            yield from fields(kind, f"{path}{spec.name}.")
        else:
            yield f"{path}{spec.name}", kind


def value(random: Random, path: str, kind: typing.Any) -> str:
    """A value for a field, seldom a good one."""
    if random.random() < 0.1:
        return of(random, random.choice([NUMBERS, TEXTS, PATHS]))
    if path in _FILES or "pretrained" in path:
        return of(random, PATHS)
    if path in ("model.factory", "task.loss"):
        return random.choice(_CODE)
    if typing.get_origin(kind) is tuple:
        inner = random.choice([*_CODE, *_PATTERNS, *NUMBERS])
        return random.choice(
            [f"({inner!r},)", f"({inner},)", inner, "()", "(" * 500, f"({inner},{inner})"]
        )
    if kind is str:
        return of(random, TEXTS)
    return random.choice(NUMBERS if kind in (int, float) else ("2", "yes", "perhaps", "None", ""))


def make(random: Random, folder: Path, samples: Samples) -> Input:
    """A command that would train, but for a value or two."""
    run = folder / "run"
    flags = samples.flags(folder)
    all_fields = list(fields())
    kind = random.randrange(20)
    if kind < 4:
        chosen = random.sample(_SIZES, random.choice([1, 1, 2]))
        flags = with_changes(flags, {f"config.{path}": random.choice(_LARGE) for path in chosen})
    elif kind < 13:
        chosen = random.sample(all_fields, random.choice([1, 1, 1, 2]))
        changes = {f"config.{path}": value(random, path, kind) for path, kind in chosen}
        if any("steps" in name or "epochs" in name for name in changes):
            changes.pop("config.max_steps", None)  # it ends a run that may be long
        flags = with_changes(flags, changes)
        if changes.get("config.model.depth") in _DEEP:
            flags = without_data(flags, folder)
    elif kind < 15:
        flags.append(f"--config.{random.choice(_SYNTAX)}")
    elif kind == 15:
        workdir = of(random, PATHS)
        flags = with_changes(flags, {random.choice(["workdir", "cache_dir"]): workdir})
    elif kind == 16:
        flags.append(_odd_file(random, folder))
    elif kind == 17:
        config = folder / "config.py"
        config.write_bytes(odd_bytes(random, QUICK.read_bytes()))
        flags = with_changes(flags, {"config": random.choice([str(config), of(random, PATHS)])})
    else:
        name = random.choice(["hosts", "index", "cpu_devices", "start_seconds", of(random, TEXTS)])
        odd = random.choice(
            ["localhost:1,localhost:2", "a", ":", "[::1]:99999", "a:0", of(random, TEXTS)]
        )
        flags += ["--start_seconds=1", f"--{name}={random.choice([odd, of(random, NUMBERS)])}"]
    lost = (69,) if any(flag.startswith("--hosts") for flag in flags) else ()
    if kind == 15:
        return Input(flags, outputs=(folder,), check=misplaced(folder), allowed=lost)
    return Input(flags, outputs=(run,), check=finished(run), allowed=lost)


def settings(random: Random, folder: Path, samples: Samples) -> Input:
    """Flags without data: good ones are refused for that, in a moment."""
    case = make(random, folder, samples)
    case.arguments = without_data(case.arguments, folder)
    return case


def without_data(flags: list[str], folder: Path) -> list[str]:
    """The flags of a run whose files are not there, unless a flag is odd that names one."""
    return [flag.replace(f"{folder.parent}/samples/", f"{folder}/missing/") for flag in flags]


def _odd_file(random: Random, folder: Path) -> str:
    """--flagfile, of something that is none."""
    path = folder / "flags.txt"
    path.write_bytes(
        random.choice(
            [b"\xff\xfe\0", b"--nosuch=1\n", f"--flagfile={path}\n".encode(), b"word\n", b"\0" * 9]
        )
    )
    return f"--flagfile={random.choice([str(path), str(folder), of(random, PATHS)])}"
