"""The batch script under a real Slurm: what becomes of each exit status and signal.

The script is the one that launch.slurm prints, but that fake_train.py stands in for launch.train.
"""

import sys
import time
from pathlib import Path

import pytest
from daemons import Slurm
from programs import ROOT, last_of_each, run

pytestmark = pytest.mark.cluster
HERE = Path(__file__).parent


class Batch:
    """A job whose two tasks do what `acts` says; see fake_train.py."""

    def __init__(self, slurm: Slurm, workdir: Path, acts: str, *flags: str):
        self.slurm, self.workdir = slurm, workdir
        train = ("--config=none", f"--workdir={workdir}", f"--acts={acts}")
        own = last_of_each(("--dry_run", "--nodes=2", *flags))
        printed = run(*own, "--", *train, program="launch.slurm")
        assert printed.status == 0, printed.stderr
        assert printed.stdout.count("-m launch.train") == 1
        script = workdir.with_name("job.sbatch")
        script.write_text(printed.stdout.replace("-m launch.train", str(HERE / "fake_train.py")))
        self.number = slurm.sbatch(script)

    def noted(self, rank: int) -> list[str]:
        """The end of a task."""
        path = self.workdir.with_name(f"{self.workdir.name}-{rank}.txt")
        return path.read_text().split() if path.exists() else []

    @property
    def said(self) -> str:
        path = self.workdir.with_name(f"{self.workdir.name}-slurm-{self.number}.out")
        return path.read_text() if path.exists() else ""

    def wait_for_starts(self, count: int) -> None:
        """Waits until both tasks have started so many times."""
        self.slurm.wait(lambda: all(self.noted(i).count("start") == count for i in (0, 1)))

    def begin_again(self) -> None:
        """Waits until it is queued again, and then not for the two minutes that Slurm would."""
        self.slurm.wait(lambda: self.slurm.state(self.number)["Restarts"] == "1")
        self.slurm.wait_for_state(self.number, "PENDING")
        time.sleep(1)  # a node refuses a job in the second in which it was told to end it
        assert (
            self.slurm.run("scontrol", "update", f"job={self.number}", "StartTime=now").status == 0
        )

    def ends(self, state: str, code: str, restarts: int) -> None:
        """Waits for its end; checks how it ended, and how often Slurm queued it again."""
        self.slurm.wait_for_state(self.number, state)
        found = self.slurm.state(self.number)
        assert found["ExitCode"] == code, self.said
        assert found["Restarts"] == str(restarts), self.said


def no_task_is_left(slurm: Slurm) -> bool:
    return str(HERE) not in slurm.run("ps", "-e", "-o", "args").stdout


@pytest.fixture(autouse=True)
def nothing_stays(slurm):
    """Of a test that failed: its job would take CPUs from the tests after it."""
    yield
    slurm.cancel_all()


def test_what_sbatch_refuses(slurm, workdir):
    command = (sys.executable, "-m", "launch.slurm", "--partition=nowhere", "--")
    train = ("--config=none", f"--workdir={workdir}")
    ended = slurm.run(*command, *train, PYTHONPATH=str(ROOT))
    assert ended.status == 2
    note, error = ended.stderr.splitlines()
    assert note.startswith("Note: --config=none is not on this machine")
    assert error.startswith(f"error: {workdir}.sbatch: sbatch: error: ")
    assert "invalid partition specified: nowhere" in error


def test_done(slurm, workdir):
    batch = Batch(slurm, workdir, "0/0")
    batch.ends("COMPLETED", "0:0", restarts=0)
    assert batch.noted(0) == batch.noted(1) == ["start"]


def test_odd_names_of_folders(slurm, tmp_path):
    folder = tmp_path / 'it\'s 100% a "run"'
    folder.mkdir()
    Batch(slurm, folder / "no $1", "0/0").ends("COMPLETED", "0:0", restarts=0)


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        (("--nodes=2", "--gpus_per_node=2"), ["0,1", "0,1"]),
        (("--nodes=2", "--gpus_per_node=a100:2"), ["0,1", "0,1"]),
        (("--nodes=1", "--gpus_per_node=2", "--tasks_per_node=2"), ["0", "1"]),
        (("--nodes=1", "--gpus_per_node=a100:2", "--tasks_per_node=2"), ["0", "1"]),
    ],
)
def test_gpus_of_each_process(slurm, workdir, flags, gpus):
    batch = Batch(slurm, workdir, "0/0", *flags)
    batch.ends("COMPLETED", "0:0", restarts=0)
    for rank in (0, 1):
        assert f"{rank}: GPUs {gpus[rank]}\n" in batch.said


def test_a_mistake_is_not_started_again(slurm, workdir):
    """Even though the other task, told to end by srun, ends with a higher status: 75."""
    batch = Batch(slurm, workdir, "wait/2")
    batch.ends("FAILED", "2:0", restarts=0)
    assert batch.noted(0) == ["start", "SIGTERM", "end"]
    assert batch.noted(1) == ["start"]


def test_a_failure_is_started_again_in_the_same_allocation(slurm, workdir):
    batch = Batch(slurm, workdir, "wait/1,kill/wait,0/0", "--max_restarts=2")
    batch.ends("COMPLETED", "0:0", restarts=0)
    assert batch.noted(0).count("start") == batch.noted(1).count("start") == 3
    assert "status 1 at step 0: restart 1 of 2" in batch.said
    assert "SIGKILL at step 0: restart 2 of 2" in batch.said


def test_the_same_failure_twice_ends_it(slurm, workdir):
    batch = Batch(slurm, workdir, "wait/3,wait/3,0/0")
    batch.ends("FAILED", "3:0", restarts=0)
    assert batch.noted(1).count("start") == 2


def test_who_lost_another_is_started_again(slurm, workdir):
    """Twice at one step, too; and how the other ended counts, whichever srun sees first."""
    batch = Batch(slurm, workdir, "69/wait,69/wait,69/kill,0/0", "--max_restarts=3")
    batch.ends("COMPLETED", "0:0", restarts=0)
    assert "status 69 at step 0: restart 2 of 3" in batch.said
    assert "SIGKILL at step 0: restart 3 of 3" in batch.said


def test_what_was_saved_is_queued_again(slurm, workdir):
    batch = Batch(slurm, workdir, "75/75,0/0")
    batch.begin_again()
    batch.ends("COMPLETED", "0:0", restarts=1)
    assert batch.noted(0) == batch.noted(1) == ["start", "start"]


def test_a_job_that_may_not_be_queued_again_says_so(slurm, workdir):
    batch = Batch(slurm, workdir, "75/75", "--sbatch=--no-requeue")
    batch.ends("FAILED", "75:0", restarts=0)
    assert "Requested operation is presently disabled" in batch.said


def test_time_limit(slurm, tmp_path):
    """It saves at the signal before it, or where that was missed, when Slurm ends the job."""
    acts, early = "wait/wait,0/0", ("--nodes=2", "--time=9", "--save_seconds=60")
    told = Batch(slurm, tmp_path / "told", acts, *early)
    ended = Batch(slurm, tmp_path / "ended", acts, *early, "--sbatch=--signal=CONT@1")
    for batch, seconds in (told, 65), (ended, 1):
        batch.wait_for_starts(1)
        end = f"EndTime=now+{seconds}"
        assert slurm.run("scontrol", "update", f"job={batch.number}", end).status == 0
    for batch in told, ended:  # Slurm looks at the clock every 30 s only
        slurm.wait(lambda batch=batch: "SIGTERM" in batch.noted(0), 65)
        batch.begin_again()
        batch.ends("COMPLETED", "0:0", restarts=1)
        assert batch.noted(0) == batch.noted(1) == ["start", "SIGTERM", "end", "start"]
    assert "DUE TO TIME LIMIT" in ended.said
    assert "DUE TO TIME LIMIT" not in told.said


def test_scancel_lets_it_save_and_end(slurm, workdir):
    batch = Batch(slurm, workdir, "wait/wait")
    batch.wait_for_starts(1)
    slurm.run("scancel", batch.number)
    batch.ends("CANCELLED", "75:0", restarts=0)
    slurm.wait(lambda: no_task_is_left(slurm))
    assert batch.noted(0) == batch.noted(1) == ["start", "SIGTERM", "end"]


@pytest.mark.parametrize("to", [(), ("--full",)], ids=["tasks", "all"])
def test_a_signal_that_someone_sends(slurm, workdir, to):
    """It is taken for pre-emption; of all processes only the tasks end by it."""
    batch = Batch(slurm, workdir, "wait/wait,0/0")
    batch.wait_for_starts(1)
    slurm.run("scancel", "--signal=TERM", *to, batch.number)
    batch.begin_again()
    batch.ends("COMPLETED", "0:0", restarts=1)
    assert batch.noted(0) == batch.noted(1) == ["start", "SIGTERM", "end", "start"]


@pytest.mark.parametrize("how", ["requeue", "preempt", "preempt with grace", "node failure"])
def test_slurm_itself_queues_it_again(slurm, workdir, how):
    partition = "graceful" if "grace" in how else "main"
    batch = Batch(slurm, workdir, "wait/wait,0/0", f"--partition={partition}")
    batch.wait_for_starts(1)
    if how == "requeue":
        slurm.run("scontrol", "requeue", batch.number)
    elif "preempt" in how:
        other = workdir.with_name("other.sh")
        other.write_text("#!/bin/bash\nsleep 1\n")
        urgent = slurm.sbatch(
            other, "--partition=urgent", "--exclusive", "--nodes=2", "--output=/dev/null"
        )
        slurm.wait_for_state(urgent, "COMPLETED", 60)
    else:
        slurm.run("scontrol", "update", "node=n10", "State=DOWN", "Reason=test")
        slurm.wait(lambda: slurm.state(batch.number)["JobState"] != "RUNNING")
        slurm.run("scontrol", "update", "node=n10", "State=RESUME")
        slurm.wait(slurm.idle)
        slurm.wait(lambda: no_task_is_left(slurm))
    batch.begin_again()
    batch.ends("COMPLETED", "0:0", restarts=1)
    assert batch.noted(0)[:1] + batch.noted(0)[-1:] == ["start", "start"]
    if how != "node failure":
        assert batch.noted(0) == batch.noted(1) == ["start", "SIGTERM", "end", "start"]
