"""Devices and precision as they are set up, and how a global batch is laid out."""

import subprocess
import sys

import pytest
import tensorflow as tf

from trainer.config import Runtime
from trainer.errors import UserError
from trainer.runtime import devices, processor


@pytest.mark.parametrize(
    ("batch", "replicas", "limit", "rows", "parts"),
    [
        (64, 1, 0, 64, 1),
        (64, 4, 0, 16, 1),
        (10, 4, 0, 3, 1),
        (10, 8, 0, 2, 1),
        (10, 10, 0, 1, 1),
        (64, 1, 16, 16 * 4, 4),
        (64, 1, 64, 64, 1),
        (64, 1, 63, 64, 2),
        (64, 2, 20, 32, 2),
        (10, 4, 2, 4, 2),
        (100, 3, 10, 36, 4),
        (7, 1, 3, 9, 3),
        (5, 5, 1, 1, 1),
    ],
)
def test_rows_and_parts(batch, replicas, limit, rows, parts):
    assert devices.rows_and_parts(batch, replicas, limit) == (rows, parts)


def test_rows_hold_the_batch_with_as_little_padding_as_the_parts_allow():
    for batch in range(1, 40):
        for replicas in range(1, min(batch, 5) + 1):
            for limit in range(7):
                rows, parts = devices.rows_and_parts(batch, replicas, limit)
                assert rows % parts == 0
                assert rows * replicas >= batch
                assert not limit or rows // parts <= limit
                assert (rows - parts) * replicas < batch  # no part could be a row shorter


def test_a_batch_smaller_than_the_replicas_is_refused():
    said = "config.global_batch_size=3 is smaller than the 4 replicas"
    with pytest.raises(UserError, match=said):
        devices.rows_and_parts(3, 4, 0)


def test_gpus_and_logical_cpus_exclude_each_other():
    with pytest.raises(UserError, match="exclude each other"):
        devices.start(Runtime(gpus=(0,), cpu_devices=2), 0)


@pytest.mark.long
def test_a_gpu_that_is_not_there_is_refused():
    script = (
        "from trainer.runtime import devices; from trainer.config import Runtime\n"
        "from trainer.errors import UserError\n"
        "try:\n"
        "    devices.start(Runtime(gpus=(63,)), 0)\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    assert "config.runtime.gpus names GPU 63, this machine has" in _run(script)


@pytest.mark.long
def test_start_sets_devices_precision_and_the_seed_of_the_weights():
    script = (
        "import keras, numpy as np, tensorflow as tf\n"
        "from trainer.runtime import devices\n"
        "from trainer.config import Runtime\n"
        "settings = Runtime(precision='float64', cpu_devices=3, inter_op_threads=2)\n"
        "strategy = devices.start(settings, 5)\n"
        "def draw():\n"
        "    return keras.initializers.RandomNormal()((3,)).numpy().tolist()\n"
        "first = draw()\n"
        "print(devices.describe(strategy, settings))\n"
        "print(keras.layers.Dense(1).dtype_policy.name, keras.config.floatx())\n"
        "keras.utils.set_random_seed(5)\n"
        "print(first == draw())\n"
    )
    lines = _run(script).splitlines()
    assert lines == [
        "MirroredStrategy with 3 replicas on CPU 0, CPU 1, CPU 2; float64; XLA off, deterministic"
        " on, TF32 off, memory growth on; threads auto/2 (intra/inter)",
        "float64 float64",
        "True",
    ]


@pytest.mark.parametrize(
    ("has", "precision", "warned"),
    [
        (False, "mixed_bfloat16", True),
        (True, "mixed_bfloat16", False),
        (None, "mixed_bfloat16", False),
        (False, "float32", False),
    ],
)
def test_bfloat16_that_the_processor_has_no_instructions_for_is_said(
    has, precision, warned, monkeypatch
):
    monkeypatch.setattr(processor, "has_bfloat16", lambda: has)
    on_cpu = tf.distribute.OneDeviceStrategy("/cpu:0")
    line = devices.slower(on_cpu, Runtime(precision=precision))
    assert bool(line) == warned
    assert not warned or "--config.runtime.precision=float32" in line


def test_xla_that_makes_the_products_too_is_said_on_a_cpu():
    on_cpu = tf.distribute.OneDeviceStrategy("/cpu:0")
    settings = Runtime(precision="float32", xla="step")
    assert "--config.runtime.xla=chains" in (devices.slower(on_cpu, settings) or "")


def _run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
