"""Trains the tasks of GLUE in configs/glue with several seeds, and prints what they reach.

  python scripts/glue.py --data=/path/to/glue --output=runs/glue
  python scripts/glue.py --data=/path/to/glue --output=runs/glue --tasks=mrpc,rte --seeds=3

Each run is a workdir OUTPUT/TASK-SEED: a run that is done is not repeated, one that was killed goes
on. The validation set of GLUE is the test here, as its test labels are hidden: weights are chosen
on a part of train.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.arguments import as_path
from trainer.errors import UserError
from trainer.storage import contents, sealed

ROOT = Path(__file__).resolve().parents[1]
# By config: the folder of its files, and the metrics that GLUE reports.
TASKS = {
    "sst2": ("SST-2", ("accuracy",)),
    "cola": ("CoLA", ("matthews",)),
    "mrpc": ("MRPC", ("f1", "accuracy")),
    "stsb": ("STS-B", ("pearson", "spearman")),
    "rte": ("RTE", ("accuracy",)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is not done, and prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=as_path, required=True, help="folder with SST-2, CoLA, …")
    parser.add_argument("--output", type=as_path, required=True, help="folder of the runs")
    parser.add_argument("--tasks", default=",".join(TASKS), help="which tasks")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from 0 on")
    parser.add_argument("more", nargs="*", help="further flags of launch.train, after --")
    flags = parser.parse_args(arguments)
    names = flags.tasks.split(",")
    if unknown := [name for name in names if name not in TASKS]:
        parser.error(f"--tasks: {unknown[0]!r} is not one of {', '.join(TASKS)}")
    if not 1 <= flags.seeds <= 100:
        parser.error("--seeds must be 1 to 100")
    flags.data, flags.output = flags.data.absolute(), flags.output.absolute()
    for name in names:
        for seed in range(flags.seeds):
            status = train(name, seed, flags.data, flags.output, flags.more)
            if status:
                return status
    print(table(names, flags.seeds, flags.output))
    return 0


def train(name: str, seed: int, data: Path, output: Path, more: Sequence[str]) -> int:
    """Trains a task with a seed to its end; returns the exit status of launch.train."""
    workdir = output / f"{name}-{seed}"
    command = [
        *(sys.executable, "-m", "launch.train", f"--config=configs/glue/{name}.py"),
        f"--config.data.data_dir={data / TASKS[name][0]}",
        *(f"--config.seed={seed}", f"--workdir={workdir}", *more),
    ]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def table(names: Sequence[str], seeds: int, output: Path) -> str:
    """Lines of Markdown: for each metric its mean over the seeds, and what each gave."""
    lines = ["| task | metric | mean | seeds | seconds |", "|---|---|---:|---|---:|"]
    for name in names:
        results = [_result(output / f"{name}-{seed}" / "result.json") for seed in range(seeds)]
        seconds = statistics.mean(result["wall_seconds"] for result in results)
        for metric in TASKS[name][1]:
            found = [result["test"].get(metric) for result in results]
            each = ", ".join("undefined" if v is None else f"{v:.4f}" for v in found)
            mean = "" if None in found else f"{statistics.mean(found):.4f}"
            lines.append(f"| {TASKS[name][0]} | {metric} | {mean} | {each} | {seconds:.0f} |")
    return "\n".join(lines)


def _result(path: Path) -> dict[str, Any]:
    try:
        return contents.result(sealed.read(path))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
