"""TensorFlow's profiler over some steps, for TensorBoard's profile page."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf


class Profile:
    """Profiles the steps from the first to the last of `steps`; none where it is empty.

    The page shows it where the package `xprof` is installed.

    Args:
      folder: TensorBoard's folder of the run.
      steps: the first and the last step, counted from 1; or empty.
    """

    def __init__(self, folder: Path, steps: Sequence[int]):
        self._folder = folder
        self._before, self._last = (steps[0] - 1, steps[1]) if steps else (-1, -1)
        self._runs = False

    def next_stop(self, step: int) -> int | None:
        """The steps at which the host must look again: before the profile, and in it."""
        if self._before <= step < self._last:
            return step + 1
        return self._before if step < self._before else None

    @contextlib.contextmanager
    def steps(self, done: int) -> Iterator[None]:
        """Around the steps after step `done`, up to the next stop."""
        if not self._before <= done < self._last:
            yield
            return
        if not self._runs:
            tf.profiler.experimental.start(str(self._folder))
            self._runs = True
        with tf.profiler.experimental.Trace("train", step_num=done + 1, _r=1):
            yield
        if done + 1 == self._last:
            self.close()

    def close(self) -> None:
        """Writes what there is. May be called twice."""
        if self._runs:
            self._runs = False
            tf.profiler.experimental.stop()
