"""The script that launch.slurm writes, and what it refuses; tests/slurm runs it under Slurm."""

import os
import re
import resource
import signal
import subprocess
import sys

import pytest
from programs import ROOT, Ended, environment, run

from launch import cluster
from launch.slurm import seconds
from trainer.errors import UserError

TRAIN = ("--config=configs/smoke.py", "--workdir=runs/big")


def slurm(*flags: str, train: tuple[str, ...] = TRAIN, **options) -> Ended:
    return run(*flags, "--", *train, program="launch.slurm", **options)


def options(script: str) -> list[str]:
    """Those of sbatch in a script."""
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if "#SBATCH" in line]


def checked(script: str) -> str:
    """The script, which bash can read."""
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return script


def test_without_flags():
    ended = slurm("--dry_run")
    assert (ended.status, ended.stderr) == (0, "")
    assert options(checked(ended.stdout)) == [
        "--job-name=big",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--signal=TERM@120",
        f"--output={ROOT}/runs/big-slurm-%j.out",
        "--open-mode=append",
        "--requeue",
    ]
    assert f"\ncd {ROOT} || exit 2\n" in ended.stdout
    assert f"\nsource {sys.prefix}/bin/activate\n" in ended.stdout
    assert f"\nexport PYTHONPATH={ROOT}\n" in ended.stdout
    assert (
        f"\n{sys.executable} -m launch.restarts --max_restarts=3 --workdir=runs/big -- \\\n"
        f"    {sys.executable} -m launch.srun -K1 --wait=60 --label \\\n"
        f"    {sys.executable} -m launch.train \\\n"
        "        --config=configs/smoke.py \\\n"
        "        --workdir=runs/big\n"
    ) in ended.stdout


def test_all_flags():
    ended = slurm(
        *("--dry_run", "--nodes=4", "--tasks_per_node=4", "--gpus_per_node=a100:8"),
        *("--cpus_per_task=12", "--mem=500G", "--time=2-12", "--partition=gpu", "--account=lab"),
        *("--job_name=my run", "--save_seconds=300", "--max_restarts=9"),
        *("--setup=module load cuda/12.4", "--sbatch=--exclusive", "--sbatch=--qos=high"),
    )
    assert (ended.status, ended.stderr) == (0, "")
    assert options(checked(ended.stdout)) == [
        "'--job-name=my run'",
        "--partition=gpu",
        "--account=lab",
        "--nodes=4",
        "--ntasks-per-node=4",
        "--cpus-per-task=12",
        "--gres=gpu:a100:8",
        "--mem=500G",
        "--time=2-12",
        "--signal=TERM@300",
        f"--output={ROOT}/runs/big-slurm-%j.out",
        "--open-mode=append",
        "--requeue",
        "--exclusive",
        "--qos=high",
    ]
    assert "\n{\n    module load cuda/12.4\n} || exit 2\n" in ended.stdout
    assert " -K1 --wait=60 --label --cpus-per-task=12 --gpus-per-task=2 \\\n" in ended.stdout
    assert " --max_restarts=9 " in ended.stdout


def test_a_folder_of_the_environment_that_no_script_can_hold():
    variables = {**environment(), "PYTHONPATH": f"{ROOT}:{os.fsdecode(b'/x' + bytes([255]))}"}
    ended = slurm("--dry_run", env=variables)
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.endswith("holds a line break or odd character: remove it\n")


def test_each_start_of_the_script_has_a_secret_of_its_own():
    """It stands in no file, and what srun starts has it."""
    script = slurm("--dry_run").stdout
    made = "".join(re.findall(r"^.*(?:od -An|export THAW_SECRET).*\n", script, re.MULTILINE))
    assert made.count("\n") == 2
    show = "import os; print(os.environ['THAW_SECRET'])"
    command = ["bash", "-c", f'{made}exec {sys.executable} -c "{show}"']
    seen = {
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert len(seen) == 2
    assert all(cluster.secret({"THAW_SECRET": each}) == each for each in seen)
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in seen)


def test_bash_gives_each_argument_on_as_it_is():
    odd = ("--config=a b.py", "--workdir", "it's $HOME/`x` 100%", "--config.x=('a*\\\\',\"#\")")
    ended = slurm("--dry_run", "--setup=true", train=odd)
    assert ended.stderr == (
        "Note: --config=a b.py is not on this machine: it is sent without being checked\n"
    )
    script = ended.stdout
    before, _, after = checked(script).partition(f"{sys.executable} -m launch.restarts")
    show = f"{sys.executable} -c 'import sys; print(sys.argv[1:])'"
    done = subprocess.run(
        ["bash"], input=f"{before}{show}{after}", capture_output=True, text=True, check=False
    )
    shown = done.stdout.splitlines()[0]
    assert shown == str(
        [
            *("--max_restarts=3", "--workdir=it's $HOME/`x` 100%", "--", sys.executable, "-m"),
            *("launch.srun", "-K1", "--wait=60", "--label", sys.executable, "-m", "launch.train"),
            *odd,
        ]
    )


@pytest.mark.parametrize(
    ("flags", "train", "said"),
    [
        ((), (), "give the flags of launch.train after `--`: --config is missing"),
        ((), TRAIN[:1], "give the flags of launch.train after `--`: --workdir is missing"),
        ((), ("python", *TRAIN), "'python' after `--` is no flag of launch.train"),
        ((), (*TRAIN, "--hosts=a:1,b:1"), "--hosts after `--`: leave it out, Slurm gives"),
        ((), (TRAIN[0], "--workdir=/"), "--workdir=/ is no folder for a run"),
        ((), (*TRAIN, "--config.x=a\nb"), "'--config.x=a\\nb' holds a line break"),
        ((), (TRAIN[0], "--workdir=a\\b"), f"--workdir={ROOT}/a\\b holds a backslash"),
        (("--partition=a\nb",), TRAIN, "'a\\nb' holds a line break"),
        ((), (*TRAIN, os.fsdecode(b"--config.x=\xff")), "it holds bytes that are not UTF-8"),
        (("--job_name=a\n#SBATCH --uid=0",), TRAIN, "holds a line break"),
        (("--setup=a\rb",), TRAIN, "'a\\rb' holds a line break"),
        (("--sbatch=--comment=a\u2028b",), TRAIN, "holds a line break or odd character"),
        (("--account=" + "a" * 500 + "\x1b",), TRAIN, "'" + "a" * 80 + "'… holds a line break"),
        (("--gpus_per_node=" + "9" * 5000,), TRAIN, "--gpus_per_node=999"),
        (("--time=" + "9" * 5000,), TRAIN, "--time=999"),
        (("--nodes=1000000",), TRAIN, "--nodes=1000000"),
        (("--tasks_per_node=17",), TRAIN, "--tasks_per_node=17"),
        (("--nodes=0",), TRAIN, "--nodes=0"),
        (("--gpus_per_node=many",), TRAIN, "--gpus_per_node=many: give 8, or a kind"),
        (("--gpus_per_node=8", "--tasks_per_node=3"), TRAIN, "cannot be shared evenly"),
        (("--time=soon",), TRAIN, "--time=soon: give minutes"),
        (("--time=3",), TRAIN, "--time=3 leaves no time to train"),
        (("--time=10", "--save_seconds=540"), TRAIN, "--time=10 leaves no time to train"),
        (("--sbatch=exclusive",), TRAIN, "--sbatch=exclusive: give an option"),
        (("--config=configs/smoke.py",), TRAIN, "unknown flag --config: the flags of launch.train"),
    ],
)
def test_what_cannot_work_is_refused(launch, flags, train, said):
    ended = launch("--dry_run", *flags, "--", *train, program="launch.slurm")
    assert ended.status == 2
    assert said in ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert len(ended.stderr) < 400
    assert ended.stdout == ""


def test_without_slurm(workdir):
    """The script is there all the same, for a machine with sbatch."""
    ended = slurm(
        train=(TRAIN[0], f"--workdir={workdir}"), env={**environment(), "PATH": "/nowhere"}
    )
    assert ended.status == 2
    assert ended.stderr.startswith("error: cannot run sbatch (No such file or directory): ")
    assert ended.stderr.count("\n") == 1
    assert "#SBATCH" in workdir.with_name("run.sbatch").read_text()


def test_a_file_of_someone_else_is_kept(workdir):
    script = workdir.with_name("run.sbatch")
    script.write_text("mine")
    ended = slurm(train=(TRAIN[0], f"--workdir={workdir}"))
    assert ended.status == 2
    assert f"error: {script} is not from launch.slurm" in ended.stderr
    assert script.read_text() == "mine"


def test_a_pipe_in_the_script_s_place(workdir):
    script = workdir.with_name("run.sbatch")
    os.mkfifo(script)
    ended = slurm(train=(TRAIN[0], f"--workdir={workdir}"))
    assert ended.status == 2
    assert ended.stderr == f"error: cannot write {script} ({script}: it is there, and no file)\n"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    ended = slurm(train=(TRAIN[0], f"--workdir={tmp_path}/file/run"))
    assert ended.status == 2
    path = f"{tmp_path}/file"
    assert ended.stderr == f"error: cannot write {path}/run.sbatch ({path}: File exists)\n"


def test_a_full_disk_leaves_the_script_before(workdir):
    """A file may have no more bytes than a part of it."""
    script = workdir.with_name("run.sbatch")
    script.parent.mkdir(exist_ok=True)
    script.write_text(before := "# Written by launch.slurm.\n")
    train = (TRAIN[0], f"--workdir={workdir}")

    def nearly_full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    ended = slurm(train=train, preexec_fn=nearly_full)
    assert ended.status == 2
    assert ended.stderr == f"error: cannot write {script} ({script}: File too large)\n"
    assert script.read_text() == before
    assert [path.name for path in script.parent.iterdir()] == [script.name]


def test_a_path_is_the_same_in_any_locale(tmp_path):
    env = {**environment(), "PYTHONIOENCODING": "ascii"}
    ended = slurm("--dry_run", train=(TRAIN[0], f"--workdir={tmp_path}/größe"), env=env)
    assert ended.status == 0, ended.stderr
    assert f"'--workdir={tmp_path}/größe'" in checked(ended.stdout)


def test_srun_is_missing():
    ended = run("true", program="launch.srun", env={**environment(), "PATH": "/nowhere"})
    assert (ended.status, ended.stderr) == (
        2,
        "error: cannot run srun: No such file or directory\n",
    )


def test_help():
    ended = run("--help", program="launch.slurm")
    assert ended.status == 0
    for flag in ("--nodes", "--gpus_per_node", "--time", "--setup", "--sbatch", "--[no]dry_run"):
        assert f"\n  {flag}: " in ended.stdout
    assert "python -m launch.slurm --nodes=2" in ended.stdout


def test_time_limits():
    assert seconds("90") == 90 * 60
    assert seconds("1:30") == 90
    assert seconds("12:00:01") == 12 * 3600 + 1
    assert seconds("2-12") == 60 * 3600
    assert seconds("2-12:30") == 60 * 3600 + 30 * 60
    assert seconds("1-0:0:5") == 24 * 3600 + 5
    for wrong in ("", "1-", "1:2:3:4", "-5", "1.5", "UNLIMITED"):
        with pytest.raises(UserError, match="give minutes"):
            seconds(wrong)
