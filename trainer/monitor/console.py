"""The console: what a person sees while the run goes on."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TextIO

import rich.console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

EVALUATIONS_SHOWN = 6  # in the table after each of them


class Evaluated(NamedTuple):
    """The metrics of a split after a step."""

    step: int
    split: str
    metrics: Mapping[str, float]


class Console:
    """One live bar and tables on a terminal; elsewhere (a log file, a job's output) plain lines.

    Colours are on a terminal only, and not where NO_COLOR is set (https://no-color.org).
    """

    def __init__(self, total_steps: int, resume_step: int, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._evaluations: list[Evaluated] = []
        self._total = total_steps
        self._bar: tqdm | None = None
        if _shows_a_bar(self._stream):
            self._bar = tqdm(
                total=total_steps,
                initial=resume_step,
                file=self._stream,
                unit=" steps",
                dynamic_ncols=True,
                smoothing=0.1,
                leave=True,
            )

    def training(self, step: int, phase: str, values: Mapping[str, float]) -> None:
        """Shows where training is; `values` are those of `Monitor.training`."""
        parts = _parts(values)
        if self._bar is not None:
            self._bar.set_description_str(phase, refresh=False)
            self._bar.set_postfix_str(", ".join(parts), refresh=False)
            self._bar.update(step - self._bar.n)
            return
        share = step / self._total if self._total else 0
        left = values.get("train/step_seconds", 0.0) * (self._total - step)
        if left:
            parts.append(f"{tqdm.format_interval(left)} left")
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
        self._print(_table(self._evaluations[-EVALUATIONS_SHOWN:], best_step))

    def summary(self, lines: Sequence[tuple[str, str]]) -> None:
        """The end of a run: what there is to say, or to do next, each with a word before it."""
        if self._bar is None:
            for name, text in lines:
                self.message(f"{name}: {text}")
            return
        grid = Table.grid(padding=(0, 2))
        for name, text in lines:
            grid.add_row(Text(name, "bold cyan"), Text(text, overflow="fold"))
        self._print(grid)

    def _print(self, shown: Table) -> None:
        """Above the bar."""
        width = os.get_terminal_size(self._stream.fileno()).columns
        written = io.StringIO()
        rich.console.Console(file=written, force_terminal=True, width=width).print(shown)
        self.message(written.getvalue().rstrip())

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


def _table(evaluations: Sequence[Evaluated], best_step: int | None) -> Table:
    names = list(evaluations[-1].metrics)
    table = Table(header_style="bold", expand=False)
    for name in ("step", "split", *names):
        table.add_column(name.replace("_", " "), justify="left" if name == "split" else "right")
    for step, split, metrics in evaluations:
        cells = [_number(metrics[name]) if name in metrics else "" for name in names]
        best = split == "validation" and step == best_step
        mark = " best" if best else ""
        table.add_row(f"{step:,}", f"{split}{mark}", *cells, style="green" if best else None)
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
        ("train/learning_rate", "rate {:.2e}"),
        *[rate for rate in rates if rate[0] in values][:1],
        ("train/padding", "{:.1%} padding"),
    )
    return [form.format(values[key]) for key, form in shown if key in values]
