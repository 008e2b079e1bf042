"""The encoder and the classifier on top of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.config import Data, Experiment
from trainer.models import network
from trainer.models.architecture import from_scratch
from trainer.models.parameters import named_parameters
from trainer.models.random import random_scope


@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("head_width", [0, 5])
def test_logits_for_any_number_of_classes(classes, head_width):
    model = tiny.classifier(tiny.model_settings(head_width=head_width), classes)
    logits = model(tiny.inputs(tiny.batch(4)))
    assert logits.shape == (4, classes)
    assert np.isfinite(logits).all()
    assert ("head/hidden/kernel" in named_parameters(model)) == bool(head_width)


POSITIONS, HEADS = ("sinusoidal", "learned", "none"), ("mean+max", "mean", "max", "cls", "last")


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize(
    ("positions", "head"),
    [
        pytest.param(p, h, marks=[] if p == POSITIONS[0] or h == HEADS[0] else pytest.mark.long)
        for p in POSITIONS
        for h in HEADS
    ],
)
def test_padding_does_not_change_a_row(norm, positions, head):
    settings = tiny.model_settings(norm=norm, positions=positions, head=head)
    model = tiny.classifier(settings)
    batch = tiny.inputs(tiny.batch(4))
    length = int(batch["attention_mask"][0].sum())
    assert length < tiny.LENGTH
    alone = {key: value[:1, :length] for key, value in batch.items()}
    np.testing.assert_allclose(model(alone)[0], model(batch)[0], rtol=1e-4, atol=1e-6)


def tagger(outputs: int = 3, **changes) -> network.Network:
    """A network with outputs for each token."""
    keras.utils.set_random_seed(0)
    settings = tiny.model_settings(**changes)
    model = network.Network(
        from_scratch(settings, tiny.VOCAB, tiny.LENGTH, False, "tokens"), outputs
    )
    model.build()
    return model


@pytest.mark.parametrize("outputs", [1, 7])
@pytest.mark.parametrize("head_width", [0, 5])
def test_outputs_for_each_token(outputs, head_width):
    model = tagger(outputs, head_width=head_width)
    batch = tiny.inputs(tiny.batch(4))
    assert model(batch).shape == (4, tiny.LENGTH, outputs)
    encoded = model.encode(batch)
    assert encoded.shape == (4, tiny.LENGTH, 8)
    np.testing.assert_array_equal(model.head(encoded), model(batch))
    vectors = model.encoder.embeddings.tokens(batch["input_ids"])
    np.testing.assert_array_equal(model.logits_of_vectors(vectors, batch), model(batch))
    of_head = {n: tuple(v.shape) for n, v in named_parameters(model).items() if "head/" in n}
    assert of_head == model.architecture.head.shapes(8, outputs)


def test_padding_does_not_change_a_token():
    model, batch = tagger(), tiny.inputs(tiny.batch(4))
    length = int(batch["attention_mask"][0].sum())
    assert length < tiny.LENGTH
    alone = {key: value[:1, :length] for key, value in batch.items()}
    expected = model(batch)[0, :length]
    np.testing.assert_allclose(model(alone)[0], expected, rtol=1e-4, atol=1e-6)


def test_a_tagger_drops_numbers_of_each_token_in_training():
    model, batch = tagger(**dict.fromkeys(("dropout", "attention_dropout"), 0.0)), tiny.batch(4)
    encoded = np.ones((4, tiny.LENGTH, 8), np.float32)
    with random_scope(0, tf.constant(0), tf.constant(0)):
        logits = model.head(encoded, training=True).numpy()
    assert len(np.unique(logits[..., 0].round(6))) > len(batch["input_ids"])


@pytest.mark.parametrize("name", ["outputs", "classes"])
def test_settings_of_a_file_make_the_model_again(name):
    """An older file calls the number of outputs `classes`."""
    model = tagger(7)
    config = model.get_config()
    config = {**config, name: config.pop("outputs")}
    again = network.Network.from_config(config)
    assert (again.architecture, again.outputs) == (model.architecture, 7)
    assert again.head.logits.units == 7


def test_what_stands_under_padding_does_not_matter():
    model = tiny.classifier()
    batch = tiny.inputs(tiny.batch(4))
    other = {**batch, "input_ids": np.where(batch["attention_mask"], batch["input_ids"], 9)}
    np.testing.assert_array_equal(model(other), model(batch))


def test_dropout_works_only_in_training_and_by_the_scope():
    model = tiny.classifier()
    batch = tiny.inputs(tiny.batch(4))
    np.testing.assert_array_equal(model(batch), model(batch, training=False))

    def train(step):
        with random_scope(0, tf.constant(step), tf.constant(0)):
            return model(batch, training=True).numpy()

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.array_equal(train(0), train(1))
    with pytest.raises(RuntimeError, match="random_scope"):
        model(batch, training=True)


def test_a_causal_encoder_does_not_look_ahead():
    settings = tiny.model_settings(causal=True, depth=2)
    encoder = tiny.classifier(settings).encoder
    ids = tiny.batch(2)["input_ids"]
    changed = ids.copy()
    changed[:, 4:] += 1
    mask = np.ones_like(ids)
    before, after = encoder(ids, mask).numpy(), encoder(changed, mask).numpy()
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert not np.allclose(before[:, 4:], after[:, 4:])


def test_scores_of_every_block_on_request():
    encoder = tiny.classifier(tiny.model_settings(depth=2)).encoder
    batch = tiny.batch(3)
    x, scores = encoder(batch["input_ids"], batch["attention_mask"], return_scores=True)
    assert x.shape == (3, tiny.LENGTH, 8)
    assert [s.shape for s in scores] == [(3, 2, tiny.LENGTH, tiny.LENGTH)] * 2


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_computes_near_float32_and_keeps_float32_weights(policy):
    batch = tiny.inputs(tiny.batch(4))
    expected = tiny.classifier()(batch)
    with tiny.precision(policy):
        model = tiny.classifier()
    logits = model(batch)
    assert logits.dtype == policy.removeprefix("mixed_")
    assert {v.dtype for v in named_parameters(model).values()} == {tf.float32}
    np.testing.assert_allclose(tf.cast(logits, tf.float32), expected, rtol=0.05, atol=0.02)


def test_every_layer_takes_the_policy():
    with tiny.precision("float64"):
        model = tiny.classifier(tiny.model_settings(norm="pre", head_width=4))
    assert {v.dtype for v in named_parameters(model).values()} == {tf.float64}
    assert model(tiny.inputs(tiny.batch(2))).dtype == tf.float64
    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    assert policies == {"float64"}


def test_build_reads_the_experiment():
    config = Experiment(data=Data(max_length=16), model=tiny.model_settings(positions="learned"))
    model = network.build(config, 50, 4)
    assert isinstance(model, keras.Model)
    ids = np.ones((2, 16), np.int32)
    logits = model({"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids})
    assert logits.shape == (2, 4)
    shapes = {name: tuple(v.shape) for name, v in named_parameters(model).items()}
    assert shapes["encoder/embeddings/tokens/embeddings"] == (50, 8)
    assert shapes["encoder/embeddings/positions/embeddings"] == (16, 8)
    assert shapes["head/logits/kernel"] == (16, 4)  # mean+max


def test_two_texts_have_segment_vectors():
    settings = tiny.model_settings()
    shape = from_scratch(settings, tiny.VOCAB, tiny.LENGTH, pairs=True)
    model = network.Network(shape, 2)
    batch = tiny.inputs(tiny.batch(4))
    types = np.zeros_like(batch["input_ids"])
    one = model({**batch, "token_type_ids": types})
    types[:, 1:] = 1
    assert not np.allclose(one, model({**batch, "token_type_ids": types}))
    assert "encoder/embeddings/types/embeddings" in named_parameters(model)


class Difference(keras.layers.Layer):
    """A task's own head: of the first token and the last real one."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(1,), initializer="ones")

    def call(self, vectors, inputs, training=False):
        last = tf.reduce_sum(inputs["attention_mask"], 1) - 1
        return self.scale * (vectors[:, 0] - tf.gather(vectors, last, batch_dims=1))


def test_a_tasks_own_head_takes_the_vectors_and_the_inputs():
    shape = from_scratch(tiny.no_dropout(), tiny.VOCAB, tiny.LENGTH, pairs=False)
    model = network.Network(shape, 8, Difference())
    batch = tiny.inputs(tiny.batch(4))
    outputs = model(batch)
    vectors = model.encode(batch)
    assert vectors.shape == (4, tiny.LENGTH, 8)
    np.testing.assert_array_equal(outputs, model.head(vectors, batch))
    assert "head/scale" in named_parameters(model)
    assert [name for name in named_parameters(model) if name.startswith("head/")] == ["head/scale"]
    with pytest.raises(NotImplementedError, match="the head is a task's own"):
        model.get_config()
