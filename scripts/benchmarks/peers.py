"""The speed of training MiniLM here and by others, side by side: `make bench`.

That is fine-tuning. Peers that can are compared in two more ways: --objective=masked pretrains it
further by masked words, on reviews that need no cutting; --objective=text_to_text trains a T5 from
random weights on pairs of Multi30k, found by --data_dir=FOLDER, where target tokens count.

Every system trains the real weights of MiniLM-L6 on the same 400 reviews, at up to 512 tokens, with
AdamW, batches of 16 and dropout 0.1, in a process of its own (peer.py) that waits while others are
measured: we and a peer, as it comes and tuned, in turn, then we and the next. A round is 5 batches;
after an epoch to warm up (of random batches, nearly all of 512 tokens: a round) 5 rounds or more
follow. As it comes: the recipe that its documentation gives. Tuned: in our batches of like length,
the same reviews in the same round, padded to a multiple of 8. We are in bfloat16, or in float32
where the processor has no instructions for bfloat16; a peer is in whichever of our precision and
float32 it is faster in when tuned, by its best round of the warm-up.

Tokens count without padding, and input is in the time. MFU (Chowdhery et al., 2022, appendix B) is
6 x parameters without embeddings + 12 x layers x length x width floating-point operations a token
of a text of that length, over the best rate of products of 2048 x 2048 matrices that the process
reached between its rounds, in bfloat16, or float32 where that is faster, whatever it trains in.
Where words are masked the head, with the vocabulary, counts for the masked ones.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table

from launch import main as program
from launch.arguments import as_path
from scripts import plots
from scripts.benchmarks import machine, translation
from scripts.benchmarks.synthetic import Shape
from scripts.benchmarks.systems import common
from trainer.config import PRECISIONS
from trainer.errors import UserError
from trainer.runtime import processor

ROOT = Path(__file__).resolve().parents[2]
REVIEWS, SEED = 400, 0
EPOCH = REVIEWS // (common.BATCH * common.STEPS)  # rounds
OBJECTIVES = {
    "classification": ("huggingface", "kerashub", "tfbert", "bare"),
    "masked": ("huggingface", "kerashub"),
    "text_to_text": ("huggingface", "kerashub"),
}
PEERS = {
    "huggingface": ("Hugging Face Trainer, PyTorch", "torch"),
    "kerashub": ("KerasHub, Keras fit", "keras"),
    "tfbert": ("TFBertModel, Keras 2 fit", "keras"),
    "bare": ("bare TensorFlow loop", ""),
}
# Times the best peer, as it comes and tuned.
LEAST = {"classification": (2.0, 1.4), "masked": (2.0, 1.4), "text_to_text": (1.5, 1.0)}
LEAST_MFU = 0.42
PATIENCE = 600  # seconds that a round may take


class System:
    """One system, as it comes or tuned, and what its rounds took."""

    def __init__(
        self,
        name: str,
        tuned: bool,
        folder: Path,
        flags: argparse.Namespace,
        precision: str,
        learn: dict[str, Any] | None = None,
    ):
        self.name, self.tuned, self.precision = name, tuned, precision
        label, place = PEERS.get(name, ("Thaw", ""))
        self.label = label + (", tuned" if tuned and name in PEERS else "")
        python = Path(sys.executable)
        if place:
            python = flags.environments / place / "bin" / "python"
        job = {"precision": precision, "objective": flags.objective, "length": flags.length}
        job |= learn or {}
        settings = {"system": name, "tuned": tuned, "learn": bool(learn), "job": job}
        settings |= {"folder": str(folder), "weights": str(flags.weights.absolute())}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPU_")}
        self._log = (folder / f"{name}{tuned:d}{precision}.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), "-P", "-m", "scripts.benchmarks.peer", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**environment, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        self.rounds: list[dict[str, Any]] = []

    def round(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Trains one round, or to the end, in so many seconds at most, and says what it took.

        Raises:
          UserError: the process ended, or did not answer in time and was killed.
        """
        assert self._process.stdin
        assert self._process.stdout
        began, hung = time.monotonic(), threading.Timer(patience, self._process.kill)
        hung.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write("\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            hung.cancel()
        if line.endswith("\n"):
            return json.loads(line)
        self._log.seek(0)
        said = self._log.read().strip().splitlines() or ["without a word"]
        if patience < time.monotonic() - began:
            raise UserError(f"{self.label} took more than {patience} s and was killed: {said[-1]}")
        raise UserError(f"{self.label} ended with status {self._process.wait()}: {said[-1]}")

    def warm_up(self) -> float:
        """Each length may be compiled, or prepared, anew; returns the best round's tokens/s."""
        return max(_rates([self.round() for _ in range(EPOCH if self.tuned else 1)]))

    def close(self) -> None:
        """Ends the process; nothing, if that was done."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            self._log.close()


def _together(
    rounds: Sequence[dict[str, Any]],
    shape: Shape | None,
    name: str,
    tuned: bool,
    masked: float = 0.0,
) -> dict[str, Any]:
    """The row of a system: medians over its rounds of tokens/s and MFU, and sums."""
    rates = _rates(rounds)
    examples, tokens, slots, seconds = (
        sum(each[key] for each in rounds) for key in ("examples", "tokens", "slots", "seconds")
    )
    best = max(each["flops"] for each in rounds)
    mfu = (
        [math.nan]
        if not shape
        else [
            rate * shape.of_a_token(each["squares"] / each["tokens"], masked) / best
            for rate, each in zip(rates, rounds, strict=True)
        ]
    )
    return {
        "system": name,
        "tuned": tuned,
        "tokens_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "examples_per_second": examples / seconds,
        "peak_memory_mb": max(each["peak_mb"] for each in rounds),
        "padding": 1 - tokens / slots,
        "mfu": statistics.median(mfu),
        "matrix_product_gigaflops": best / 1e9,
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """Flags that choose the systems, and where they are."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--weights", type=as_path, default=ROOT / "data" / "minilm", help="of a BERT")
    made.add_argument("--environments", type=as_path, default=ROOT / "build" / "peers")
    made.add_argument("--precision", default=machine.best_precision(), choices=PRECISIONS)
    made.add_argument("--only", nargs="+", default=list(PEERS), choices=list(PEERS))
    made.set_defaults(objective="classification", length=common.LENGTH)
    return made


def check(flags: argparse.Namespace) -> None:
    """Raises a UserError for weights or environments that are not there."""
    needed = ("model.safetensors", "tokenizer.json", "config.json")
    for name in needed if flags.objective != "text_to_text" else ():
        if not (flags.weights / name).is_file():
            raise UserError(f"--weights={flags.weights} holds no {name}: make weights")
    for name in flags.only:
        python = flags.environments / PEERS[name][1] / "bin" / "python"
        if PEERS[name][1] and not python.is_file():
            raise UserError(f"{python} is not there: make bench makes it")


def _flags(arguments: Sequence[str]) -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=EPOCH, help=f"of each system ({EPOCH})")
    made.add_argument("--output", type=as_path, default=Path("runs/benchmark/peers.json"))
    made.add_argument("--plot", type=as_path, help="a .png file")
    made.add_argument("--objective", choices=list(OBJECTIVES), help="what is learned")
    made.add_argument("--data_dir", type=as_path, default=ROOT / "data", help="of Multi30k")
    made.set_defaults(only=None)
    flags = made.parse_args(arguments)
    flags.only = flags.only or list(OBJECTIVES[flags.objective])
    return flags


def main(arguments: Sequence[str]) -> int:
    """Measures; returns 0, 1 (a promise does not hold) or 2 (a mistake of the user)."""
    flags = _flags(arguments)
    try:
        if lacking := {*flags.only} - {*OBJECTIVES[flags.objective]}:
            raise UserError(f"{', '.join(sorted(lacking))} has no model for {flags.objective}")
        most = EPOCH * (common.EPOCHS - 1) // len(flags.only)
        if not EPOCH <= flags.rounds <= most:
            raise UserError(
                f"--rounds={flags.rounds}: give {EPOCH}, an epoch, to {most}, for all peers"
            )
        if flags.plot:
            plots.check("--plot", flags.plot)
        plots.check_table("--output", flags.output)
        check(flags)
        pairs = flags.objective == "text_to_text"
        return measure(flags, None if pairs else Shape.of(flags.weights))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return program.USER_ERROR


def measure(flags: argparse.Namespace, shape: Shape | None) -> int:
    """Runs the rounds, prints and writes the table.

    Args:
      flags: of the program.
      shape: of the encoder that is trained, for MFU; None: it is another model.

    Raises:
      UserError: a system failed; what was measured before is printed, not written.
    """
    began, groups = time.perf_counter(), []
    failed: UserError | None = None
    with tempfile.TemporaryDirectory() as folder:
        masked = common.MASKED if flags.objective == "masked" else 0.0
        whole = (flags.weights, common.LENGTH) if masked else None
        if flags.objective == "text_to_text":
            reviews = translation.sentences(flags.data_dir)
            python = flags.environments / "torch" / "bin" / "python"
            flags.weights = translation.weights(Path(folder) / "t5", reviews, python)
            plan, flags.length = translation.plan(reviews, flags.weights), translation.LENGTH
        else:
            reviews = reviews_of("train", REVIEWS, whole)
            plan = plan_of(reviews, flags.weights, common.LENGTH, SEED)
        write(Path(folder) / "reviews.jsonl", reviews)
        (Path(folder) / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        ours = System("thaw", True, Path(folder), flags, flags.precision)
        try:
            ours.warm_up()
            for name in flags.only:
                # The tuned peer has the epoch to warm up, then the batches that we are at.
                now = (EPOCH + len(ours.rounds)) * common.STEPS
                kept = plan[: EPOCH * common.STEPS] + plan[now:]
                (Path(folder) / "plan.json").write_text(json.dumps(kept), encoding="utf-8")
                groups.append(_beside(ours, name, Path(folder), flags))
        except UserError as error:
            if not groups:
                raise
            failed = error
        finally:
            ours.close()
    row = _together(ours.rounds, shape, "thaw", tuned=False, masked=masked)
    rows = [{**row, "precision": ours.precision}]
    labels = [ours.label]
    for number, group in enumerate(groups):
        beside = _rates(ours.rounds[number * flags.rounds : (number + 1) * flags.rounds])
        for system in group:
            row = _together(system.rounds, shape, system.name, system.tuned, masked)
            row["precision"] = system.precision
            theirs = _rates(system.rounds)
            if system.tuned:  # the same batches in each round
                ratios = [a / b for a, b in zip(beside, theirs, strict=True)]
                row["thaw_is_faster"] = statistics.median(ratios)
            else:
                row["thaw_is_faster"] = statistics.median(beside) / statistics.median(theirs)
            rows.append(row)
            labels.append(system.label)
    if failed:
        show(rows, labels)
        raise failed
    where = {
        "processor": processor.name(),
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
    }
    flags.output.write_text(
        json.dumps({"machine": where, "rows": rows}, indent=2) + "\n", encoding="utf-8"
    )
    show(rows, labels)
    if flags.plot:
        draw(rows, labels, flags.plot)
    print(f"{(time.perf_counter() - began) / 60:.0f} minutes in all")
    return judge(rows, flags.objective)


def _beside(ours: System, name: str, folder: Path, flags: argparse.Namespace) -> list[System]:
    """A peer as it comes and tuned, and us, in turn: all peers would not fit in memory."""
    with contextlib.ExitStack() as stack:

        def start(tuned: bool, precision: str) -> tuple[float, System]:
            system = System(name, tuned, folder, flags, precision)
            stack.callback(system.close)
            rate = system.warm_up()
            print(f"{system.label}: {rate:,.0f} tokens/s in {precision}", flush=True)
            return rate, system

        precisions = dict.fromkeys((flags.precision, "float32"))
        found = [start(True, precision) for precision in precisions]
        _, tuned = max(found, key=lambda each: each[0])
        for _, system in found:
            if system is not tuned:
                system.close()
        theirs = [start(False, tuned.precision)[1], tuned]
        for number in range(flags.rounds):
            for system in (ours, *theirs):
                system.rounds.append(system.round())
            rates = (f"{s.label} {_rates(s.rounds)[-1]:,.0f} tokens/s" for s in (ours, *theirs))
            print(f"round {number + 1}: {'; '.join(rates)}", flush=True)
    return theirs


def _rates(rounds: Sequence[dict[str, Any]]) -> list[float]:
    return [each["tokens"] / each["seconds"] for each in rounds]


def show(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> None:
    """Prints the table."""
    table = rich.table.Table(box=rich.box.MARKDOWN)
    for name in (
        "system",
        "in",
        "tokens/s",
        "spread",
        "examples/s",
        "MFU",
        "padding",
        "peak MB",
        "we are",
    ):
        table.add_column(name, justify="left" if name in ("system", "in") else "right")
    for row, label in zip(rows, labels, strict=True):
        table.add_row(
            label,
            row["precision"].removeprefix("mixed_"),
            f"{row['tokens_per_second']:,.0f}",
            f"{row['lowest']:,.0f} to {row['highest']:,.0f}",
            f"{row['examples_per_second']:.2f}",
            "" if math.isnan(row["mfu"]) else f"{row['mfu']:.3f}",
            f"{row['padding']:.1%}",
            f"{row['peak_memory_mb']:,.0f}",
            f"{row['thaw_is_faster']:.2f} x" if "thaw_is_faster" in row else "",
        )
    rich.console.Console(width=140).print(table)


def judge(rows: Sequence[dict[str, Any]], objective: str) -> int:
    """Prints what holds; returns 1 if anything does not."""
    failed = 0
    for tuned, least in zip((False, True), LEAST[objective], strict=True):
        ratio = min(row["thaw_is_faster"] for row in rows[1:] if row["tuned"] == tuned)
        failed |= ratio < least
        what = "tuned" if tuned else "as it comes"
        print(f"{ratio:.2f} x the best peer {what} ({_holds(ratio >= least)} {least})")
    mfu = rows[0]["mfu"]
    if objective != "classification":
        return int(failed)
    failed |= mfu < LEAST_MFU
    print(f"MFU {mfu:.3f} ({_holds(mfu >= LEAST_MFU)} {LEAST_MFU})")
    return int(failed)


def _holds(it: bool) -> str:
    return "holds: at least" if it else "does not hold: at least"


def draw(rows: Sequence[dict[str, Any]], labels: Sequence[str], path: Path) -> None:
    """A bar a system, with its spread."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    at = range(len(rows))
    values = [row["tokens_per_second"] for row in rows]
    below = [row["tokens_per_second"] - row["lowest"] for row in rows]
    above = [row["highest"] - row["tokens_per_second"] for row in rows]
    colours = ["#c44e52" if r["system"] == "thaw" else "#4c72b0" for r in rows]
    axes.barh(at, values, xerr=[below, above], color=colours, capsize=3)
    axes.set_yticks(at, labels)
    axes.invert_yaxis()
    axes.set_xlabel("tokens without padding, a second (median of rounds, and their spread)")
    plots.save("--plot", figure, path)


def write(path: Path, reviews: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(review) + "\n" for review in reviews)


def reviews_of(
    split: str, count: int, whole: tuple[Path, int] | None = None
) -> list[dict[str, Any]]:
    """Takes some reviews of a split of the sample of `make data`.

    Args:
      split: of the sample.
      count: of reviews.
      whole: only those that need no cutting: weights with a tokenizer, and its most tokens.
    """
    program.import_tensorflow()
    from trainer.config import Data
    from trainer.data.sources import open_source
    from trainer.tasks.classification import Classification

    data = Data(name="imdb_sample", data_dir=str(ROOT / "data"))
    source = open_source(data, Classification())
    ids = {name: i for i, name in enumerate(source.facts["labels"])}
    rows = list(source.rows(split))
    if whole:
        weights, most = whole
        lengths = map(
            len, common.tokens([{"text": row["text"]} for row in rows], weights, most + 1)
        )
        rows = [row for row, length in zip(rows, lengths, strict=True) if length <= most]
    chosen = random.Random(SEED).sample(rows, count)
    return [{"text": row["text"], "label": ids[row["label"]]} for row in chosen]


def plan_of(
    reviews: list[dict[str, Any]], weights: Path, length: int, seed: int
) -> list[list[int]]:
    """The batches that we train on, and every tuned peer with us."""
    import numpy as np

    from configs import minilm_imdb
    from trainer.data.plan import TrainPlan, bucket_lengths

    lengths = np.array([len(ids) for ids in common.tokens(reviews, weights, length)])
    config = minilm_imdb.get_config()
    buckets = bucket_lengths(lengths, config.data.buckets)
    plan = TrainPlan(lengths, common.BATCH, buckets, seed)
    steps = common.EPOCHS * plan.steps_per_epoch
    return [plan.batch(step)[0].tolist() for step in range(steps)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
