"""The cost of a step of launch.train beside the bare compiled step; see speed.py."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags

import trainer.loop
from launch import main as program
from launch import train
from trainer import config as config_lib
from trainer.data.progress import quiet
from trainer.errors import UserError
from trainer.evaluation.report import make_report
from trainer.loop import Loop
from trainer.monitor.monitor import Monitor
from trainer.run import Run
from trainer.step import TrainStep
from trainer.storage.workdir import Workdir

LIMIT = 1.05  # times the bare step
LOGGING_LIMIT = 0.02  # of the bare step
Call = tuple[int, int, np.ndarray]  # the step it ended at, how many steps, its _clocks()
Logged = tuple[int, float]  # a step, and the seconds of all logging up to it


class TimedLoop(Loop):
    """The loop of launch.train; between its calls to the device, the bare steps are run and timed.

    They train a twin of the model that starts from the same weights, so both do the same work on
    the same batches within a second of each other, and end with the same weights.

    Attributes:
      twin: a loop that never runs; its model and compiled step are the bare ones.
      real, bare: every call, and the same steps bare.
      logged: what the monitor took, after every call.
      evaluation_seconds: what it takes to log an evaluation of validation.
    """

    def __init__(self, run: Run, say: Callable[[str], None]):
        super().__init__(run, say)
        nowhere = Workdir(run.workdir.path.with_name("twin"))
        twin = Run(run.config, nowhere, program.cache_dir(), run.strategy, progress=quiet, say=say)
        self.twin = Loop(twin, say)
        for name, variable in self.variables.items():
            self.twin.variables[name].assign(variable.read_value())
        self.bare_step = self.twin.step_function()
        batches = run.train_batches(self.plan, 0, self.total_steps).cache()
        for _ in batches:  # fills the cache
            pass
        self.in_memory = iter(batches)
        self.real: list[Call] = []
        self.bare: list[Call] = []
        self.logged: list[Logged] = []
        self.evaluation_seconds: list[float] = []
        self._left = _clocks()

    def train(self, monitor: Monitor, stop: Callable[[], bool]) -> dict[str, Any]:
        try:
            return super().train(monitor, lambda: stop() or self.step >= self.total_steps)
        finally:
            if self.step >= self.total_steps:
                self._log_evaluations()

    def _steps(self, step_function: TrainStep, batches: Any, read_to: int) -> None:
        first = self.step
        super()._steps(step_function, batches, read_to)
        # With all that the loop did since it was here last.
        seconds = _clocks() - self._left
        count = self.step - first
        self.real.append((self.step, count, seconds))
        self.logged.append((self.step, self._logging_seconds()))
        began = _clocks()
        # Without the clock around the input, and never with samples of the gradient.
        with mock.patch("trainer.step._now", _no_clock):
            called = self.bare_step.run(self.in_memory, tf.constant(count), tf.constant(False))
        called.metrics.numpy()
        self.bare.append((self.step, count, _clocks() - began))
        self._left = _clocks()

    def _logging_seconds(self) -> float:
        throughput = self.monitor.throughput
        return throughput.totals["logging"] + throughput.seconds["logging"]

    def _log_evaluations(self) -> None:
        """Several times over: the first one loads libraries."""
        report = make_report(self.run, "validation", self.run.score("validation", lambda: False))
        for _ in range(6):
            began = self._logging_seconds()
            self._log(report)
            self.evaluation_seconds.append(self._logging_seconds() - began)

    def differences(self) -> list[str]:
        """The variables in which the two are not equal, bit for bit."""
        bare = self.twin.variables
        return [
            name
            for name, ours in self.variables.items()
            if not np.array_equal(ours.numpy(), bare[name].numpy())
        ]


def measure(
    config_file: Path, changes: Sequence[str], rounds: int, steps: int, warmup: int, workdir: Path
) -> int:
    """Prints the ratio of every round and their median; returns 1 if it is above LIMIT, else 0.

    Args:
      config_file: the experiment; its longest phase is run, without its evaluations and saves.
      changes: further flags of launch.train, such as "--config.log_every_steps=20".
      rounds: how many ratios are taken.
      steps: of each round.
      warmup: steps before the first round: compilation, and the first of each kind of call.
      workdir: an empty folder.

    Raises:
      UserError: the settings are wrong, or a round would not hold its share of what is logged.
    """
    config, total = read_config(config_file, changes, workdir), warmup + rounds * steps
    for name in ("log_every_steps", "histograms_every_steps"):
        every = getattr(config, name)
        if not every or steps % every:
            raise UserError(f"--steps={steps} must be a multiple of config.{name}={every} (not 0)")
    phase = max(config.phases, key=lambda p: p.epochs or p.steps)
    config.phases = [dataclasses.replace(phase, steps=total, epochs=0.0, patience=0)]
    every_steps, every_epochs = config.evaluation.every_steps, config.evaluation.every_epochs
    config.evaluation.every_steps, config.evaluation.every_epochs = 0, 0.0
    config.save_every_steps, config.max_steps = 2 * total, 0
    loops: list[TimedLoop] = []

    def make(*args: Any) -> TimedLoop:
        loops.append(TimedLoop(*args))
        return loops[0]

    with mock.patch.object(trainer.loop, "Loop", make):  # train.main imports it from there
        status = train.main()
    if not loops or loops[0].step < total:
        return status
    if config.runtime.deterministic and (different := loops[0].differences()):
        raise RuntimeError(f"the bare steps did something else: {different[:3]} differ")
    interval = every_steps or every_epochs * loops[0].plan.steps_per_epoch
    interval = interval or (phase.steps or phase.epochs * loops[0].plan.steps_per_epoch)
    evaluation = Evaluation(statistics.median(loops[0].evaluation_seconds[1:]), round(interval))
    return report(
        loops[0].real,
        loops[0].bare,
        loops[0].logged,
        evaluation,
        rounds=rounds,
        steps=steps,
        warmup=warmup,
    )


def read_config(config_file: Path, changes: Sequence[str], workdir: Path) -> config_lib.Experiment:
    """The Experiment that launch.train would make of these flags.

    Raises:
      UserError: it would not take them.
    """
    program.define_config()
    program.define_cache_dir()
    try:
        flags.FLAGS(["train", f"--config={config_file}", f"--workdir={workdir}", *changes])
    except (flags.Error, KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"launch.train does not take {' '.join(changes)}: {error}") from error
    return program.config()


class Evaluation(NamedTuple):
    """Seconds to log an evaluation, and the number of steps between two."""

    seconds: float
    interval: int


def report(
    real: list[Call],
    bare: list[Call],
    logged: list[Logged],
    evaluation: Evaluation,
    rounds: int,
    steps: int,
    warmup: int,
) -> int:
    """Prints what TimedLoop measured; returns the exit status."""
    ratios, shares = [], []
    seconds_at = dict(logged)
    print(
        "       ms a step: launch.train        bare       ratio: wall time   processor time"
        "   logging"
    )
    for number in range(rounds):
        first = warmup + number * steps
        sums = []
        for calls in (real, bare):
            mine = [call for call in calls if first < call[0] <= first + steps]
            if sum(call[1] for call in mine) != steps:
                raise RuntimeError(f"round {number + 1} is not of {steps} steps: {mine}")
            sums.append(sum(call[2] for call in mine) / steps * 1e3)
        wall, processor = sums[0] / sums[1]
        ratios.append(float(wall))
        spent = (seconds_at[first + steps] - seconds_at[first]) / steps
        spent += evaluation.seconds / evaluation.interval
        shares.append(spent * 1e3 / float(sums[1][0]))
        print(
            f"round {number + 1:3} {sums[0][0]:21.3f} {sums[1][0]:11.3f}"
            f" {wall:22.4f} {processor:16.4f} {shares[-1]:9.2%}"
        )
    median = statistics.median(ratios)
    print(f"wall time: median {median:.4f}, lowest {min(ratios):.4f}, highest {max(ratios):.4f}")
    share = statistics.median(shares)
    print(
        f"logging: median {share:.2%}, lowest {min(shares):.2%}, highest {max(shares):.2%} of the"
        f" bare step, with {evaluation.seconds:.3f} s for an evaluation every"
        f" {evaluation.interval} steps"
    )
    for holds, what in (
        (median <= LIMIT, f"at most {LIMIT} x the bare compiled step"),
        (share <= LOGGING_LIMIT, f"logging at most {LOGGING_LIMIT:.0%} of it"),
    ):
        print(f"{'holds' if holds else 'does not hold'}: {what}")
    return 0 if median <= LIMIT and share <= LOGGING_LIMIT else 1


def _no_clock() -> tf.Tensor:
    return tf.zeros([], tf.float64)


def _clocks() -> np.ndarray:
    """Wall seconds, and processor seconds of this process."""
    return np.array([time.perf_counter(), time.process_time()])
