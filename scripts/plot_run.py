"""Draws the curves of a run from its metrics.jsonl: loss and accuracy by step, phase by phase.

python scripts/plot_run.py --workdir=runs/bert --output=curves.png
"""

import itertools
import math
from pathlib import Path
from typing import Any

import plots
from absl import flags

from launch import main as program
from trainer.errors import UserError
from trainer.monitor.metrics_log import read_records

BLUE, ORANGE, GREY = "#1f4e79", "#c55a11", "#a0a0a0"


def main() -> None:
    """Reads, and draws."""
    output = flags.FLAGS.output
    plots.check("--output", output)
    draw(read(flags.FLAGS.workdir), output)


def read(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl.

    Raises:
      UserError: there are none, or one is damaged.
    """
    path = workdir / "metrics.jsonl"

    def damaged(what: str) -> None:
        raise UserError(f"cannot read {path}: {what}: give the --workdir of a run")

    try:
        return [record for _, record in read_records(path, damaged)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}: give the --workdir of a run") from error


def draw(lines: list[dict[str, Any]], output: Path) -> None:
    """Loss while training and on validation above, accuracy on validation below."""
    from matplotlib import figure

    train = [line for line in lines if {"train/loss", "train/phase"} <= line.keys()]
    scored = [line for line in lines if {"validation/loss", "validation/accuracy"} <= line.keys()]
    starts = [
        line["step"]
        for before, line in itertools.pairwise(train)
        if line["train/phase"] != before["train/phase"]
    ]
    picture = figure.Figure(figsize=(7, 5), dpi=150)
    above, below = picture.subplots(2, 1, sharex=True)
    steps = [line["step"] for line in train]
    above.plot(steps, [_number(line["train/loss"]) for line in train], color=GREY, linewidth=0.8)
    at = [line["step"] for line in scored]
    losses = [_number(line["validation/loss"]) for line in scored]
    above.plot(at, losses, color=ORANGE, marker="o", label="validation")
    above.plot([], [], color=GREY, label="one training batch")
    above.set(ylabel="loss", ylim=(0, None))
    above.legend(frameon=False)
    accuracies = [100 * _number(line["validation/accuracy"]) for line in scored]
    below.plot(at, accuracies, color=BLUE, marker="o")
    below.set(xlabel="step", ylabel="validation accuracy (%)")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e0e0e0")
        for start in starts:
            axes.axvline(start, color=GREY, linestyle=":")
    picture.tight_layout()
    plots.save("--output", picture, output)


def _number(value: float | None) -> float:
    """null, which JSON has for NaN, is a gap in a curve."""
    return math.nan if value is None else value


if __name__ == "__main__":
    program.define_path("workdir", "Folder of a run.", required=True)
    program.define_path("output", "The .png file to write.", required=True)
    program.run(main, __doc__)
