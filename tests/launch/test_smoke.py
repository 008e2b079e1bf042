"""launch.smoke: a config that is right, and others that are broken on purpose, each in its way."""

import re
import subprocess
import sys

import pytest
import tickets
from programs import ROOT, environment, run

pytestmark = pytest.mark.end_to_end
FLAGS = [
    "--config=configs/files.py",
    "--config.data.train=tickets.csv",
    "--config.model.factory=my_parts:build",
    "--config.model.width=16",
    "--config.runtime.xla=off",
]
CHECKS = ["data", "train", "4 devices", "resume", "evaluate", "predict", "export", "2 workers"]
PARTS = '''
import keras
import numpy as np
import tensorflow as tf

from trainer.models.layers import Dropout, Pooling


class ByReplica(keras.layers.Layer):
    """Its outputs depend on the device that computes them."""

    def call(self, x):
        replica = tf.distribute.get_replica_context()
        number = replica.replica_id_in_sync_group if replica else 0
        return x * (1 + 0.1 * tf.cast(number, x.dtype))


class InPython(keras.layers.Layer):
    """A function of Python, which no file can hold."""

    def call(self, ids):
        return tf.ensure_shape(tf.numpy_function(np.abs, [ids], tf.int32), ids.shape)


def build(config, vocab_size, classes, layer=None, of_ids=None):
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: keras.Input([None], dtype="int32", name=name) for name in names}
    ids = inputs["input_ids"] if of_ids is None else of_ids(inputs["input_ids"])
    x = keras.layers.Embedding(vocab_size, config.model.width, name="words")(ids)
    x = Pooling("mean", name="mean")(x, inputs["attention_mask"])
    x = Dropout(0.1, name="dropout")(x if layer is None else layer(x))
    return keras.Model(inputs, keras.layers.Dense(classes, name="head")(x))


def by_replica(config, vocab_size, classes):
    return build(config, vocab_size, classes, layer=ByReplica())


def in_python(config, vocab_size, classes):
    return build(config, vocab_size, classes, of_ids=InPython())


def nan(labels, logits):
    return keras.ops.log(keras.ops.min(logits, -1) * 0 - 1)


def raises(labels, probabilities):
    raise ZeroDivisionError("no rows of the third class")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as a user has it: a file of rows, and one of code."""
    folder = tmp_path_factory.mktemp("smoke")
    with (folder / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        tickets.write(file, 200)
    (folder / "my_parts.py").write_text(PARTS)
    return folder


@pytest.fixture
def smoke(folder, tmp_path):
    """Runs the program there with some more flags: how it ended, and the status of each check."""

    def call(*flags):
        names = {flag.partition("=")[0] for flag in flags}
        kept = [flag for flag in FLAGS if flag.partition("=")[0] not in names]
        variables = {**environment(), "TMPDIR": str(tmp_path)}
        ended = run(*kept, *flags, program="launch.smoke", cwd=folder, env=variables)
        lines = re.findall(r"^(.*?) +(ok|FAILED) +[0-9.]+ s  (.*)$", ended.stdout, re.M)
        found = {name: (status, said) for name, status, said in lines}
        assert "Traceback" not in ended.stdout + ended.stderr
        return ended, found

    return call


def failed(found):
    return [name for name, (status, _) in found.items() if status == "FAILED"]


@pytest.mark.cluster
def test_a_right_config_agrees_in_everything_and_leaves_nothing(smoke, tmp_path):
    ended, found = smoke()
    assert ended.status == 0, ended.stdout + ended.stderr
    assert list(found) == CHECKS
    assert failed(found) == []
    assert "bit for bit" in found["resume"][1]
    assert "(texts)" in found["export"][1]
    assert ended.stdout.splitlines()[-1].startswith("All 8 checks agreed")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.cluster
def test_numbers_that_depend_on_the_replica(smoke, tmp_path):
    ended, found = smoke("--config.model.factory=my_parts:by_replica")
    assert ended.status == 1, ended.stdout + ended.stderr
    assert list(found) == CHECKS
    assert failed(found) == ["4 devices", "2 workers"]
    assert "train/loss" in found["4 devices"][1]
    assert "(allowed: 1e-05)" in found["2 workers"][1]
    (kept,) = tmp_path.iterdir()
    assert (kept / "devices" / "metrics.jsonl").exists()
    assert str(kept) in ended.stdout.splitlines()[-1]


@pytest.mark.cluster
def test_an_export_that_cannot_be(smoke):
    ended, found = smoke("--config.model.factory=my_parts:in_python")
    assert ended.status == 1, ended.stdout + ended.stderr
    assert failed(found) == ["export"]
    assert "cannot be used in a process without this library" in found["export"][1]


@pytest.mark.cluster
def test_a_loss_that_is_nan(smoke):
    ended, found = smoke("--config.task.loss=my_parts:nan", "--config.task.label_smoothing=0")
    assert ended.status == 1, ended.stdout + ended.stderr
    assert failed(found) == CHECKS[1:]
    for name in ("train", "4 devices", "2 workers", "resume"):
        assert re.search("step 0.* became infinite or NaN", found[name][1])
    assert "no run has ended" in found["export"][1]


@pytest.mark.cluster
def test_a_metric_that_raises(smoke):
    ended, found = smoke("--config.task.metrics=('my_parts:raises',)")
    assert (ended.status, [*found]) == (2, ["data"]), ended.stdout + ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "ZeroDivisionError: no rows of the third class" in ended.stderr


def test_the_page_tells_of_every_check():
    page = (ROOT / "docs" / "use" / "smoke.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w ]+) \| ", page, re.M)
    assert sorted(rows) == sorted([*CHECKS, "check", "float32"])


def one_class(folder):
    (folder / "one.csv").write_text("message,queue\n" + "a text,billing\n" * 50)
    return "--config.data.train=one.csv"


@pytest.mark.long
def test_data_of_one_class(smoke, folder, tmp_path):
    ended, found = smoke(one_class(folder))
    assert (ended.status, found) == (2, {})
    (line,) = ended.stderr.splitlines()
    assert "1 distinct labels: at least 2 are needed" in line
    assert [*tmp_path.iterdir()] == []


@pytest.mark.long
def test_a_folder_of_the_users_is_never_removed(smoke, folder, tmp_path):
    (tmp_path / "mine").mkdir()
    ended, _ = smoke(one_class(folder), f"--workdir={tmp_path / 'mine'}")
    assert ended.status == 2
    assert (tmp_path / "mine").is_dir()


@pytest.mark.long
def test_sigterm_names_the_folder_that_is_left(folder, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.smoke", *FLAGS],
        cwd=folder,
        env={**environment(), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("A few steps of each phase")
    assert process.stdout.readline().startswith("data       ok")
    process.terminate()
    _, said = process.communicate(timeout=120)
    (kept,) = tmp_path.iterdir()
    assert (process.returncode, said) == (143, f"error: interrupted; {kept} is left\n")


def test_a_folder_that_is_there_is_refused(launch, tmp_path):
    (tmp_path / "file").touch()
    flags = ("--config=configs/smoke.py", f"--workdir={tmp_path}")
    ended = launch(*flags, program="launch.smoke")
    assert ended.status == 2
    assert "is there already: remove it, or choose another" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
