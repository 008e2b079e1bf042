"""Ends a run that hangs: no progress for so long, and it shows where every thread stands."""

import faulthandler
import threading
import time
from collections.abc import Callable

# A thread that holds the interpreter keeps the watchdog's from running: then C code ends the run.
SECOND_CHANCE_SECONDS = 10.0


class Watchdog:
    """Ends the process unless `progress` is called every so often.

    Args:
      seconds: the longest time without progress; 0: for ever.
      end: called with what to say; must end the process.
    """

    def __init__(self, seconds: float, end: Callable[[str], None]):
        self._seconds, self._end = seconds, end
        self._last = time.monotonic()
        self._stopped = threading.Event()
        if seconds:
            self.progress()
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def progress(self) -> None:
        """Something was done: the time starts afresh."""
        self._last = time.monotonic()
        if self._seconds and not self._stopped.is_set():
            late = self._seconds + SECOND_CHANCE_SECONDS
            faulthandler.dump_traceback_later(late, exit=True)

    def stop(self) -> None:
        """Watches no more."""
        self._stopped.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._stopped.wait(max(self._last + self._seconds - time.monotonic(), 0.01)):
            if time.monotonic() - self._last >= self._seconds:
                faulthandler.dump_traceback()
                self._end(f"no progress for {self._seconds:g} s (the stacks are above)")
                return
