"""Runs a command and starts it again when it fails, as the table below says.

  python -m launch.restarts --max_restarts=3 --workdir=runs/big -- srun python -m launch.train ...

The script of launch.slurm runs srun in this way; launch.local does the same for its workers.

  exit status    meaning                     what follows
  0              done                        nothing
  2              a mistake to mend           nothing: it would end in the same way
  75             pre-empted, after saving    a restart that is not counted; this program hands 75 on
                                             to the script around it, which queues the job again
  69             a peer is lost              a restart that is counted, up to --max_restarts
  anything else  a failure                   the same, but nothing where it is the second in the
                                             same way at one step: there would be a third
"""

import contextlib
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from launch import main as program
from launch.main import INTERRUPTED, USER_ERROR
from launch.texts import shortened
from trainer.errors import UserError
from trainer.runtime.workers import LOST
from trainer.storage import fields, strict_json

KILLED = 128 + signal.SIGKILL


class End(NamedTuple):
    """An end of all processes of a run."""

    who: str  # whose end it is, such as "worker 1"
    status: int  # as a shell tells it: 128 + n for signal n
    step: int  # the last step that the run is known to have made


class Decision(NamedTuple):
    """The action that follows an end."""

    restart: bool
    why: str  # to be said; empty where the processes have said it themselves


def decide(
    ends: Sequence[End], max_restarts: int, restart_preempted: bool = True, stop: str = ""
) -> Decision:
    """Decides what follows the last of `ends`, by the table above; the status is that end's.

    Args:
      ends: all ends so far.
      max_restarts: how many failures may be followed by a restart.
      restart_preempted: whether 75 is followed by a restart here, or by whoever started us.
      stop: the signal that asked the launcher to stop; empty if there was none.
    """
    last = ends[-1]
    preempted = last.status == INTERRUPTED
    if last.status in (0, USER_ERROR) or (preempted and (stop or not restart_preempted)):
        return Decision(False, "")
    how = f"{last.who or 'the run'} ended with {_named(last.status)} at step {last.step}"
    if stop:
        return Decision(False, f"{how}: not started again after {stop}")
    if preempted:
        return Decision(True, f"{how} (pre-empted): started again, which is not counted")
    if list(ends[-2:]) == [last, last] and last.status != LOST:
        return Decision(False, f"{how}, as the time before: not started again")
    failures = sum(end.status != INTERRUPTED for end in ends)
    if failures > max_restarts:
        return Decision(False, f"{how}: no restart left (--max_restarts={max_restarts})")
    return Decision(True, f"{how}: restart {failures} of {max_restarts}")


def cause(codes: Iterable[tuple[str, int]]) -> tuple[str, int]:
    """The worker whose end is that of the group, and its status.

    A worker that loses a peer ends too: what the peer ended with counts, whichever of the two was
    seen first.

    Args:
      codes: (who, return code of its process: -n for signal n), in the order they were seen in.
    """

    def rank(each: tuple[str, int]) -> int:
        code = each[1]
        itself = code not in (0, LOST)
        order = (code == USER_ERROR, code < 0, code == INTERRUPTED, itself, code == LOST, True)
        return order.index(True)

    who, code = min(codes, key=rank)
    return ("" if code in (0, INTERRUPTED) else who), status_of(code)


def status_of(code: int) -> int:
    """The exit status for a return code of subprocess, where -n stands for signal n."""
    return code if code >= 0 else 128 - code


def supervise(
    run_group: Callable[[], tuple[str, int]],
    step_of: Callable[[], int],
    max_restarts: int,
    say: Callable[[str], None],
    stop: "StopRequest",
    restart_preempted: bool = True,
) -> int:
    """Runs all processes of a run, again where `decide` says so; the exit status at last.

    Args:
      run_group: runs them to the end of all; (whose end it was, exit status).
      step_of: the last step that the run has made.
      max_restarts: how many failures may be followed by a restart.
      say: told why there is a restart, or none.
      stop: whether the launcher was asked to stop: then nothing is started any more.
      restart_preempted: see `decide`.
    """
    ends: list[End] = []
    while not stop.signal:
        ends.append(End(*run_group(), step_of()))
        decision = decide(ends, max_restarts, restart_preempted, stop.signal)
        if decision.why:
            say(decision.why)
        if not decision.restart:
            break
    return ends[-1].status if ends else INTERRUPTED


class StopRequest:
    """Remembers that SIGTERM, SIGINT or SIGHUP asked this process to stop."""

    def __init__(self) -> None:
        self.signal = ""  # the name of the first of them
        self.at_once = False  # a SIGINT came after it

    def install(self) -> None:
        """Handles the signals from here on, but for those that are ignored, as under nohup."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._remember)
        # Inherited as ignored, it would lose the exit status of every child.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _remember(self, number: int, frame: object) -> None:
        self.at_once |= bool(self.signal) and number == signal.SIGINT
        self.signal = self.signal or signal.Signals(number).name


def last_step(workdir: Path) -> int:
    """The last step in metrics.jsonl or of a checkpoint, whichever is later; 0 if there is none."""
    steps = [0]
    for path in (workdir / "checkpoints").glob("step-*"):
        if match := re.fullmatch(r"step-(\d+)", path.name):
            steps.append(int(match[1]))
    try:
        lines = (workdir / "metrics.jsonl").read_bytes().splitlines()
    except OSError:
        lines = []
    for line in reversed(lines):
        with contextlib.suppress(ValueError):  # the last line may be half-written
            steps.append(fields.integer(strict_json.as_object(line), "step"))
            break
    return max(steps)


def _named(status: int) -> str:
    try:
        return signal.Signals(status - 128).name
    except ValueError:
        return f"status {status}"


def main(command: list[str]) -> int:
    """Runs the command until nothing is left to do; returns the exit status of its last end."""
    if not command:
        raise UserError("give the command after --: ... --workdir=runs/big -- srun ...")
    stop = StopRequest()
    stop.install()

    def run_command() -> tuple[str, int]:
        try:
            process = subprocess.Popen(command)
        except OSError as error:
            raise UserError(f"cannot run {shortened(command[0])}: {error.strerror}") from error
        # Signals are not handed on: srun would end its tasks without their handlers, and what ends
        # a job of Slurm's sends one to each of them as well.
        return "the run", status_of(process.wait())

    return supervise(
        run_command,
        lambda: last_step(flags.FLAGS.workdir),
        flags.FLAGS.max_restarts,
        program.say,
        stop,
        restart_preempted=False,
    )


if __name__ == "__main__":
    program.define_path("workdir", "Folder of the run: tells its step.", required=True)
    flags.DEFINE_integer("max_restarts", 3, "How many failures to restart after.", 0, 10**6)
    program.run(main, __doc__, texts=True)
