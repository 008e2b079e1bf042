"""A batch that does not fit in memory: one line that says what would, and it does."""

import pytest
from programs import losses

pytestmark = pytest.mark.end_to_end
# 2 rows take 64 KB of it, 8 rows 4 TB.
PART = """
import keras
import tensorflow as tf

from trainer.models.network import build


class Hungry(keras.Model):
    def __init__(self, inner):
        super().__init__(name="classifier")
        self.inner = inner

    def call(self, inputs, training=False, **how):
        logits = self.inner(inputs, training=training, **how)
        if training != TRAINING:
            return logits
        rows = tf.cast(tf.shape(logits)[0], tf.int64)
        return logits + 0 * tf.reduce_max(tf.tile(logits[0], [rows**13]))


def hungry(config, vocab_size, classes):
    return Hungry(build(config, vocab_size, classes))
"""


def flags(smoke, folder, training: bool) -> list[str]:
    (folder / "part.py").write_text(f"TRAINING = {training}\n{PART}")
    return [
        *smoke,
        f"--workdir={folder / 'run'}",
        "--config.model.factory=part:hungry",
        "--config.global_batch_size=8",
        "--config.max_steps=4",
        "--config.log_every_steps=1",
        "--config.phases[0].train=('.*',)",
    ]


@pytest.mark.long
def test_a_batch_that_does_not_fit_names_one_that_does(smoke, launch, tmp_path):
    small = flags(smoke, tmp_path, training=True)
    ended = launch(*small, path=[tmp_path])
    assert ended.status == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: 8 rows of up to"), ended.stderr
    # It cannot recompute: its call has no such argument.
    said = "go on with config.runtime.max_rows_per_device=4, which changes no number"
    assert ended.stderr.splitlines()[-1].endswith(said)
    ended = launch(*small, "--config.runtime.max_rows_per_device=2", path=[tmp_path])
    assert ended.status == 0, ended.stderr
    assert list(losses(tmp_path / "run")) == [1, 2, 3, 4]


@pytest.mark.long
def test_an_evaluation_that_does_not_fit_names_one_that_does(smoke, launch, tmp_path):
    """15 rows on 2 devices are 16."""
    how = ["--config.evaluation.batch_size=15", "--config.runtime.cpu_devices=2"]
    ended = launch(*flags(smoke, tmp_path, training=False), *how, path=[tmp_path])
    assert ended.status == 2, ended.stderr
    said = (
        "config.evaluation.batch_size=16 does not fit in the memory of a device: go on with 8"
        " (--config.evaluation.batch_size=8; for launch.evaluate, --batch_size=8)"
    )
    assert ended.stderr.splitlines()[-1] == f"error: {said}"
