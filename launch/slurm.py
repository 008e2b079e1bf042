"""Writes a batch script for Slurm that trains on several nodes, and submits it.

  python -m launch.slurm --nodes=2 --gpus_per_node=8 --time=12:00:00 -- \\
      --config=configs/bert_imdb.py --workdir=runs/imdb

What follows `--` are flags of launch.train. The script, runs/imdb.sbatch here, is kept: `sbatch` it
to go on later. docs/clusters/slurm.md says what becomes of pre-emption, time limits and failures.
"""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from launch import main as program
from launch.cluster_common import MAX_WORKERS
from launch.cluster_slurm import TASKS_PER_NODE
from launch.texts import check_plain, shortened
from thaw import commands
from trainer.errors import UserError
from trainer.storage.disk import check_place, replace
from trainer.storage.paths import local

WRITTEN = "# Written by launch.slurm."
_HEAD = 1000  # bytes of a script that hold it
# Slurm looks at the clock every 30 s, and may send a signal up to a minute before it is due.
_SIGNAL_EARLY_SECONDS = 60
_TIME = (
    r"(?:(?P<days>[0-9]{1,9})-(?=[0-9]))?(?P<first>[0-9]{1,9})"
    r"(?::(?P<second>[0-9]{1,9}))?(?::(?P<third>[0-9]{1,9}))?"
)
# Slurm closes no port to other users of a node or the cluster.
_OPEN = """\
# The workers know each other by a secret, a new one each time this script begins. TensorFlow's own
# server, on ports 10240 to 32767, knows nobody: whoever reaches it reads and writes files as you.
# What helps: nodes of your own (--sbatch=--exclusive), and ports that the cluster closes."""
_SECRET = """\
THAW_SECRET=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')
export THAW_SECRET"""


@dataclasses.dataclass(frozen=True)
class Job:
    """The values of this program's flags; texts are empty, and numbers 0, where nothing is set."""

    nodes: int
    tasks_per_node: int
    gpus_per_node: str
    cpus_per_task: int
    mem: str
    time: str
    partition: str
    account: str
    job_name: str
    save_seconds: int
    max_restarts: int
    setup: str
    sbatch: Sequence[str]  # more options of sbatch
    train: Sequence[str]  # the flags of launch.train

    @property
    def workdir(self) -> Path:
        # Not resolve(): the path goes on meaning what a link in it will lead to.
        return Path(os.path.abspath(local(program.value_of("workdir", self.train), "--workdir")))  # noqa: PTH100

    @property
    def script(self) -> Path:
        """Beside the workdir, in which launch.train wants to find nothing but its own."""
        return self.workdir.with_name(f"{self.workdir.name}.sbatch")

    def output(self, job: str) -> Path:
        """The file with all that the job says."""
        return self.workdir.with_name(f"{self.workdir.name}-slurm-{job}.out")

    @property
    def gpus(self) -> int:
        """The number of them on each node."""
        return int(self.gpus_per_node.rpartition(":")[2] or 0)

    def check(self) -> None:
        """Refuses what could not work.

        Raises:
          UserError: which flag, and what to write.
        """
        values = (value for value in vars(self).values() if isinstance(value, str))
        check_plain([*values, *self.sbatch, *self.train, str(Path.cwd())])
        program.check_train_flags(self.train, "Slurm")
        if not self.workdir.name:
            raise UserError(
                f"--workdir={shortened(str(self.workdir))} is no folder for a run: choose another"
            )
        if "\\" in str(self.workdir):  # sbatch would take it out
            raise UserError(
                f"--workdir={shortened(str(self.workdir))} holds a backslash: choose another name"
            )
        for option in self.sbatch:
            if not re.match("--?[a-zA-Z]", option):
                raise UserError(
                    f"--sbatch={shortened(option)}: give an option, as in --sbatch=--exclusive"
                )
        if self.gpus_per_node and not re.fullmatch(
            r"([\w.-]+:)?[1-9][0-9]{0,3}", self.gpus_per_node
        ):
            raise UserError(
                f"--gpus_per_node={shortened(self.gpus_per_node)}: give 8, or a kind, as in a100:8"
            )
        if self.gpus % self.tasks_per_node:
            raise UserError(
                f"--gpus_per_node={self.gpus_per_node} cannot be shared evenly by"
                f" --tasks_per_node={self.tasks_per_node}"
            )
        if self.time and seconds(self.time) <= self.save_seconds + _SIGNAL_EARLY_SECONDS:
            raise UserError(
                f"--time={self.time} leaves no time to train: it is told to save"
                f" {self.save_seconds} s before the end, or up to {_SIGNAL_EARLY_SECONDS} s earlier"
            )


def main(train: list[str]) -> None:
    """Submits the job, or prints its script."""
    own = [field.name for field in dataclasses.fields(Job) if field.name != "train"]
    values: dict[str, Any] = {name: flags.FLAGS[name].value for name in own}
    job = Job(**values, train=train)
    job.check()
    program.say_if_unchecked(train)
    text = script(job, os.environ)
    if flags.FLAGS.dry_run:
        with program.standard_output() as file:
            file.write(text.encode())  # in a C locale, too, a path in it stays the same
        return
    _write(job.script, text)
    number = submit(job.script)
    output = shlex.quote(_short(job.output(number)))
    program.say(
        f"Submitted job {number}: {_short(job.script)}\n"
        f"Its state: squeue --job={number}\n"
        f"What it says: tail -F {output}\n"
        f"Curves: {commands.tensorboard(Path(_short(job.workdir / 'tensorboard')))}\n"
        f"To end it: scancel {number}"
    )


def seconds(time: str) -> int:
    """A time limit in seconds, of any form that sbatch takes.

    Raises:
      UserError: it is none.
    """
    match = re.fullmatch(_TIME, time)
    if not match:
        raise UserError(
            f"--time={shortened(time)}: give minutes, hours:minutes:seconds, or days-hours"
        )
    days, first, second, third = (int(each or 0) for each in match.groups())
    if match["days"] is None and match["third"] is None:
        hours, minutes, rest = 0, first, second
    else:
        hours, minutes, rest = first, second, third
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def script(job: Job, environment: Mapping[str, str]) -> str:
    """The batch script.

    Args:
      job: what to run.
      environment: the variables of this process.
    """
    python = shlex.quote(sys.executable)
    srun = ["-K1", "--wait=60", "--label"]
    if job.cpus_per_task:  # sbatch's does not reach srun from Slurm 22.05 on
        srun.append(f"--cpus-per-task={job.cpus_per_task}")
    if job.gpus and job.tasks_per_node > 1:
        srun.append(f"--gpus-per-task={job.gpus // job.tasks_per_node}")
    workdir = shlex.quote(program.value_of("workdir", job.train))
    command = [
        *_OPEN.splitlines(),
        *_SECRET.splitlines(),
        "",
        f"{python} -m launch.restarts --max_restarts={job.max_restarts} --workdir={workdir} -- \\",
        f"    {python} -m launch.srun {shlex.join(srun)} \\",
        f"    {python} -m launch.train \\",
        *(f"        {shlex.quote(flag)} \\" for flag in job.train[:-1]),
        f"        {shlex.quote(job.train[-1])}",
    ]
    written = f"{WRITTEN} Submit it again to go on: sbatch {shlex.quote(str(job.script))}"
    return batch(written, [*_options(job), *job.sbatch], job.setup, command, environment)


def batch(
    written: str,
    options: Sequence[str],
    setup: str,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> str:
    """A batch script that runs `command` where this process runs, and is queued again after 75.

    Args:
      written: a comment, who wrote it.
      options: of sbatch, as they stand in a script.
      setup: a line of shell to begin with; or empty.
      command: its lines, in shell; what they start must send SIGTERM on.
      environment: the variables of this process.
    """
    activation = _activation(environment)
    check_plain([written, *options, setup, *command, *activation, str(Path.cwd())])
    lines = [
        "#!/bin/bash",
        written,
        *(f"#SBATCH {option}" for option in options),
        "",
        "# Slurm sends SIGTERM to the workers as well: this shell stays to see how they end.",
        "trap : TERM",
        "",
        *(["{", f"    {setup}", "} || exit 2"] if setup else []),
        f"cd {shlex.quote(str(Path.cwd()))} || exit 2",
        *activation,
        "",
        *command,
        "status=$?",
        "",
        "# Saved to go on later: queued again, unless Slurm itself requeues or cancels the job.",
        f'if [ "$status" = {program.INTERRUPTED} ]; then',
        '    case $(scontrol show job "$SLURM_JOB_ID") in',
        '        *JobState=RUNNING* | *Reason=TimeLimit*) scontrol requeue "$SLURM_JOB_ID" ;;',
        "    esac",
        "fi",
        'exit "$status"',
    ]
    return "\n".join(lines) + "\n"


def _options(job: Job) -> list[str]:
    """Options of sbatch, as they stand in the script."""
    folder = str(job.workdir.parent).replace("%", "%%")  # %j is the number of the job
    name = job.workdir.name.replace("%", "%%")
    chosen = {
        "job-name": job.job_name or job.workdir.name,
        "partition": job.partition,
        "account": job.account,
        "nodes": job.nodes,
        "ntasks-per-node": job.tasks_per_node,
        "cpus-per-task": job.cpus_per_task,
        # Not --gpus-per-node: with a kind, as in a100:8, no step can give each task its own.
        "gres": f"gpu:{job.gpus_per_node}" if job.gpus else "",
        "mem": job.mem,
        "time": job.time,
        "signal": f"TERM@{job.save_seconds}",  # to the workers, not to the shell
        "output": f"{folder}/{name}-slurm-%j.out",
        "open-mode": "append",
    }
    options = [shlex.quote(f"--{name}={value}") for name, value in chosen.items() if value]
    return [*options, "--requeue"]


def _activation(environment: Mapping[str, str]) -> list[str]:
    """Lines that make the environment of this process that of the job."""
    activate = Path(sys.prefix) / "bin" / "activate"
    if sys.prefix != sys.base_prefix and activate.is_file():
        lines = [f"source {shlex.quote(str(activate))}"]
    else:
        lines = [f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"']
    if environment.get("PYTHONPATH"):
        lines.append(f"export PYTHONPATH={shlex.quote(environment['PYTHONPATH'])}")
    if environment.get("PYTHONSAFEPATH"):  # of `python -P -m launch.slurm` too
        lines.append("export PYTHONSAFEPATH=1")
    return lines


def _write(path: Path, text: str) -> None:
    try:
        check_place(path)
        if path.exists():
            with path.open("rb") as file:
                if WRITTEN.encode() not in file.read(_HEAD):
                    raise UserError(
                        f"{path} is not from launch.slurm: move it, or choose another --workdir"
                    )
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, text)
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.filename or path}: {error.strerror})"
        ) from error


def submit(path: Path) -> str:
    """The number of the job.

    Raises:
      UserError: there is no sbatch, or it refuses; what it says.
    """
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UserError(
            f"cannot run sbatch ({error.strerror}): submit where Slurm is, such as a login node;"
            " --dry_run prints the script"
        ) from error
    if done.returncode:
        raise UserError(f"{path}: {' '.join(done.stderr.split())}")
    return done.stdout.split(";")[0].strip()  # a cluster's name may follow


def _short(path: Path) -> str:
    """The path as seen from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _define_flags() -> None:
    flags.DEFINE_integer("nodes", 1, "How many nodes.", 1, MAX_WORKERS)
    flags.DEFINE_integer(
        "tasks_per_node", 1, "Processes on each, which share its GPUs evenly.", 1, TASKS_PER_NODE
    )
    flags.DEFINE_string("gpus_per_node", "", "How many, or kind and number, as in a100:8.")
    flags.DEFINE_integer(
        "cpus_per_task", 0, "Cores for each process (0: Slurm's default).", 0, 10**4
    )
    flags.DEFINE_string("mem", "", "Memory of each node, as in 64G.")
    flags.DEFINE_string("time", "", "Limit, as in 90 (minutes), 12:00:00 or 2-12 (days-hours).")
    flags.DEFINE_string("partition", "", "Partition.")
    flags.DEFINE_string("account", "", "Account.")
    flags.DEFINE_string("job_name", "", "Name (default: that of the workdir).")
    flags.DEFINE_integer("save_seconds", 120, "How long before its limit it saves.", 1, 65535)
    flags.DEFINE_integer("max_restarts", 3, "How many failures to restart after.", 0, 10**6)
    flags.DEFINE_string("setup", "", "A line of shell to begin with, as in 'module load cuda'.")
    flags.DEFINE_multi_string("sbatch", [], "One more option of sbatch, as in --exclusive.")
    flags.DEFINE_bool("dry_run", False, "Print the script, submit nothing.")


if __name__ == "__main__":
    _define_flags()
    program.run(main, __doc__, texts=True)
