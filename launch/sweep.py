"""Trains a config with many settings, one run after another or as a Slurm array.

  python -m launch.sweep --output=runs/sweep --list 'phases[0].learning_rate=3e-4,1e-3' \\
      --list model.depth=1,2 -- --config=configs/quickstart.py
  python -m launch.sweep --output=runs/sweep --trials=20 \\
      --random 'phases[0].learning_rate=log:1e-4:1e-2' --random 'model.width=64|128' \\
      -- --config=configs/quickstart.py

What follows `--` are flags of launch.train. Each trial is a run in OUTPUT/trial-000 and so on. The
same command goes on where a sweep was interrupted; finished trials are not run again. A trial that
failed is left out, --retry tries it once more. --show prints the table so far. docs/use/sweeps.md.
"""

import argparse
import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import rich.console
from filelock import FileLock, Timeout
from rich.table import Table
from rich.text import Text

from launch import main as program
from launch import slurm
from launch.arguments import as_path, with_flag_files
from launch.local import dies_with_this_process
from launch.texts import check_plain
from launch.trials import Plan, draws, grid
from thaw import commands
from thaw.config_files import load as load_config
from thaw.environment import speak_any_text
from trainer.errors import MOST, UserError, one_line, shown
from trainer.imports import search_current_folder
from trainer.storage import contents, sealed
from trainer.storage.disk import replace

ROOT = Path(__file__).parents[1]
_NOTE = "failed.txt"  # beside a trial's folder, after its name and a dot


class Sweep:
    """The trials of a plan, in a folder.

    Args:
      folder: of the sweep.
      plan: its trials.
    """

    def __init__(self, folder: Path, plan: Plan):
        self.folder, self.plan = folder, plan
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def workdir(self, number: int) -> Path:
        """The workdir of a trial."""
        return self.folder / f"trial-{number:03}"

    def note(self, number: int) -> Path:
        """The file that says how a trial failed."""
        return self.workdir(number).with_name(f"{self.workdir(number).name}.{_NOTE}")

    def finished(self, number: int) -> dict[str, Any] | None:
        """The result of a trial that has ended."""
        # Not by trainer.storage.workdir, which loads TensorFlow.
        with contextlib.suppress(OSError, ValueError):
            return contents.result(sealed.read(self.workdir(number) / "result.json"))
        return None

    def failed(self, number: int) -> str:
        """The failure of a trial; empty: it did not fail, or has ended since."""
        note = self.note(number)
        if self.finished(number) or not note.is_file():
            return ""
        with note.open(encoding="utf-8", errors="replace") as file:
            return one_line(file.read(MOST)) or "no reason is noted"

    def stop(self, number: int, frame: object) -> None:
        """A handler: the trial that runs shall save and end, and no other begin."""
        del number, frame
        self._stopped = True
        if self._child:
            self._child.send_signal(signal.SIGTERM)

    def run(self, number: int) -> None:
        """Trains one trial to its end, and notes how it failed."""
        self.note(number).unlink(missing_ok=True)
        flags = self.plan.flags(number, self.workdir(number))
        settings = " ".join(f"{k}={v}" for k, v in self.plan.trials[number].items())
        program.say(f"Trial {number} of {len(self.plan.trials)}: {settings}")
        path = (str(ROOT), os.environ.get("PYTHONPATH"))
        self._child = subprocess.Popen(
            [sys.executable, "-m", "launch.train", *flags],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C comes here only
            preexec_fn=dies_with_this_process(),
        )
        last = b""
        assert self._child.stderr
        if self._stopped:  # it came before there was a child to tell
            self._child.send_signal(signal.SIGTERM)
        with self._child.stderr as said_by_it:
            for line in said_by_it:
                sys.stderr.buffer.write(line)
                sys.stderr.flush()
                last = line if line.strip() else last
        status, self._child = self._child.wait(), None
        if status not in (0, program.INTERRUPTED):
            said = last.decode(errors="replace").strip()
            self.note(number).write_text(f"exit status {status}: {said}\n", encoding="utf-8")

    def run_all(self, numbers: Sequence[int], retry: bool) -> int:
        """Trains what is not finished, one after the other; returns 0, 1 (some failed) or 75."""
        for number in numbers:
            if self._stopped or self.finished(number):
                continue
            if self.failed(number) and not retry:
                program.say(f"Trial {number} failed before: --retry tries it once more")
            else:
                self.run(number)
        left = [number for number in numbers if not self.finished(number)]
        if self._stopped or not all(map(self.failed, left)):  # one may have got a signal alone
            program.say("Interrupted: the same command goes on from there")
            return program.INTERRUPTED
        return int(bool(left))

    def show(self) -> None:
        """Prints a table, the best trial on top, and what to do next."""
        metric, sign = self.plan.metric, 1 if self.plan.lower else -1
        rows: list[tuple[float, list[str]]] = []
        fields = list(dict.fromkeys(field for each in self.plan.trials for field in each))
        for number, settings in enumerate(self.plan.trials):
            result = self.finished(number)
            value = result.get("validation", {}).get(metric) if result else None
            if result:
                metrics = (value, result.get("test", {}).get(metric))
                cells = ["undefined" if each is None else f"{each:.4f}" for each in metrics]
                cells.append(f"{result['wall_seconds']:.0f}")
            else:
                begun = "begun" if self.workdir(number).exists() else "to do"
                cells = ["failed" if self.failed(number) else begun, "", ""]
            order = float("inf") if value is None else sign * value
            rows.append((order, [str(number), *(settings[f] for f in fields), *cells]))
        table = Table()
        for head in ("trial", *fields, f"validation {metric}", f"test {metric}", "seconds"):
            table.add_column(_plain(head), justify="right", overflow="fold")
        for _, cells in sorted(rows, key=lambda row: row[0]):
            table.add_row(*map(_plain, cells))
        lines = ["Sorted by validation: the test split is not for choosing."]
        for number in range(len(self.plan.trials)):
            if said := self.failed(number):
                lines.append(f"Trial {number} failed: {said}")
        lines.append(f"Compare in the HParams page: {commands.tensorboard(self.folder)}")
        with program.standard_output():
            print(_drawn(table), "\n".join(lines), sep="")


def _drawn(table: Table) -> str:
    """The table as wide as the terminal; not by rich's own printing, which ends the process."""
    file = io.TextIOWrapper(io.BytesIO(), sys.stdout.encoding or "utf-8", "backslashreplace")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    rich.console.Console(file=file, width=width).print(table)
    file.seek(0)
    return file.read()


def _plain(text: str) -> Text:
    """A text for a table: whatever it holds, it is no markup, and a terminal does not obey it."""
    return Text(one_line(text, 200))


class _Parser(argparse.ArgumentParser):
    """Tells a mistake in one line, as the programs of launch/ do."""

    def error(self, message: str) -> NoReturn:
        sys.exit(program.fail(f"{message}; --help lists the flags"))


def _count(text: str) -> int:
    """The `type` of an argument that is a whole number from 0."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is no whole number below a thousand million"
        )
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=as_path, required=True, help="folder of the sweep")
    made.add_argument("--list", action="append", default=[], help="FIELD=A,B,C; all combinations")
    made.add_argument("--random", action="append", default=[], help="FIELD=log:LOW:HIGH …")
    made.add_argument("--trials", type=_count, default=0, help="how many draws of --random")
    made.add_argument("--seed", type=_count, default=0, help="of --random")
    made.add_argument("--retry", action="store_true", help="try failed trials again")
    made.add_argument("--show", action="store_true", help="print the table, train nothing")
    made.add_argument("--trial", type=_count, help="train this one only, as a Slurm array does")
    made.add_argument("--slurm", action="store_true", help="submit the trials as a job array")
    made.add_argument("--parallel", type=_count, default=0, help="jobs of the array at once")
    made.add_argument("--save_seconds", type=_count, default=120, help="saves so early")
    made.add_argument("--sbatch", action="append", default=[], help="an option, as --gres=gpu:1")
    made.add_argument("--dry_run", action="store_true", help="print the script, submit nothing")
    return made


def main(arguments: list[str]) -> int:
    """Runs the sweep; returns the exit status."""
    own, train = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        own, train = arguments[:at], arguments[at + 1 :]
    try:
        check_plain(arguments)
        flags = parser().parse_args(own)
        return _sweep(flags, train)
    except UserError as error:
        return program.fail(str(error))
    except OSError as error:
        return program.fail(f"--output={flags.output}: {error}")


def _sweep(flags: argparse.Namespace, train: list[str]) -> int:
    file = flags.output / "sweep.json"
    if flags.show:
        Sweep(flags.output, Plan.load(file)).show()
        return 0
    plan = _plan(flags, train)  # sweep.json may be a stranger's: what it names is not run
    plan.save(file)
    sweep = Sweep(flags.output, plan)
    if flags.slurm:
        return _submit(flags, plan)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, sweep.stop)
    if flags.trial is not None:
        return sweep.run_all([flags.trial], flags.retry)
    lock = FileLock(flags.output / ".lock")
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
    if not lock.is_locked:
        raise UserError(f"another process sweeps in --output={flags.output}: wait for it")
    status = sweep.run_all(range(len(plan.trials)), flags.retry)
    sweep.show()
    return status


def _plan(flags: argparse.Namespace, train: list[str]) -> Plan:
    if bool(flags.list) == bool(flags.random):
        raise UserError("give --list or --random, and not both")
    if bool(flags.random) != (flags.trials > 0):
        raise UserError("--random needs --trials, and --list none")
    train = with_flag_files([sys.argv[0], *train])[1:]
    if not program.value_of("config", train):
        raise UserError("give the flags of launch.train after `--`: --config is missing")
    if program.value_of("workdir", train):
        raise UserError("--workdir after `--`: leave it out, each trial has its own in --output")
    load_config(program.value_of("config", train), "--config")
    trials = grid(flags.list) if flags.list else draws(flags.random, flags.trials, flags.seed)
    if flags.trial is not None and flags.trial >= len(trials):
        raise UserError(f"--trial={flags.trial}: there are {len(trials)}, from 0")
    return Plan.checked(train, trials, flags.trial)


def _submit(flags: argparse.Namespace, plan: Plan) -> int:
    folder = flags.output.absolute()
    at_once = f"%{flags.parallel}" if flags.parallel else ""
    options = [
        f"--job-name={folder.name}",
        f"--array=0-{len(plan.trials) - 1}{at_once}",
        f"--signal=TERM@{flags.save_seconds}",
        f"--output={str(folder).replace('%', '%%')}/slurm-%A_%a.out",
        "--open-mode=append",
        "--requeue",
    ]
    own = [f"--output={folder}", *(f"--list={each}" for each in flags.list)]
    if flags.random:
        own += [f"--random={each}" for each in flags.random]
        own += [f"--trials={flags.trials}", f"--seed={flags.seed}"]
    own += ["--retry"] if flags.retry else []
    command = [
        # sbatch's cores for a task do not reach srun from Slurm 22.05 on.
        "srun --ntasks=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK} \\",
        f"    {shlex.quote(sys.executable)} -m launch.sweep {shlex.join(own)} \\",
        f'    --trial="$SLURM_ARRAY_TASK_ID" -- {shlex.join(plan.train)}',
    ]
    quoted = [*map(shlex.quote, options), *flags.sbatch]
    script = slurm.batch("# Written by launch.sweep.", quoted, "", command, os.environ)
    if flags.dry_run:
        with program.standard_output() as file:
            file.write(script.encode())
        return 0
    path = folder / "sweep.sbatch"
    replace(path, script)
    number = slurm.submit(path)
    program.say(
        f"Submitted job array {number}: {path}\n"
        f"Its state: squeue --job={number}\n"
        f"The table: {commands.program('sweep')} --output={shlex.quote(str(flags.output))} --show"
    )
    return 0


if __name__ == "__main__":
    speak_any_text()
    search_current_folder()  # as a trial has it: a config may import another
    sys.exit(main(sys.argv[1:]))
