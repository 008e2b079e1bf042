"""How fast training goes: the clock stands while the run evaluates or saves."""

import contextlib
import time
from collections.abc import Callable, Iterator


class Throughput:
    """Counts tokens, examples and steps against the wall clock of training alone."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._since = self._clock()
        self._paused_seconds = 0.0
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
    def paused(self) -> Iterator[None]:
        """Time in this context is not training: evaluating, saving, histograms."""
        begin = self._clock()
        try:
            yield
        finally:
            self._paused_seconds += self._clock() - begin

    def read(self) -> dict[str, float]:
        """The rates since the last call, or nothing if there was no step; then starts afresh."""
        seconds = self._clock() - self._since - self._paused_seconds
        rates: dict[str, float] = {}
        if self._steps and seconds > 0:
            rates = {
                "train/tokens_per_second": self._tokens / seconds,
                "train/examples_per_second": self._examples / seconds,
                "train/step_seconds": seconds / self._steps,
            }
            padded_tokens = self._padded_tokens + self._earlier_padded_tokens
            if padded_tokens:
                tokens = self._tokens + self._earlier_tokens
                rates["train/padding"] = 1 - tokens / padded_tokens
        self._begin()
        return rates
