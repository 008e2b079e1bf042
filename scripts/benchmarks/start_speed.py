"""The time from the start of launch.train to its first step; see speed.py.

As a program it is launch.train with a clock at its first two steps, then it ends:
`python -P -m scripts.benchmarks.start_speed --config=...`.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch import main as program
from launch import train
from trainer.errors import UserError

IMPORTS, COMPILING = 1.3, 1.0  # times each that a start may take
ROOT = Path(__file__).resolve().parents[2]
MARK = "START "


def measure(flags: Sequence[str], rounds: int, workdir: Path) -> int:
    """Prints what fresh and resumed starts take; returns 0 if the medians are within the limits.

    Args:
      flags: of launch.train, but for its workdir.
      rounds: of each.
      workdir: an empty folder.
    """
    status = 0
    starts: dict[str, list[float]] = {"fresh": [], "resumed": []}
    for number in range(rounds + 1):  # the first one fills the caches
        began = time.perf_counter()
        imports = "import tensorflow, keras"
        subprocess.run([sys.executable, "-c", imports], check=True, capture_output=True)
        imported = time.perf_counter() - began
        folder = workdir / str(number)
        for kind, ratios in starts.items():
            found = start([*flags, f"--workdir={folder}"])
            allowed = IMPORTS * imported + COMPILING * found["compiling"] + found["step"]
            if number:
                ratios.append(found["total"] / allowed)
                print(
                    f"round {number}, {kind}: {found['total']:.1f} s to the end of the first step;"
                    f" imports {imported:.1f} s, compiling {found['compiling']:.1f} s, a step"
                    f" {found['step']:.2f} s: {ratios[-1]:.2f} of what is allowed"
                )
    for kind, ratios in starts.items():
        median = statistics.median(ratios)
        status |= int(median > 1)
        print(
            f"{kind}: median {median:.2f}, lowest {min(ratios):.2f}, highest {max(ratios):.2f} of"
            f" {IMPORTS} x imports + {COMPILING} x compiling + a step"
            f" ({'holds' if median <= 1 else 'does not hold'})"
        )
    return status


def start(flags: Sequence[str]) -> dict[str, float]:
    """Seconds from the start of a process to its first step's end, of its parts; MB at most."""
    began = time.time()
    command = [sys.executable, "-P", "-m", "scripts.benchmarks.start_speed", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        said = done.stderr.strip().splitlines() or ["without a word"]
        raise UserError(f"launch.train ended: {said[-1].removeprefix('error: ')}")
    before, first, second, peak, tokenising = json.loads(lines[0].removeprefix(MARK))
    return {
        "total": before - began + first,
        "tokenising": tokenising,
        "compiling": first - second,
        "step": second,
        "peak_mb": peak,
    }


def main() -> Any:
    """launch.train, until two steps are done and saved."""
    program.import_tensorflow()
    import trainer.loop
    import trainer.run
    from trainer.data.cache import load_or_build
    from trainer.step import TrainStep

    taken: list[float] = []
    begins: list[float] = []
    tokenising = [0.0]

    def tokenised(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        split = load_or_build(*arguments, **named)
        tokenising[0] += time.perf_counter() - began
        return split

    class Timed(TrainStep):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            compiled = self.run

            def call(*arguments: Any) -> Any:
                if len(taken) == 2:  # both are saved by now
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
                    numbers = [begins[0], *taken, peak, *tokenising]
                    print(MARK + json.dumps(numbers), flush=True)
                    os._exit(0)
                begins.append(time.time())
                began = time.perf_counter()
                called = compiled(*arguments)
                called.metrics.numpy()
                taken.append(time.perf_counter() - began)
                return called

            self.run = call

    trainer.loop.TrainStep = Timed
    trainer.run.load_or_build = tokenised
    return train.main()


if __name__ == "__main__":
    program.define_config()
    program.define_cache_dir()
    program.run(main, __doc__)
