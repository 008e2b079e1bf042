"""How fast training goes, and where the time goes: each second is charged to one part."""

import contextlib
import time
from collections.abc import Callable, Iterator

# What a step consists of: waiting for its batch, the devices' work, and what the host does between.
STEP = ("input", "compute", "host")
# What happens between steps. "logging" is everything that the monitor writes and draws.
PARTS = (*STEP, "logging", "evaluation", "checkpoint")


class Throughput:
    """Counts tokens, examples and steps against the wall clock of the steps alone."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._running = ["host"]
        self._mark = clock()
        # Seconds of each part, up to the last reading and since then.
        self.totals = dict.fromkeys(PARTS, 0.0)
        self._begin()

    def _begin(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._tokens = self._padded_tokens = self._examples = self._steps = 0
        self._earlier_tokens = self._earlier_padded_tokens = 0

    def add(self, tokens: int, padded_tokens: int, examples: int, steps: int) -> None:
        """Adds what some steps have trained on.

        Args:
          tokens: real tokens.
          padded_tokens: places in the padded batches, real tokens included: rows × length.
          examples: real examples, without padding rows.
          steps: optimizer steps.

        Raises:
          ValueError: fewer places than tokens.
        """
        if padded_tokens < tokens:
            raise ValueError(f"{tokens} tokens do not fit into {padded_tokens} places")
        self._tokens += int(tokens)
        self._padded_tokens += int(padded_tokens)
        self._examples += int(examples)
        self._steps += int(steps)

    def add_earlier(self, tokens: int, padded_tokens: int) -> None:
        """Adds to the padding what was trained on since the last reading, but not by this process.

        So a resumed run reads the padding that it would have read without the interruption.
        """
        self._earlier_tokens += int(tokens)
        self._earlier_padded_tokens += int(padded_tokens)

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

        Returns:
          "train/..." rates, "train/padding" (the share of padding), and for every part
          "time/..._ms", milliseconds of wall time a step.
        """
        self._charge()
        seconds = sum(self.seconds[name] for name in STEP)
        rates: dict[str, float] = {}
        if self._steps and seconds > 0:
            if self._tokens:  # not where features were cached
                rates["train/tokens_per_second"] = self._tokens / seconds
            rates |= {
                "train/examples_per_second": self._examples / seconds,
                "train/step_seconds": seconds / self._steps,
            }
            padded_tokens = self._padded_tokens + self._earlier_padded_tokens
            if padded_tokens:
                tokens = self._tokens + self._earlier_tokens
                rates["train/padding"] = 1 - tokens / padded_tokens
            for name, spent in self.seconds.items():
                rates[f"time/{name}_ms"] = spent / self._steps * 1e3
        for name, spent in self.seconds.items():
            self.totals[name] += spent
        self._begin()
        return rates
