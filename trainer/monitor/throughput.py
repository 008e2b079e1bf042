"""The speed of training, and where the time goes: each second is charged to one part."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What a step consists of: waiting for its batch, the devices' work, and what the host does between.
STEP = ("input", "compute", "host")
# What happens between steps. "compile": calls of a step that is compiled first; "logging": all that
# the monitor writes and draws.
PARTS = (*STEP, "compile", "logging", "evaluation", "checkpoint")


@dataclass
class _Count:
    tokens: int = 0
    examples: int = 0
    steps: int = 0


class Throughput:
    """Counts tokens, examples and steps against the wall clock of the steps alone.

    Attributes:
      pace: seconds a step, at the last reading of steps that were not compiled; None: none yet.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._running = ["host"]
        self._mark = clock()
        self.pace: float | None = None
        # Seconds of each part, up to the last reading and since then.
        self.totals = dict.fromkeys(PARTS, 0.0)
        self._begin()

    def _begin(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._ran, self._compiled = _Count(), _Count()
        self._tokens = self._places = 0

    def add(
        self, tokens: int, padded_tokens: int, examples: int, steps: int, compiled: bool = False
    ) -> None:
        """Adds what some steps have trained on.

        Args:
          tokens: real tokens.
          padded_tokens: places in the padded batches, real tokens included: rows × length.
          examples: real examples, without padding rows.
          steps: optimizer steps.
          compiled: True if their time is charged to "compile".

        Raises:
          ValueError: fewer places than tokens.
        """
        if padded_tokens < tokens:
            raise ValueError(f"{tokens} tokens do not fit into {padded_tokens} places")
        self.add_earlier(tokens, padded_tokens)
        count = self._compiled if compiled else self._ran
        count.tokens += int(tokens)
        count.examples += int(examples)
        count.steps += int(steps)

    def add_earlier(self, tokens: int, padded_tokens: int) -> None:
        """Adds to the padding alone: what was trained on since the last reading, before a resume.

        So a resumed run reads the padding that it would have read without the interruption.
        """
        self._tokens += int(tokens)
        self._places += int(padded_tokens)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charges the time in this context to one of PARTS; a part inside it takes its own."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def waited(self, seconds: float) -> None:
        """Moves a part of the time charged to "compute", spent waiting for batches, to "input"."""
        self.seconds["compute"] -= seconds
        self.seconds["input"] += seconds

    def _charge(self) -> None:
        now = self._clock()
        self.seconds[self._running[-1]] += now - self._mark
        self._mark = now

    def read(self) -> dict[str, float]:
        """The rates since the last call, or nothing if there was no step; then starts afresh.

        The rates are those of the steps that were not compiled, unless there were no others.

        Returns:
          "train/..." rates, "train/padding" (the share of padding), and for every part
          "time/..._ms", milliseconds of wall time a step: of input and compute, which a compiled
          call has in "compile", a step that was not compiled; of the others any step.
        """
        self._charge()
        count = self._ran if self._ran.steps else self._compiled
        steps = dict.fromkeys(PARTS, self._ran.steps + self._compiled.steps)
        steps |= dict.fromkeys(("input", "compute"), count.steps)
        means = {name: spent / max(steps[name], 1) for name, spent in self.seconds.items()}
        pace = sum(means[name] for name in STEP)
        if count is self._compiled:
            pace += means["compile"]
        rates: dict[str, float] = {}
        if count.steps and pace > 0:
            if count is self._ran:
                self.pace = pace
            seconds = pace * count.steps
            if count.tokens:  # not where features were cached
                rates["train/tokens_per_second"] = count.tokens / seconds
            rates |= {
                "train/examples_per_second": count.examples / seconds,
                "train/step_seconds": pace,
            }
            if self._places:
                rates["train/padding"] = 1 - self._tokens / self._places
            rates |= {f"time/{name}_ms": mean * 1e3 for name, mean in means.items()}
        for name, spent in self.seconds.items():
            self.totals[name] += spent
        self._begin()
        return rates
