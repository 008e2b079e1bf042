"""Sweeps: what is drawn, what is refused, and that each trial is trained once, whatever ends it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import ROOT, environment
from sealing import result

from launch.sent import experiment
from launch.sweep import Sweep
from launch.trials import Plan, draws, grid
from trainer.errors import UserError
from trainer.storage import sealed

SMOKE = ["--config=configs/smoke.py"]


def command(folder: Path, *own: str, train: list[str] = SMOKE) -> list[str]:
    return [sys.executable, "-m", "launch.sweep", f"--output={folder}", *own, "--", *train]


def sweep(*arguments, env=None, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments, **options),
        cwd=ROOT,
        env=env or environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_grid_is_every_combination():
    found = grid(["config.model.depth=1,2", "phases[0].learning_rate=1e-4,1e-3"])
    rate = "phases[0].learning_rate"
    assert found == [
        {"model.depth": "1", rate: "1e-4"},
        {"model.depth": "1", rate: "1e-3"},
        {"model.depth": "2", rate: "1e-4"},
        {"model.depth": "2", rate: "1e-3"},
    ]


def test_draws_are_those_of_the_seed():
    randoms = ["a.x=log:1e-5:1e-1", "a.y=uniform:2:3", "a.z=int:1:3", "a.k=relu|gelu"]
    found = draws(randoms, 300, 7)
    assert draws(randoms[::-1], 300, 7) == found
    assert draws(randoms, 20, 7) == found[:20]
    assert draws(randoms, 300, 8) != found
    rates = sorted(float(each["a.x"]) for each in found)
    assert rates[0] >= 1e-5
    assert rates[-1] <= 1e-1
    assert 3e-4 < rates[150] < 3e-3  # half of them are below the geometric mean
    assert {each["a.z"] for each in found} == {"1", "2", "3"}
    assert {each["a.k"] for each in found} == {"relu", "gelu"}
    assert all(2 <= float(each["a.y"]) <= 3 for each in found)


@pytest.mark.parametrize("what", ["log:0:1", "uniform:1:0", "log:a:b", "norm:1:2", "int:1:2.5"])
def test_a_distribution_that_is_none(what):
    with pytest.raises(UserError, match="--random"):
        draws([f"model.dropout={what}"], 1, 0)


def test_the_settings_are_those_of_launch_train():
    plan = Plan.checked(SMOKE, [{"phases[1].learning_rate": "0.5", "model.width": "32"}])
    made = experiment(plan.flags(0, Path("here")))
    assert (made.phases[1].learning_rate, made.model.width) == (0.5, 32)
    assert (plan.metric, plan.lower) == ("accuracy", False)


def test_a_config_that_makes_something_else(tmp_path):
    (tmp_path / "odd.py").write_text("import ml_collections\ndef get_config():\n    return None\n")
    with pytest.raises(UserError, match="must return a trainer"):
        experiment([f"--config={tmp_path / 'odd.py'}"])


def test_a_url_is_no_folder_of_a_sweep(tmp_path):
    ended = sweep("gs://bucket/sweep", "--list=seed=1", "--dry_run")
    assert ended.returncode == 2
    assert "the path='gs://bucket/sweep' is a URL, and no path of this machine" in ended.stderr


@pytest.mark.parametrize(
    ("own", "train", "said"),
    [
        (["--list=model.widht=1"], SMOKE, "trial 0: --config.model.widht: config.model has"),
        (["--list=model.width=32,x"], SMOKE, "trial 1: flag --config.model.width=x"),
        (["--list=model.dropout=0.1,7"], SMOKE, "trial 1: config.model.dropout=7.0 must be"),
        (["--list=phases[4].steps=1"], SMOKE, "trial 0: "),
        (["--list=model.width"], SMOKE, "write FIELD=VALUES"),
        ([b"--list=\xff=1"], SMOKE, "holds a line break or odd character"),
        (["--list=seed=1", "--list=config.seed=2"], SMOKE, "seed is there twice"),
        (["--list=evaluation.metric=f1,loss"], SMOKE, "trial 1 is sorted by loss"),
        (
            ["--list=seed=" + "1," * 999, "--list=model.depth=" + "1," * 999],
            SMOKE,
            "1,000,000 trials",
        ),
        (["--random=seed=int:1:9", "--trials=999999999"], SMOKE, "999,999,999 trials: give"),
        (["--random=seed=int:1:9", "--trials=2", "--seed=-1"], SMOKE, "'-1' is no whole number"),
        (["--list=seed=1,2", "--trial=2"], SMOKE, "--trial=2: there are 2, from 0"),
        (
            ["--list=seed=1", "--dry_run", "--slurm", "--sbatch=--x\necho PWNED"],
            SMOKE,
            "line break",
        ),
        ([], SMOKE, "give --list or --random"),
        (["--random=seed=int:1:9"], SMOKE, "--random needs --trials"),
        (["--list=seed=1"], [], "--config is missing"),
        (["--list=seed=1"], [*SMOKE, "--workdir=x"], "leave it out"),
        (["--list=seed=1"], ["--config=nowhere.py"], "nowhere.py"),
        (["--list=seed=1"], [*SMOKE, "stray"], "trial 0: unknown argument 'stray'"),
        (["--list=evaluation.metric=zzz"], SMOKE, "trial 0: config.evaluation.metric='zzz' is not"),
        (["--list=seed=1"], [*SMOKE, "--flagfile=/dev/zero"], "is no regular file"),
        (["--list=seed=1"], [*SMOKE, "--flagfile=/bin/true"], "cannot read it as text"),
        (["--show"], SMOKE, "no folder of a sweep"),
    ],
)
def test_a_mistake_is_one_line_and_begins_nothing(launch, tmp_path, own, train, said):
    flags = map(os.fsdecode, own)
    ended = launch(f"--output={tmp_path / 'sweep'}", *flags, "--", *train, program="launch.sweep")
    assert ended.status == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not list(tmp_path.iterdir())


def test_a_config_that_imports_another(tmp_path):
    """The root is not on the path of a program in scripts/."""
    train = ["--config=configs/transformer_imdb.py"]
    env = environment() | {"PYTHONPATH": ""}
    ended = sweep(tmp_path, "--list=seed=1,2", "--slurm", "--dry_run", train=train, env=env)
    assert ended.returncode == 0, ended.stderr
    assert "--array=0-1" in ended.stdout


def test_another_sweep_in_the_same_folder_is_refused(tmp_path):
    assert sweep(tmp_path, "--list=seed=1", "--slurm", "--dry_run").returncode == 0
    ended = sweep(tmp_path, "--list=seed=2", "--slurm", "--dry_run")
    assert ended.returncode == 2
    assert "holds another sweep" in ended.stderr


def test_the_table_so_far(tmp_path):
    assert sweep(tmp_path, "--list=seed=1,2,3", "--slurm", "--dry_run").returncode == 0
    for number, accuracy in ((0, 0.7), (2, 0.8)):
        folder = tmp_path / f"trial-{number:03}"
        folder.mkdir()
        metrics = {**result()["test"], "accuracy": accuracy}
        sealed.write(folder / "result.json", result(validation=metrics, test=metrics))
    (tmp_path / "trial-001").mkdir()
    (tmp_path / "trial-001" / "result.json").write_text("5")  # of no run that has ended
    ended = sweep(tmp_path, "--show")
    rows = [line.split("│") for line in ended.stdout.splitlines() if line.startswith("│")]
    assert [row[1].strip() for row in rows] == ["2", "0", "1"]
    assert [row[3].strip() for row in rows] == ["0.8000", "0.7000", "begun"]
    assert f"tensorboard --logdir={tmp_path}" in ended.stdout


def test_the_flags_of_a_flag_file_are_those_of_the_trials(tmp_path):
    (tmp_path / "flags.txt").write_text("--config.model.width=32\n")
    train = [*SMOKE, f"--flagfile={tmp_path / 'flags.txt'}"]
    own = ["--list=seed=1", "--slurm", "--dry_run"]
    ended = sweep(tmp_path / "sweep", *own, train=train)
    assert ended.returncode == 0, ended.stderr
    assert "--config=configs/smoke.py --config.model.width=32" in ended.stdout


def test_the_texts_of_a_table_are_neither_markup_nor_obeyed(tmp_path):
    trials = [{"a[/x]": "[a-z]"}, {"a[/x]": "\x1b[31mred\x1b]0;title\x07"}]
    Plan(SMOKE, trials, "f1[/b]", False).save(tmp_path / "sweep.json")
    ended = sweep(tmp_path, "--show")
    assert ended.returncode == 0, ended.stderr
    assert "a[/x]" in ended.stdout
    assert "validation f1[/b]" in ended.stdout
    assert "[a-z]" in ended.stdout
    assert r"\x1b[31mred\x1b]0;title\x07" in ended.stdout
    assert "\x1b" not in ended.stdout


SUBMIT = ["--list=seed=1", "--slurm", "--dry_run"]


@pytest.mark.parametrize(
    ("own", "output", "status"),
    [
        (["--show"], ">/dev/full", 2),
        (["--show"], "> >(exit)", 0),
        (SUBMIT, ">/dev/full", 2),
        (SUBMIT, ">&-", 0),
        (SUBMIT, "2>&-", 0),
    ],
)
def test_an_output_that_cannot_be_written(tmp_path, own, output, status):
    Plan(SMOKE, [{"seed": "1"}], "accuracy", False).save(tmp_path / "sweep.json")
    script = f'"$@" {output}'
    ended = subprocess.run(
        ["bash", "-c", script, "bash", *command(tmp_path, *own)],
        cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == status
    said = "error: cannot write standard output: No space left on device\n"
    assert ended.stderr == (said if status else "")


def test_a_folder_of_a_stranger(tmp_path):
    """Neither its table nor a trial runs the config that sweep.json names."""
    marker = tmp_path / "marker"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    train = [f"--config={tmp_path / 'evil.py'}"]
    stranger = Plan(train, [{"seed": "1"}], "accuracy", False)
    stranger.save(tmp_path / "nice" / "sweep.json")
    ended = sweep(tmp_path / "nice", "--show", train=train)
    assert ended.returncode == 0, ended.stderr
    ended = sweep(tmp_path / "nice", "--list=seed=1", "--trial=0")
    assert ended.returncode == 2
    assert "holds another sweep" in ended.stderr
    assert not marker.exists()


PLAN = {"train": SMOKE, "trials": [{"seed": "1"}], "metric": "accuracy", "lower": False}


@pytest.mark.parametrize(
    "change",
    [
        {"trials": []},
        {"trials": [{"seed": 1}]},
        {"trials": [{"seed": "1"}, {"model.width": "32"}]},
        {"train": "--config=configs/smoke.py"},
        {"metric": None},
        {"lower": "no"},
    ],
)
def test_a_plan_with_a_wrong_value(tmp_path, change):
    file = tmp_path / "sweep.json"
    sealed.write(file, PLAN)
    assert Plan.load(file)._asdict() == PLAN
    sealed.write(file, {**PLAN, **change})
    with pytest.raises(UserError, match="cannot read"):
        Plan.load(file)


@pytest.mark.parametrize("content", [b"\xff", b"{}", b"[", None])
def test_a_file_that_is_no_plan(launch, tmp_path, content):
    file = tmp_path / "sweep.json"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    ended = launch(f"--output={tmp_path}", "--show", program="launch.sweep")
    assert ended.status == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: cannot read {file}: ")


def test_a_note_that_is_no_text(tmp_path):
    made = Sweep(tmp_path, Plan(*PLAN.values()))
    made.note(0).write_bytes(b"\xff\n" + b"x" * 10**6)
    assert made.failed(0).startswith("\ufffd xxx")
    assert len(made.failed(0)) <= 1000


def test_any_locale(tmp_path):
    env = environment() | {"PYTHONIOENCODING": "ascii"}
    own = ["--list=seed=1", "--slurm", "--dry_run"]
    ended = sweep(tmp_path / "größe", *own, env=env)
    assert ended.returncode == 0, ended.stderr
    assert f"'--output={tmp_path}/größe' --list=seed=1" in ended.stdout
    ended = sweep(tmp_path / "größe", "--show", env=env)
    assert ended.returncode == 0, ended.stderr


def test_however_a_trial_ends(tmp_path, monkeypatch):
    """A stand-in for the interpreter ends each trial with the exit status that a file says."""
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        "for last; do workdir=${last#--workdir=}; done\n"
        'status=$(cat "$workdir.status")\n'
        '[ "$status" = 0 ] || exit $status\n'
        f'mkdir "$workdir" && cp "{tmp_path}/result.json" "$workdir"\n'
    )
    python.chmod(0o755)
    sealed.write(tmp_path / "result.json", result())
    monkeypatch.setattr(sys, "executable", str(python))
    made = Sweep(tmp_path, Plan([], [{"seed": str(i)} for i in range(3)], "loss", True))

    def ends(*statuses: int, retry: bool = False) -> tuple[int, list[bool]]:
        for number, status in enumerate(statuses):
            (tmp_path / f"trial-{number:03}.status").write_text(str(status))
        return made.run_all(range(3), retry), [bool(made.failed(number)) for number in range(3)]

    assert ends(75, 3, 0) == (75, [False, True, False])
    assert ends(0, 0, 0) == (1, [False, True, False])
    assert ends(0, 4, 0, retry=True) == (1, [False, True, False])
    assert made.failed(1) == "exit status 4:"
    assert ends(0, 0, 0, retry=True) == (0, [False, False, False])
    assert not made.note(1).exists()


def test_a_task_of_an_array_leaves_a_failed_trial_out(tmp_path):
    ended = sweep(tmp_path, "--list=seed=1", "--slurm", "--dry_run", "--retry")
    assert f"launch.sweep --output={tmp_path} --list=seed=1 --retry" in ended.stdout
    assert '--trial="$SLURM_ARRAY_TASK_ID" -- --config=configs/smoke.py' in ended.stdout
    assert "srun --ntasks=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=" in ended.stdout
    ended = sweep(tmp_path, "--list=seed=1", "--slurm", "--dry_run")
    assert "--retry" not in ended.stdout
    (tmp_path / "trial-000.failed.txt").write_text("exit status 1: out of memory\n")
    ended = sweep(tmp_path, "--list=seed=1", "--trial=0")
    assert ended.returncode == 1
    assert ended.stderr == "Trial 0 failed before: --retry tries it once more\n"


@pytest.mark.long
def test_paths_are_those_of_the_folder_that_one_is_in(tmp_path, cache):
    (tmp_path / "own.py").write_text((ROOT / "configs" / "smoke.py").read_text())
    # Its warm-up is longer than its phase: launch.train says so, and no time is lost.
    own = ["--output=out", "--list=phases[1].warmup_steps=400", "--"]
    train = ["--config=own.py", "--config.phases[1].steps=300", cache]
    data = f"--config.data.data_dir={ROOT / 'data'}"
    ended = subprocess.run(
        [sys.executable, "-m", "launch.sweep", *own, *train, data],
        cwd=tmp_path, env=environment() | {"PYTHONPATH": ""}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "config.phases[1].warmup_steps" in (tmp_path / "out/trial-000.failed.txt").read_text()


@pytest.mark.slow
@pytest.mark.end_to_end
def test_killed_and_started_again_trains_each_trial_once(tmp_path, cache):
    few = ["--config.phases[0].steps=11", "--config.phases[1].steps=300", cache]
    # The third one fails by itself: its warm-up is longer than its phase.
    own = "--list=phases[1].warmup_steps=20,21,400"
    arguments = command(tmp_path, own, train=[*SMOKE, *few])
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment(), start_new_session=True)
    results = [tmp_path / f"trial-{i:03}" / "result.json" for i in range(3)]
    second = results[1].with_name("checkpoints")
    deadline = time.monotonic() + 120
    while not (results[0].exists() and second.is_dir() and any(second.iterdir())):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    first = results[0].stat().st_mtime_ns
    assert not results[1].exists()

    interrupted = subprocess.Popen(arguments, cwd=ROOT, env=environment(), start_new_session=True)
    time.sleep(0.5)
    other = sweep(tmp_path, own, train=[*SMOKE, *few])
    assert other.returncode == 2
    assert "another process sweeps" in other.stderr
    time.sleep(8)
    interrupted.terminate()
    assert interrupted.wait(60) == 75

    ended = sweep(tmp_path, own, train=[*SMOKE, *few])
    assert ended.returncode == 1, ended.stderr  # one of them failed
    assert results[0].stat().st_mtime_ns == first
    assert json.loads(results[1].read_text())["steps"] == 311
    assert "Trial 2 failed: exit status 2: error: config.phases[1].warmup_steps" in ended.stdout
    again = sweep(tmp_path, own, train=[*SMOKE, *few])
    assert again.returncode == 1
    assert "Trial 0 of" not in again.stderr + again.stdout
