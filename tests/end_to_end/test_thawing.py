"""A pretrained model through both phases: killed, on several devices, without its folder."""

import json
import re

import pretrained_folders as folders
import pytest
from programs import assert_same_run, contents, newest, weights
from test_device_counts import deviation
from test_kills import killed_at

from trainer.models.family_tables import FAMILIES

# Minutes in all: continuous integration runs them beside `make test`.
pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]
HEAD, TOTAL = 12, 28
FLAGS = (
    f"--config.phases[0].steps={HEAD}",
    "--config.phases[0].patience=9",  # never reached, but "all" starts from the best of "head"
    f"--config.phases[1].steps={TOTAL - HEAD}",
    "--config.optimizer.ema=0.9",
    "--config.evaluation.every_steps=6",
    "--config.evaluation.batch_size=8",
    "--config.save_every_steps=4",
    "--config.log_every_steps=3",  # so that saves fall between two lines of the log
    "--config.runtime.max_rows_per_device=4",
)
# The last of each phase is in its midst; a process counts its own evaluations and saves.
KILLS = ("accumulation:5", "saving:3", "phase:1", "evaluation:2", "accumulation:20")


def test_killed_in_both_phases_without_the_folder(launch, tmp_path, cache, capsys):
    """Once there is a checkpoint, nothing is read of the pretrained model."""
    folder = folders.copy("bert", tmp_path / "bert")
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    flags = (*folders.flags(folder, tmp_path, cache), *FLAGS)
    reference = launch(*flags, f"--workdir={calm}")
    assert reference.status == 0, reference.stderr
    flags = (*flags, f"--workdir={killed}")
    hits = [killed_at(KILLS[0], flags)]
    folder.rename(tmp_path / "moved")
    hits += [killed_at(place, flags) for place in KILLS[1:]]
    last = launch(*flags)
    assert last.status == 0, last.stderr
    with capsys.disabled():
        print(f"\nkilled {len(hits)} times:", *hits, sep="\n  ")
    assert_same_run(calm, killed)

    steps = [int(found) for hit in hits for found in re.findall(r"step (\d+)", hit)[:1]]
    assert max(steps[:2]) < HEAD < steps[-1] < TOTAL
    assert "restored" in hits[2]
    assert "evaluation" in hits[3]
    resumed = int(re.findall(r"Resuming at step (\d+)", last.stderr)[0])
    assert HEAD < resumed < TOTAL

    ended = launch(f"--workdir={killed}", cache, program="launch.evaluate")
    assert ended.status == 0, ended.stderr


def test_without_a_checkpoint_the_folder_is_needed(launch, tmp_path, cache):
    folder = folders.copy("bert", tmp_path / "bert")
    flags = (*folders.flags(folder, tmp_path, cache), *FLAGS, f"--workdir={tmp_path / 'run'}")
    assert "step 1," in killed_at("accumulation:0", flags)
    folder.rename(tmp_path / "moved")
    before = contents(tmp_path / "run")
    ended = launch(*flags)
    assert ended.status == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"error: pretrained model {str(folder)!r}: there is no such folder")
    assert contents(tmp_path / "run") == before
    (tmp_path / "moved").rename(folder)
    ended = launch(*flags, "--config.max_steps=2")
    assert ended.status == 0, ended.stderr
    assert "39 of 41 parameters loaded" in ended.stderr


# Devices, and the rows that one takes at once: 0 for all of its own.
LAYOUTS = [(1, 0), (2, 0), (4, 0), (2, 2)]


def test_1_2_and_4_devices_agree_to_1e_5(tmp_path, cache, capsys):
    folder = folders.copy("bert", tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    assert min(rate for name, rate in config.items() if "dropout" in name) > 0.1
    run = (*folders.flags(folder, tmp_path, cache), "--config.evaluation.every_steps=100")
    phases = [f"--config.phases[{i}].steps=8" for i in range(2)]
    off = deviation(tmp_path, run, 16, LAYOUTS, *phases)
    with capsys.disabled():
        print(f"\n16 steps, {LAYOUTS} (devices, rows at once): off by {off}")
    assert off.max() <= 1e-5


@pytest.mark.parametrize("layout", ["google", "gpt2", "llama", "albert"])
def test_the_head_phase_hands_the_encoder_out_as_it_came(launch, tmp_path, cache, layout):
    kind = "bert" if layout == "google" else layout
    folder = folders.copy(kind, tmp_path / kind)
    came = folders.tensors(folder)
    if layout == "google":
        folder = folders.as_google(folder, tmp_path / "google")
    workdir, output = tmp_path / "run", tmp_path / "exported"
    flags = (*folders.flags(folder, tmp_path, cache), f"--workdir={workdir}")
    ended = launch(*flags, "--config.max_steps=2")  # the head phase
    assert ended.status == 0, ended.stderr
    where = (f"--workdir={workdir}", f"--output={output}", "--format=huggingface")
    ended = launch(*where, program="launch.export")
    assert ended.status == 0, ended.stderr
    prefix = FAMILIES[kind].prefix
    out = folders.tensors(output)
    encoder = {n for n in out if n.startswith(prefix) and not n.startswith(f"{prefix}pooler")}
    assert len(encoder) > 20
    assert [name for name in encoder if out[name].tobytes() != came[name].tobytes()] == []

    ended = launch(*flags)
    assert ended.status == 0, ended.stderr
    head, whole = (
        weights(path) for path in (workdir / "best/step-00000002", newest(workdir / "checkpoints"))
    )
    parameters = [name for name in head if name.startswith("variables/model|")]
    assert len(parameters) > 20
    assert [name for name in parameters if (head[name] == whole[name]).all()] == []
