"""Changes that a resume takes, refuses, or mends by itself."""

import json
import shutil
from pathlib import Path

import pytest
from programs import assert_same_run, contents, losses, newest, points

from configs.smoke import get_config

pytestmark = [pytest.mark.end_to_end, pytest.mark.promises]
CONFIG = get_config()
HEAD, TOTAL = CONFIG.phases[0].steps, sum(phase.steps for phase in CONFIG.phases)
CUT = HEAD + (TOTAL - HEAD) // 2 + 1  # in the second phase, where nothing is due


@pytest.fixture(scope="module")
def whole(tmp_path_factory, smoke, launch):
    """A run to the end."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    ended = launch(*smoke, f"--workdir={workdir}")
    assert ended.status == 0, ended.stderr
    return workdir


@pytest.fixture(scope="module")
def half(tmp_path_factory, smoke, launch):
    """A run that max_steps cut."""
    workdir = tmp_path_factory.mktemp("half") / "run"
    ended = launch(*smoke, f"--workdir={workdir}", f"--config.max_steps={CUT}")
    assert ended.status == 0, ended.stderr
    return workdir


@pytest.fixture
def begun(half, tmp_path):
    """A copy of it."""
    return shutil.copytree(half, tmp_path / "run")


def damage(path: Path) -> None:
    """Turns every bit of one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_cut_run_scores_what_it_has(half):
    result = json.loads((half / "result.json").read_text())
    assert result["steps"] == CUT
    assert not result["finished"]
    assert result["test"]["examples"] == 1000


def test_a_cut_run_goes_on_as_the_uncut(half, begun, whole, smoke, launch):
    ended = launch(*smoke, f"--workdir={begun}", f"--config.max_steps={10 * TOTAL}")
    assert ended.status == 0, ended.stderr
    assert f"Resuming at step {CUT}" in ended.stderr
    assert_same_run(whole, begun)
    # The wall time adds up.
    clock = [value for (_, key), value in points(begun).items() if key == "wall_seconds"]
    assert clock == sorted(clock)
    before, after = (
        json.loads((run / "result.json").read_text())["wall_seconds"] for run in (half, begun)
    )
    assert points(half)[CUT, "wall_seconds"] <= before < after
    assert max(clock) <= after


def test_a_cut_run_has_ended(begun, smoke, launch):
    before = contents(begun)
    ended = launch(*smoke, f"--workdir={begun}", f"--config.max_steps={CUT}")
    assert ended.status == 0, ended.stderr
    assert "This run has ended" in ended.stderr
    assert contents(begun) == before


def test_a_finished_run_says_so(whole, smoke, launch):
    before = contents(whole)
    ended = launch(*smoke, f"--workdir={whole}")
    assert ended.status == 0, ended.stderr
    assert f"This run has ended: {whole / 'result.json'} holds its result" in ended.stderr
    assert contents(whole) == before


def test_how_it_runs_may_change(begun, whole, smoke, launch):
    """Other devices, other calls, more log lines, another place of the data: the same run."""
    data = begun.with_name("data")
    data.symlink_to(Path(CONFIG.data.data_dir).absolute(), target_is_directory=True)
    ended = launch(
        *smoke,
        f"--workdir={begun}",
        "--cpu_devices=2",
        f"--config.data.data_dir={data}",
        "--config.runtime.steps_per_call=4",
        "--config.runtime.max_rows_per_device=8",
        "--config.log_every_steps=5",
        "--config.keep_checkpoints=1",
    )
    assert ended.status == 0, ended.stderr
    assert "2 replicas" in ended.stderr
    assert f"Resuming at step {CUT}" in ended.stderr
    assert len(list((begun / "checkpoints").iterdir())) == 1
    mine, its = losses(begun), losses(whole)
    common = [step for step in its if step in mine]
    assert max(common) > CUT
    assert [mine[step] for step in common] == pytest.approx([its[s] for s in common], rel=1e-4)
    result = json.loads((begun / "result.json").read_text())
    assert result["replicas"] == 2
    assert result["steps"] == TOTAL


def test_xla_may_change(begun, whole, smoke, launch):
    ended = launch(
        *smoke, f"--workdir={begun}", "--config.runtime.xla=step", f"--config.max_steps={CUT + 5}"
    )
    assert ended.status == 0, ended.stderr
    assert "XLA step" in ended.stderr


def test_compiled_and_recomputed_a_cut_run_goes_on_as_the_uncut(smoke, launch, tmp_path):
    flags = ("--config.runtime.xla=chains", "--config.runtime.recompute=True")
    flags += ("--config.data.buckets=2",)  # each is compiled
    for workdir, steps in (("whole", CUT + 4), ("cut", CUT), ("cut", CUT + 4)):
        where = (f"--workdir={tmp_path / workdir}", f"--config.max_steps={steps}")
        ended = launch(*smoke, *flags, *where)
        assert ended.status == 0, ended.stderr
    assert f"Resuming at step {CUT}" in ended.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_what_defines_the_run_may_not(begun, smoke, launch):
    before = contents(begun)
    ended = launch(
        *smoke,
        f"--workdir={begun}",
        "--config.seed=17",
        "--config.model.dropout=0.25",
        "--config.phases[1].learning_rate=0.002",
        "--config.runtime.precision=float64",
    )
    assert ended.status == 2
    line = ended.stderr.splitlines()[-1]
    assert line.startswith(f"error: --workdir={begun} holds another run")
    for field in (
        "config.seed: 0 -> 17",
        "config.model.dropout: ",
        "config.phases[1].learning_rate: ",
        "config.runtime.precision: 'float32' -> 'float64'",
    ):
        assert field in line
    assert contents(begun) == before


def test_a_damaged_checkpoint_is_passed_over(begun, whole, smoke, launch):
    last = newest(begun / "checkpoints")
    damage(last / "state.data-00000-of-00001")
    ended = launch(*smoke, f"--workdir={begun}")
    assert ended.status == 0, ended.stderr
    assert f"The checkpoint of step {CUT} is damaged" in ended.stderr
    resumed = int(ended.stderr.split("Resuming at step ")[1].split()[0])
    assert 0 < resumed < CUT
    # What the cut run had written from there on is gone: nothing is there twice, or too much.
    assert_same_run(whole, begun)


def test_a_damaged_newer_checkpoint_takes_no_place(begun, smoke, launch):
    damage(newest(begun / "checkpoints") / "state.data-00000-of-00001")
    stopped = CUT - 1  # between the whole one and the damaged one
    ended = launch(
        *smoke,
        f"--workdir={begun}",
        f"--config.max_steps={stopped}",
        "--config.keep_checkpoints=1",
    )
    assert ended.status == 0, ended.stderr
    assert f"The checkpoint of step {CUT} is damaged" in ended.stderr
    assert [path.name for path in (begun / "checkpoints").iterdir()] == [f"step-{stopped:08d}"]


def test_with_all_checkpoints_damaged_it_refuses(begun, smoke, launch):
    for checkpoint in (begun / "checkpoints").iterdir():
        damage(checkpoint / "state.data-00000-of-00001")
    before = contents(begun)
    ended = launch(*smoke, f"--workdir={begun}")
    assert ended.status == 2
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "all checkpoints in" in said[0]
    assert "Traceback" not in ended.stderr
    assert contents(begun) == before


def test_damaged_best_weights_are_noticed(begun, smoke, launch):
    for checkpoint in (begun / "best").iterdir():
        damage(checkpoint / "state.data-00000-of-00001")
    before = contents(begun)
    ended = launch(*smoke, f"--workdir={begun}")
    assert ended.status == 2
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: the best weights so far are damaged")
    assert str(begun / "best") in last
    ended = launch(smoke[1], f"--workdir={begun}", program="launch.evaluate")
    assert ended.status == 2  # the last checkpoint would give other numbers
    assert "weights that validation chose are damaged" in ended.stderr
    assert contents(begun) == before
