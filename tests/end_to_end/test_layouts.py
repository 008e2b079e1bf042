"""One run on any number of workers and devices, and handed from one layout to another."""

import numpy as np
import pytest
from groups import Worker, local
from programs import losses, replaced

from configs.smoke import get_config

pytestmark = [pytest.mark.end_to_end, pytest.mark.cluster]
LAYOUTS = [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)]  # workers, devices of each
RING = [(1, 1), (2, 1), (1, 2), (2, 2), (1, 1)]
WIDE_RING = [(2, 4), (1, 1), (4, 2), (1, 2), (2, 4)]


def train(folder, layout, flags) -> None:
    """Runs launch.local with so many workers and devices; `folder` is the workdir."""
    workers, devices = layout
    more = (f"--workdir={folder}", f"--cpu_devices={devices}", "--config.log_every_steps=1")
    said = folder.with_name(f"{folder.name}.txt")
    ended = Worker(local(workers, *flags, *more), said).end(600)
    assert ended.status == 0, ended.stderr
    replicas = workers * devices
    assert f"with {replicas} replicas" in ended.stderr


def off(folders, steps: int) -> np.ndarray:
    """The largest relative difference of any step's loss from that of the first folder."""
    found = [losses(folder) for folder in folders]
    assert all(list(each) == list(range(1, steps + 1)) for each in found)
    values = np.array([list(each.values()) for each in found])
    return np.abs(values / values[0] - 1).max(axis=1)


@pytest.fixture(scope="module")
def calm(tmp_path_factory, smoke):
    """50 steps in float32 on one device of one worker."""
    folder = tmp_path_factory.mktemp("calm") / "run"
    train(folder, (1, 1), (*smoke, "--config.max_steps=50"))
    return folder


def test_dropout_is_on():
    settings = get_config()
    assert settings.model.dropout > 0
    assert settings.model.attention_dropout > 0
    assert settings.task.mask_share > 0


def test_50_steps_in_float32_agree_to_1e_4(tmp_path, smoke, calm, capsys):
    """Two workers beside one; one with 2 and 4 devices is in test_devices.py."""
    flags, layouts = (*smoke, "--config.max_steps=50"), LAYOUTS[3:]
    folders = [tmp_path / f"{workers}x{devices}" for workers, devices in layouts]
    for folder, layout in zip(folders, layouts, strict=True):
        train(folder, layout, flags)
    found = off([calm, *folders], 50)
    with capsys.disabled():
        print(f"\n50 steps in float32, {layouts} (workers, devices) beside 1: off by {found[1:]}")
    assert found.max() <= 1e-4


@pytest.mark.slow
def test_a_ring_of_resumes_gives_the_same_curve(tmp_path, smoke, calm, capsys):
    folder = tmp_path / "ring"
    # How gradients travel is no part of the run either.
    more = ("--config.runtime.communication=ring", "--config.runtime.pack_mebibytes=1")
    for number, layout in enumerate(RING, start=1):
        train(folder, layout, (*smoke, f"--config.max_steps={10 * number}", *more))
    found = off([calm, folder], 50)
    with capsys.disabled():
        print(f"\n10 steps each on {RING} (workers, devices), one run: off by {found[1]}")
    assert found.max() <= 1e-4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_100_steps_in_float64_agree_to_1e_8(tmp_path, smoke, capsys):
    flags = (*smoke, "--config.max_steps=100", "--config.runtime.precision=float64")
    folders = [tmp_path / f"{workers}x{devices}" for workers, devices in LAYOUTS]
    for folder, layout in zip(folders, LAYOUTS, strict=True):
        train(folder, layout, flags)
    ring = tmp_path / "ring"
    for number, layout in enumerate(WIDE_RING, start=1):
        train(ring, layout, tuple(replaced(flags, f"--config.max_steps={20 * number}")))
    found = off([*folders, ring], 100)
    with capsys.disabled():
        print(f"\n100 steps in float64, {LAYOUTS} (workers, devices), and a ring: off by {found}")
    assert found.max() <= 1e-8
