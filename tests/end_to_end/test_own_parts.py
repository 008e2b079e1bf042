"""A user's own model, loss and metric: the page docs/use/own_model.md, line by line."""

import json
import re
import shlex

import numpy as np
import pytest
from programs import ROOT, contents, losses, newest, points

pytestmark = pytest.mark.end_to_end
PAGE = (ROOT / "docs" / "use" / "own_model.md").read_text()
CODE = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))
# By the last part of its workdir: the flags, but for the workdir.
COMMANDS = {
    command.split("--workdir=runs/")[1].split()[0]: [
        word
        for word in shlex.split(command)
        if word.startswith("--") and not word.startswith("--workdir")
    ]
    for command in re.findall(r"```sh\npython -m launch\.train (.*?)```", PAGE, re.S)
}
STEPS = 50


@pytest.fixture
def path(tmp_path):
    """A folder with my_parts.py, and a few models that are refused."""
    (tmp_path / "my_parts.py").write_text(CODE)
    (tmp_path / "refused.py").write_text(REFUSED)
    return tmp_path


def trained(launch, cache, path, workdir, command, *flags):
    ended = launch(
        *COMMANDS[command],
        cache,
        f"--workdir={workdir}",
        f"--config.max_steps={STEPS}",
        "--config.log_every_steps=1",
        *flags,
        path=[path],
    )
    assert ended.status == 0, ended.stderr
    return losses(workdir)


def test_the_page_has_what_is_tested():
    assert sorted(COMMANDS) == ["bag", "convolutions"]


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_own_parts_train_alike_on_two_devices(launch, cache, path, command):
    folders = [path / "one", path / "two"]
    one, two = (
        trained(launch, cache, path, folder, command, f"--cpu_devices={i + 1}")
        for i, folder in enumerate(folders)
    )
    assert list(one) == list(range(1, STEPS + 1))
    assert list(one.values()) == pytest.approx(list(two.values()), rel=1e-4)
    result = json.loads((folders[0] / "result.json").read_text())
    assert result["test"]["examples"] == 1000
    if command == "bag":
        assert 0 <= result["test"]["worst_recall"] <= result["test"]["accuracy"]
        assert "worst_recall" in result["validation"]
        assert (STEPS, "validation/worst_recall") in points(folders[0])
        (used,) = re.findall(r"```sh\npython -m launch\.predict (.*?)\n```", PAGE)
        where, *flags = shlex.split(used)
        assert where == "--workdir=runs/bag"
        where = f"--workdir={folders[0]}"
        ended = launch(where, *flags, program="launch.predict", path=[path])
        assert ended.status == 0, ended.stderr
        assert json.loads(ended.stdout)["label"] in ("neg", "pos")


@pytest.mark.slow
def test_own_parts_resume(launch, cache, path):
    whole, cut = path / "whole", path / "cut"
    command, more = "convolutions", "--config.max_steps=60"
    trained(launch, cache, path, cut, command)
    assert trained(launch, cache, path, cut, command, more) == trained(
        launch, cache, path, whole, command, more
    )
    assert contents(newest(cut / "checkpoints")) == contents(newest(whole / "checkpoints"))


def test_the_loss_is_what_the_page_says():
    parts: dict = {}
    exec(CODE, parts)
    logits = np.array([[2.0, 0.0, 0.5], [0.0, 0.25, 0.0]], np.float32)
    assert parts["margin"](np.array([0, 1]), logits).numpy() == pytest.approx([0, 0.75])
    assert parts["worst_recall"](np.array([0, 0, 1, 2]), np.eye(3)[[0, 1, 1, 2]]) == 0.5


REFUSED = """
import keras
from my_parts import Pooling


def bag(classes, vocab_size, *layers, **head):
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: keras.Input([None], dtype="int32", name=name) for name in names}
    words = keras.layers.Embedding(vocab_size, 8, name="words")
    x = Pooling("mean", name="mean")(words(inputs["input_ids"]), inputs["attention_mask"])
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="head", **head)(x))


def dropout(config, vocab_size, classes):
    return bag(classes, vocab_size, keras.layers.Dropout(0.5))


def noise(config, vocab_size, classes):
    return bag(classes, vocab_size, keras.layers.GaussianNoise(0.5))


def batch_norm(config, vocab_size, classes):
    return bag(classes, vocab_size, keras.layers.BatchNormalization())


def regularizer(config, vocab_size, classes):
    return bag(classes, vocab_size, kernel_regularizer="l2")


def no_model(config, vocab_size, classes):
    return keras.layers.Dense(classes)


def too_wide(config, vocab_size, classes):
    return bag(classes + 1, vocab_size)


def breaks(config, vocab_size, classes):
    raise IndexError("of my own")


class Breaks(keras.Model):
    def call(self, inputs, training=False):
        raise KeyError("words")


def breaks_when_called(config, vocab_size, classes):
    return Breaks()


class Branches(Breaks):
    def call(self, inputs, training=False):
        words = inputs["input_ids"]
        return keras.ops.one_hot(words[:, 0], 2) if words[0, 0] > 0 else keras.ops.zeros([2, 2])


def branches(config, vocab_size, classes):
    return Branches()


def mean_loss(labels, logits):
    return keras.ops.mean(logits)


def branching_loss(labels, logits):
    return keras.ops.mean(logits, -1) if keras.ops.max(logits) > 0 else keras.ops.max(logits, -1)


def counting_loss(labels, logits):
    return keras.ops.stack([logits[row, 0] for row in range(logits.shape[0])])
"""


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("model.factory=refused:dropout", r"trainer\.models\.layers\.Dropout"),
        ("model.factory=refused:noise", r"refused:noise: .*random numbers"),
        ("model.factory=refused:batch_norm", "LayerNormalization"),
        ("model.factory=refused:regularizer", r"config\.optimizer\.weight_decay"),
        ("model.factory=refused:no_model", "returned Dense, not a keras.Model"),
        ("model.factory=refused:too_wide", r"returned shape \(2, 3\) for 2 rows and 2 classes"),
        ("model.factory=refused:breaks", "IndexError: of my own"),
        (
            "model.factory=refused:breaks_when_called",
            r"KeyError.*words.*refused\.py, line 46",
        ),
        ("model.factory=refused:branches", "raised OperatorNotAllowedInGraphError"),
        ("model.factory=refused:nothing", "module refused has no 'nothing'"),
        ("model.factory=nowhere:build", "there is no module 'nowhere'"),
        ("model.factory=refused", "is not an import path"),
        ("task.loss=refused:mean_loss", "one loss per example"),
        ("task.loss=refused:branching_loss", "raised OperatorNotAllowedInGraphError"),
        ("task.loss=refused:counting_loss", "raised TypeError"),
        ("task.loss=refused:nothing", "module refused has no 'nothing'"),
        ("task.metrics=('refused:nothing',)", "module refused has no 'nothing'"),
        ("evaluation.metric=recal", "is not one of: loss, accuracy"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(launch, smoke, path, workdir, flag, said):
    ended = launch(*smoke, f"--workdir={workdir}", f"--config.{flag}", path=[path])
    assert ended.status == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(said, last), last
    assert not workdir.exists()
