"""Prints the table that this field starts from: five classifiers of the sample's reviews.

  python scripts/compare.py --plot=docs/images/comparison.png

Each is trained in its folder of --runs, one after the other, if it has not been; finished runs are
reused. A run that compare.py starts has an empty token cache, so its wall time, from the start of
its program to the end of its test, holds everything: tokenizer, tokens, training, choosing.
docs/results/comparison.md says more.
"""

import json
import runpy
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plots
from absl import flags

from launch import main as program
from trainer.errors import UserError
from trainer.storage import sealed
from trainer.storage.disk import replace

ROOT = Path(__file__).resolve().parents[1]
# Where a label may stand: points to the right and up, and which part of it is there.
SIDES = (
    ((8, 0), "left", "center"),
    ((-8, 0), "right", "center"),
    ((0, 8), "center", "bottom"),
    ((0, -8), "center", "top"),
)
TICKS = {s: f"{s} s" for s in (1, 2, 5, 10, 20, 30)}
TICKS |= {60 * m: f"{m} min" for m in (1, 2, 5, 10, 20, 30)}
TICKS |= {3600 * h: f"{h} h" for h in (1, 2, 5, 10, 20, 50)}

sys.path.insert(0, str(ROOT))  # configs import one another

_ONLY = flags.DEFINE_list("only", [], "Some of the rows, such as lstm,bilstm (default: all).")
_RUNS = program.define_path(
    "runs", "Folder of the runs; the table goes to compare/ there.", default="runs"
)
_PLOT = program.define_path("plot", "Also draw the table, into this .png file.")


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
      folder: its run, in the folder of --runs.
      config: its experiment, in the root of the repository.
      script: what trains it there, in place of launch.train.
    """

    title: str
    folder: str
    config: str
    script: str = ""

    def command(self, runs: Path, cache_dir: str) -> list[str]:
        """The program that trains it."""
        flags_ = [f"--config={self.config}", f"--workdir={runs / self.folder}"]
        if self.script:
            return [sys.executable, self.script, *flags_]
        return [sys.executable, "-m", "launch.train", *flags_, f"--cache_dir={cache_dir}"]


SYSTEMS = {
    "lstm": System("LSTM", "lstm", "configs/lstm.py"),
    "bilstm": System("BiLSTM", "bilstm", "configs/bilstm.py"),
    "transformer": System("Transformer", "quickstart", "configs/quickstart.py"),
    "nb_lr": System("NB-LR", "nb_lr", "configs/quickstart.py", "scripts/nb_lr.py"),
    "minilm": System("MiniLM, fine-tuned", "bert", "configs/minilm_sample.py"),
}


def main() -> int:
    """Trains what is missing, prints the table, stores and draws it; returns the exit status."""
    unknown = [key for key in _ONLY.value if key not in SYSTEMS]
    if unknown:
        raise UserError(f"--only={unknown[0]} is not one of: {', '.join(SYSTEMS)}")
    chosen = [SYSTEMS[key] for key in SYSTEMS if key in _ONLY.value or not _ONLY.value]
    plot = _PLOT.value.absolute() if _PLOT.value else None
    return compare(chosen, _RUNS.value.absolute(), plot)


def compare(systems: Sequence[System], runs: Path, plot: Path | None) -> int:
    """Does what `main` says, for the given rows.

    Raises:
      UserError: a config or folder that is missing, holds another run, or cannot be written, and
        rows that were not tested on the same examples.
    """
    for system in systems:
        if not (ROOT / system.config).is_file():
            raise UserError(f"{system.config} is missing: leave {system.title} out, see --only")
    output = runs / "compare"
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {output}: {error.strerror}") from error
    if plot:
        plots.check("--plot", plot)
    program.import_tensorflow()
    missing = [system for system in systems if not finished(system, runs)]
    for system in systems:
        if system not in missing:
            program.say(f"{system.title}: the finished run in {runs / system.folder} is reused")
    for system in missing:
        with tempfile.TemporaryDirectory(prefix="cache-", dir=output) as cache_dir:
            status = train(system.command(runs, cache_dir))
        if status:
            return status  # and it has said why
    rows = [read(system, runs) for system in systems]
    check_same_test(rows)
    try:
        replace(output / "table.json", json.dumps(rows, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to {output}: {error.strerror}") from error
    print(table(rows))
    for row in rows[1:]:
        if row["learned_from"] != rows[0]["learned_from"]:
            print(f"{row['title']} learned from other examples than {rows[0]['title']}")
    if plot:
        draw(rows, plot)
        program.say(f"The plot is in {plot}")
    return 0


def finished(system: System, runs: Path) -> bool:
    """True if its run is there and whole.

    Raises:
      UserError: its folder holds something else.
    """
    from trainer.storage.workdir import Workdir

    workdir = Workdir(runs / system.folder)
    if not system.script:
        settings = runpy.run_path(str(ROOT / system.config))["get_config"]()
        try:
            workdir.check(settings)
        except UserError as error:
            raise UserError(
                f"{workdir.path} cannot be used for {system.title} ({error}): move it away, or give"
                " another --runs"
            ) from error
    return _result(system, runs).get("finished", False)


def _result(system: System, runs: Path) -> dict[str, Any]:
    """The contents of its result.json; empty where there is none yet."""
    from trainer.storage.workdir import Workdir

    workdir = Workdir(runs / system.folder)
    if not system.script:
        return workdir.result() or {}
    try:
        return sealed.read(workdir.result_file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {workdir.result_file}: {error}; delete it") from error


def train(command: list[str]) -> int:
    """Runs the command to its end; returns the exit status."""
    program.say(shlex.join(command))
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the process got the signal too: it saves, and ends
            continue


def read(system: System, runs: Path) -> dict[str, Any]:
    """A finished run's entries in the table."""
    from trainer.storage.workdir import Workdir

    workdir = Workdir(runs / system.folder)
    result = _result(system, runs)
    if system.script:
        data = result["data_fingerprint"]
    else:
        data = workdir.read()[1]["data_fingerprint"]
    return {
        "title": system.title,
        **{name: result["test"].get(name) for name in ("accuracy", "f1", "auc", "examples")},
        "parameters": result["parameters"],
        "wall_seconds": result["wall_seconds"],
        "run": system.folder,
        "tested_on": data["test"],
        "learned_from": [data["train"], data["validation"]],
    }


def check_same_test(rows: list[dict[str, Any]]) -> None:
    """Refuses to compare what was not tested on the same examples."""
    for row in rows[1:]:
        if row["tested_on"] != rows[0]["tested_on"]:
            raise UserError(
                f"the runs {row['run']} and {rows[0]['run']} were tested on different examples:"
                " remove one of the two, and it is made again"
            )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as aligned text, under a line with the names of the columns."""
    cells = [["", "test accuracy", "F1", "AUC", "parameters", "wall time"]]
    for row in rows:
        scores = [row[name] for name in ("accuracy", "f1", "auc")]
        cells.append(
            [
                row["title"],
                *("-" if value is None else f"{value:.4f}" for value in scores),
                f"{row['parameters']:,}",
                f"{row['wall_seconds']:,.0f} s",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in cells
    )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws accuracy against wall time, a point with its title for each row."""
    from matplotlib import figure, ticker

    picture = figure.Figure(figsize=(7, 4), dpi=150)
    axes = picture.add_axes((0.11, 0.14, 0.86, 0.82))
    seconds = [row["wall_seconds"] for row in rows]
    percents = [100 * row["accuracy"] for row in rows]
    margin = max(0.15 * (max(percents) - min(percents)), 0.5)
    axes.set(
        xscale="log",
        xlim=(min(seconds) / 1.6, max(seconds) * 1.6),
        ylim=(min(percents) - margin, max(percents) + margin),
        xlabel="wall time of the whole run",
        ylabel=f"accuracy on {rows[0]['examples']:,} test examples (%)",
    )
    axes.xaxis.set_major_locator(ticker.FixedLocator(list(TICKS)))
    axes.xaxis.set_major_formatter(lambda value, _: TICKS[round(value)])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e0e0e0")
    axes.set_axisbelow(True)
    axes.scatter(seconds, percents, color="#1f4e79")
    label_points(axes, seconds, percents, [row["title"] for row in rows])
    plots.save("--plot", picture, path)


def label_points(axes: Any, xs: list[float], ys: list[float], texts: list[str]) -> list[Any]:
    """Writes each text beside its point, where it covers no other; returns their boxes."""
    from matplotlib.transforms import Bbox

    places = axes.transData.transform(list(zip(xs, ys, strict=True)))
    points = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in places]
    boxes: list[Any] = []
    for x, y, text in zip(xs, ys, texts, strict=True):
        for side in SIDES:
            offset, across, up = side
            label = axes.annotate(
                text, (x, y), offset, textcoords="offset points", ha=across, va=up
            )
            box = label.get_window_extent()
            covers = box.count_overlaps([*points, *boxes])
            if (not covers and axes.bbox.x1 >= box.x1 and axes.bbox.x0 <= box.x0) or (
                side is SIDES[-1]  # no place is free
            ):
                break
            label.remove()
        boxes.append(box)
    return boxes


if __name__ == "__main__":
    program.run(main, __doc__)
