"""What a person sees while the run goes on."""

import os
import sys
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm


class Console:
    """One live bar on a terminal; elsewhere (a log file, a job's output) plain lines."""

    def __init__(self, total_steps: int, resume_step: int, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
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

    def evaluation(self, step: int, name: str, values: Mapping[str, float]) -> None:
        """One line with the metrics of a split."""
        shown = ", ".join(
            f"{key} {value:,}" if isinstance(value, int) else f"{key} {value:.4f}"
            for key, value in values.items()
        )
        self.message(f"step {step}/{self._total} {name}: {shown}")

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


def _shows_a_bar(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that says how large it is: tqdm draws nothing on others."""
    if not stream.isatty():
        return False
    try:
        return min(os.get_terminal_size(stream.fileno())) > 0
    except OSError:
        return False


def _parts(values: Mapping[str, float]) -> list[str]:
    """The few values that tell a person how it goes, in words."""
    shown = (
        ("train/loss", "loss {:.4f}"),
        ("train/learning_rate", "rate {:.2e}"),
        ("train/tokens_per_second", "{:,.0f} tokens/s"),
        ("train/padding", "{:.1%} padding"),
    )
    return [form.format(values[key]) for key, form in shown if key in values]
