"""Measures how fast texts are written here and by transformers, side by side.

  python -m scripts.benchmarks.generate
  python -m scripts.benchmarks.generate --model=t5 --prompt=32 --new=32 --rows 16 --beams=4

Both continue the same random prompts of 64 tokens by 128 tokens, greedily, with random weights of
GPT-2 small's shape in float32, one text and eight at a time; each in a process of its own, in turn.
With --model=t5 they write from random sources, with random weights of T5 small's shape.
Tokens/s are new tokens over all of the time, the reading of the prompts included; the first texts
of each size, for which programs are compiled, do not count. Ours must be at least 1.3 times as
fast, by the median of the rounds. It needs the environment that `make bench` makes.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch import main as program
from launch.arguments import as_path
from scripts import plots
from trainer.errors import UserError
from trainer.runtime import processor

ROOT = Path(__file__).resolve().parents[2]
LEAST = 1.3  # times the tokens/s of transformers
SYSTEMS = {"thaw": "Thaw", "transformers": "transformers, PyTorch"}


class System:
    """A process that writes on command."""

    def __init__(self, name: str, python: Path, folder: Path, settings: dict[str, Any]):
        self.label = SYSTEMS[name]
        self._log = (folder / f"{name}.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [
                *(str(python), "-P", "-m", "scripts.benchmarks.systems.writing"),
                json.dumps({"system": name, **settings}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        )

    def rate(self, rows: int) -> float:
        """Writes so many texts at a time; new tokens a second. Raises UserError: it ended."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{rows}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line.endswith("\n"):
            found = json.loads(line)
            return found["tokens"] / found["seconds"]
        self._log.seek(0)
        said = self._log.read().strip().splitlines() or ["without a word"]
        raise UserError(f"{self.label} ended with status {self._process.wait()}: {said[-1]}")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            self._log.close()


def _flags(arguments: Sequence[str]) -> argparse.Namespace:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--model", choices=("gpt2", "t5"), default="gpt2", help="(gpt2)")
    made.add_argument("--beams", type=int, default=1, help="of each text (1: greedy)")
    made.add_argument("--rounds", type=int, default=5, help="of each size (5)")
    made.add_argument("--rows", type=int, nargs="+", default=[1, 8], help="texts at a time (1 8)")
    made.add_argument("--prompt", type=int, default=64, help="tokens (64)")
    made.add_argument("--new", type=int, default=128, help="tokens (128)")
    made.add_argument("--threads", type=int, default=0, help="of each system (its default)")
    peer = ROOT / "build" / "peers" / "torch" / "bin" / "python"
    made.add_argument("--python", type=as_path, default=peer, help="of the peer")
    made.add_argument("--output", type=as_path, help="a .json file")
    return made.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measures; returns 0, 1 (not fast enough) or 2 (a mistake of the user)."""
    flags = _flags(arguments)
    try:
        if min(flags.rounds, flags.prompt, flags.new, flags.beams, *flags.rows) < 1:
            raise UserError("--rounds, --rows, --prompt, --new and --beams must be 1 or more")
        if not flags.python.is_file():
            raise UserError(f"{flags.python} is not there: make bench makes it")
        if flags.output:
            plots.check_table("--output", flags.output)
        return measure(flags)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return program.USER_ERROR


def measure(flags: argparse.Namespace) -> int:
    """Runs the rounds, prints and writes what they gave. Raises UserError: a system failed."""
    settings = {
        name: getattr(flags, name) for name in ("model", "prompt", "new", "threads", "beams")
    }
    found = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        systems = []
        for name, python in zip(SYSTEMS, (Path(sys.executable), flags.python), strict=True):
            systems.append(System(name, python, folder, settings))
            stack.callback(systems[-1].close)
        for rows in flags.rows:
            for system in systems:
                system.rate(rows)
            rates = []
            for number in range(flags.rounds):
                rates.append([system.rate(rows) for system in systems])
                said = (f"{s.label} {r:,.1f}" for s, r in zip(systems, rates[-1], strict=True))
                print(f"{rows} at a time, round {number + 1}, tokens/s: {'; '.join(said)}")
            found.append(summary(rows, rates))
    if flags.output:
        where = {"processor": processor.name(), "cores": len(os.sched_getaffinity(0)), **settings}
        text = json.dumps({"machine": where, "rows": found}, indent=2) + "\n"
        flags.output.write_text(text, encoding="utf-8")
    return judge(found)


def summary(rows: int, rates: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Medians of the rounds' tokens/s (ours, theirs), and of their ratios."""
    ours, theirs = zip(*rates, strict=True)
    ratios = [a / b for a, b in rates]
    return {
        "rows": rows,
        "tokens_per_second": statistics.median(ours),
        "of_transformers": statistics.median(theirs),
        "times_as_fast": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def judge(found: Sequence[dict[str, Any]]) -> int:
    """Prints a line for each size; returns 1 if one is below LEAST, else 0."""
    for each in found:
        print(
            f"{each['rows']} at a time: {each['tokens_per_second']:,.1f} tokens/s, transformers"
            f" {each['of_transformers']:,.1f}: {each['times_as_fast']:.2f} times as fast"
            f" ({each['lowest']:.2f} to {each['highest']:.2f})"
        )
    holds = all(each["times_as_fast"] >= LEAST for each in found)
    print(f"{'holds' if holds else 'does not hold'}: at least {LEAST} times")
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
