"""One run on 1, 2 and 4 devices, with dropout on and with gradient accumulation."""

import numpy as np
import pytest
from programs import losses, train_all

from configs.smoke import get_config

pytestmark = [pytest.mark.end_to_end, pytest.mark.promises]
ROWS = get_config().global_batch_size
# Devices, and the rows that one takes at once: 0 for all of its own.
LAYOUTS = [(1, 0), (2, 0), (4, 0), (2, ROWS // 8)]


def deviation(tmp_path, smoke, steps, layouts, *flags):
    """The largest relative difference of any step's loss from that on the first layout."""
    folders = [tmp_path / f"{devices}-{rows}" for devices, rows in layouts]
    train_all(
        [
            (
                *smoke,
                f"--workdir={folder}",
                f"--cpu_devices={devices}",
                f"--config.runtime.max_rows_per_device={rows}",
                f"--config.max_steps={steps}",
                "--config.log_every_steps=1",
                *flags,
            )
            for folder, (devices, rows) in zip(folders, layouts, strict=True)
        ]
    )
    found = [losses(folder) for folder in folders]
    assert all(list(each) == list(range(1, steps + 1)) for each in found)
    values = np.array([list(each.values()) for each in found])
    return np.abs(values / values[0] - 1).max(axis=1)


def test_dropout_is_on():
    settings = get_config()
    assert settings.model.dropout > 0
    assert settings.model.attention_dropout > 0
    assert settings.task.mask_share > 0


def test_50_steps_in_float32_agree_to_1e_4(tmp_path, smoke, capsys):
    off = deviation(tmp_path, smoke, 50, LAYOUTS)
    with capsys.disabled():
        print(f"\n50 steps in float32, {LAYOUTS} (devices, rows at once): off by {off}")
    assert off.max() <= 1e-4


@pytest.mark.slow
def test_100_steps_in_float64_agree_to_1e_8(tmp_path, smoke, capsys):
    off = deviation(tmp_path, smoke, 100, LAYOUTS, "--config.runtime.precision=float64")
    with capsys.disabled():
        print(f"\n100 steps in float64, {LAYOUTS} (devices, rows at once): off by {off}")
    assert off.max() <= 1e-8
