"""A run whose scores nobody could read again keeps none, and says so."""

import json

import pytest

pytestmark = pytest.mark.end_to_end
PARTS = """
import keras
import tensorflow as tf
import trainer.evaluation.scores
from trainer.models import network

if {few}:
    trainer.evaluation.scores.MAX_BYTES = 1000


@keras.saving.register_keras_serializable("odd")
class Odd(network.Network):
    def call(self, inputs, training=False, **more):
        logits = super().call(inputs, training, **more)
        return logits if training or not {odd} else logits + tf.constant([float("inf"), 0.0])


def build(config, vocab_size, classes):
    length, pairs = config.data.max_length, config.task.pairs
    shape = network.from_scratch(config.model, vocab_size, length, pairs)
    return Odd(shape, classes)
"""


@pytest.fixture
def train(launch, smoke, workdir, tmp_path):
    """Call it with what is odd; what the run said."""

    def train(**odd: bool) -> str:
        (tmp_path / "odd_parts.py").write_text(PARTS.format(**odd))
        flags = (*smoke, f"--workdir={workdir}", "--config.model.factory=odd_parts:build")
        ended = launch(*flags, "--config.max_steps=2", path=[tmp_path])
        assert ended.status == 0, ended.stderr
        return ended.stderr

    return train


def ended(launch, program, tmp_path, *flags):
    return launch(*flags, program=f"launch.{program}", path=[tmp_path])


@pytest.mark.long
def test_too_many_scores_are_told_before_the_first_step(train, launch, workdir, tmp_path):
    said = train(few=True, odd=False)
    first = said.index("Note: scores of test will not be kept: they make 32,000 bytes")
    assert first < said.index("step 2/2")
    assert "Note: scores of test are not kept: they make 32,000 bytes, at most 1,000" in said
    assert "launch.report --workdir" not in said
    assert not (workdir / "scores").exists()
    report = launch(f"--workdir={workdir}", "--trust=odd_parts", program="launch.report")
    assert report.status == 2
    assert report.stderr.startswith(f"error: --workdir={workdir} holds no scores of its test exam")
    trust = "--trust=odd_parts"
    predicted = ended(launch, "predict", tmp_path, f"--workdir={workdir}", trust, "--texts=a film")
    assert predicted.status == 0, predicted.stderr
    assert "not calibrated" not in predicted.stderr


@pytest.mark.long
def test_outputs_that_are_not_finite_are_not_calibrated(train, launch, workdir, tmp_path):
    said = train(few=False, odd=True)
    note = "not calibrated, as the model's outputs on validation are not all finite"
    assert note in said
    assert "Note: scores of test are not kept: the model's outputs are not all finite" in said
    result = json.loads((workdir / "result.json").read_text())
    assert result["temperature"] is result["test_calibration_error"]["after"] is None
    assert not (workdir / "calibration.json").exists()
    report = launch(f"--workdir={workdir}", "--trust=odd_parts", program="launch.report")
    assert report.status == 2
    assert report.stderr == f"error: --workdir={workdir}: {note}: there is nothing to report\n"
    where = (f"--workdir={workdir}", "--trust=odd_parts")
    predicted = ended(launch, "predict", tmp_path, *where, "--texts=a film")
    assert f"Note: {note}" in predicted.stderr
    assert predicted.status == 2
    assert "error: the model's outputs for --texts, row 1 are not finite" in predicted.stderr
    assert not predicted.stdout
    assert "Traceback" not in predicted.stderr
