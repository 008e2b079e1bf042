"""The console: what a person sees while the run goes on."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import rich.box
import rich.console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

EVALUATIONS_SHOWN = 6  # in the table after each of them
_NARROW = 60  # columns of a terminal below which no bar is drawn, only numbers
_BESIDE = 50  # columns that a bar needs beside its phase, its steps and the values after them


class Evaluated(NamedTuple):
    """The metrics of a split after a step."""

    step: int
    split: str
    metrics: Mapping[str, float]


class _Bar(tqdm):
    """A bar whose estimate of the time left is that of steps alone, not of what it saw go by."""

    pace: float | None = None  # seconds a step

    @property
    def format_dict(self) -> dict[str, Any]:
        shown = {**super().format_dict, "rate": 1 / self.pace if self.pace else 0}
        if shown["ncols"] and shown["ncols"] < _NARROW:
            shown["bar_format"] = "{desc} {n_fmt}/{total_fmt} {percentage:.0f}%, {remaining} left"
        return shown


class Console:
    """One live bar and tables on a terminal; elsewhere (a log file, a job's output) plain lines.

    Colours are on a terminal only, and not where NO_COLOR is set (https://no-color.org).
    """

    def __init__(self, total_steps: int, resume_step: int, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._evaluations: list[Evaluated] = []
        self._total = total_steps
        self._bar: _Bar | None = None
        if _shows_a_bar(self._stream):
            self._bar = _Bar(
                total=total_steps,
                initial=resume_step,
                file=self._stream,
                unit=" steps",
                dynamic_ncols=True,
                leave=True,
            )

    def compiling(self, phase: str, what: str) -> None:
        """Says that the step is being compiled, until `reached` is told of it."""
        if self._bar is None:
            self.message(f"Compiling {what}")
        else:
            self._bar.set_description_str(f"{phase}, compiling")

    def reached(self, step: int, phase: str) -> None:
        """Moves the bar to a step that is done."""
        if self._bar is not None:
            self._bar.set_description_str(phase, refresh=False)
            self._bar.update(step - self._bar.n)

    def shortened(self, total_steps: int) -> None:
        """The run will end at this step: a phase has ended early."""
        self._total = total_steps
        if self._bar is not None:
            self._bar.total = total_steps
            self._bar.refresh()

    def training(
        self, step: int, phase: str, values: Mapping[str, float], pace: float | None
    ) -> None:
        """Shows how training goes.

        Args:
          step: the last one.
          phase: its name.
          values: those of `Monitor.training`.
          pace: seconds a step, for the time left; None: not known.
        """
        parts = _parts(values)
        if self._bar is not None:
            self._bar.pace = pace
            digits = 2 * len(str(self._total))
            free = self._width() - len(phase) - digits - _BESIDE
            while parts and len(", ".join(parts)) > free:
                parts.pop()
            self._bar.set_postfix_str(", ".join(parts), refresh=False)
            self.reached(step, phase)
            return
        share = step / self._total if self._total else 0
        if pace and step < self._total:
            parts.append(f"{tqdm.format_interval(pace * (self._total - step))} left")
        self.message(f"step {step}/{self._total} ({share:.0%}) {phase}: {', '.join(parts)}")

    def evaluation(
        self, step: int, name: str, values: Mapping[str, float], best_step: int | None = None
    ) -> None:
        """The metrics of a split: a table with those before it on a terminal, else one line.

        Args:
          step: the step whose weights were scored.
          name: of the split.
          values: metrics by name.
          best_step: of the best weights up to now, which the table marks.
        """
        if self._bar is None:
            shown = ", ".join(f"{key} {_number(value)}" for key, value in values.items())
            self.message(f"step {step}/{self._total} {name}: {shown}")
            return
        self._evaluations.append(Evaluated(step, name, values))
        self._print(_table(self._evaluations, best_step, self._width()))

    def summary(self, lines: Sequence[tuple[str, str]]) -> None:
        """The end of a run: what there is to say, or to do next, each with a word before it."""
        if self._bar is None:
            for name, text in lines:
                self.message(f"{name}: {text}")
            return
        self._bar.close()
        width = max(len(name) for name, _ in lines) + 2
        for name, text in lines:  # a command is one line, whatever the width, to be copied whole
            self._print(Text.assemble((f"{name:<{width}}", "bold cyan"), text), soft_wrap=True)

    def _print(self, shown: Table | Text, soft_wrap: bool = False) -> None:
        """Above the bar."""
        written = io.StringIO()
        console = rich.console.Console(file=written, force_terminal=True, width=self._width())
        console.print(shown, soft_wrap=soft_wrap)
        self.message(written.getvalue().rstrip())

    def _width(self) -> int:
        return os.get_terminal_size(self._stream.fileno()).columns

    def message(self, text: str) -> None:
        """A line of text, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar. May be called twice."""
        if self._bar is not None:
            self._bar.close()


def _table(evaluations: Sequence[Evaluated], best_step: int | None, width: int) -> Table:
    """A row a metric and a column an evaluation: the last ones that fit, and the best one."""
    names = list(evaluations[-1].metrics)
    heads = [f"{each.split}\nstep {each.step:,}" for each in evaluations]
    left = max(map(len, names)) + 2
    column = max(len(line) for head in heads for line in head.split("\n")) + 2
    count = max(1, min(EVALUATIONS_SHOWN, (width - left) // column))
    best = [i for i, e in enumerate(evaluations) if e == (best_step, "validation", e.metrics)]
    shown = sorted({*best[-1:], *range(len(evaluations))[-count:]})
    if len(shown) > count > 1:
        shown.pop(1)
    table = Table(header_style="bold", box=rich.box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for i in shown:
        mark, style = ("best", "green") if i in best else (" ", None)
        table.add_column(f"{heads[i]}\n{mark}", justify="right", style=style)
    for name in names:
        cells = [evaluations[i].metrics.get(name) for i in shown]
        table.add_row(
            name.replace("_", " "), *("" if cell is None else _number(cell) for cell in cells)
        )
    return table


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _shows_a_bar(stream: TextIO) -> bool:
    """True if `stream` is a terminal that says how large it is: tqdm draws nothing on others."""
    if not stream.isatty():
        return False
    try:
        return min(os.get_terminal_size(stream.fileno())) > 0
    except OSError:
        return False


def _parts(values: Mapping[str, float]) -> list[str]:
    """The few values that tell a person how it goes, in words."""
    rates = (
        ("train/tokens_per_second", "{:,.0f} tokens/s"),
        ("train/examples_per_second", "{:,.0f} examples/s"),  # where features were cached
    )
    shown = (
        ("train/loss", "loss {:.4f}"),
        *[rate for rate in rates if rate[0] in values][:1],
        ("train/learning_rate", "rate {:.2e}"),
        ("train/padding", "{:.1%} padding"),
    )
    return [form.format(values[key]) for key, form in shown if key in values]
