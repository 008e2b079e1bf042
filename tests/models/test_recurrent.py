"""LSTMs that read one way and both, as a `model.factory`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.errors import UserError
from trainer.models.parameters import build_model, named_constants, named_parameters
from trainer.models.random import random_scope
from trainer.models.recurrent import Block

FACTORIES = ("lstm", "bilstm")
OF_CELL = ("kernel", "recurrent_kernel", "bias")


def build(name: str, seed: int = 0, **changes) -> keras.Model:
    """A model whose weights depend on the settings and the seed only."""
    keras.utils.set_random_seed(seed)
    settings = tiny.model_settings(factory=f"trainer.models.recurrent:{name}", **changes)
    return build_model(tiny.experiment(model=settings), tiny.VOCAB, tiny.CLASSES)


def both_ways() -> keras.Model:
    return build("bilstm", dropout=0.2)


@pytest.mark.parametrize(
    ("name", "readers"), [("lstm", ["forward"]), ("bilstm", ["forward", "backward"])]
)
def test_names_of_parameters(name, readers):
    parameters = named_parameters(model := build(name, depth=2))
    cells = [
        f"encoder/block_{i}/{reader}/lstm_cell/{what}"
        for i in range(2)
        for reader in readers
        for what in OF_CELL
    ]
    assert list(parameters) == [
        "encoder/embeddings/tokens/embeddings",
        *cells,
        "head/logits/kernel",
        "head/logits/bias",
    ]
    assert all("seed_generator" in name for name in named_constants(model))  # never drawn from
    width = 8 * len(readers)
    assert parameters["encoder/block_1/forward/lstm_cell/kernel"].shape == (width, 4 * 8)
    assert parameters["head/logits/kernel"].shape == (2 * width, tiny.CLASSES)


@pytest.mark.long
@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("head", ["mean", "max", "mean+max", "cls", "last"])
def test_padding_does_not_change_a_row(name, head):
    model = build(name, head=head, depth=2)
    batch = tiny.inputs(tiny.batch(4))
    length = int(batch["attention_mask"][0].sum())
    assert length < tiny.LENGTH
    alone = {key: value[:1, :length] for key, value in batch.items()}
    np.testing.assert_allclose(model(alone)[0], model(batch)[0], rtol=1e-5, atol=1e-7)
    other = {**batch, "input_ids": np.where(batch["attention_mask"], batch["input_ids"], 9)}
    np.testing.assert_array_equal(model(other), model(batch))


def test_what_a_token_has_seen():
    """One way all that stands before it; the other way all that comes after."""
    x = np.random.default_rng(0).normal(size=(1, 6, 4)).astype("float32")
    changed = x.copy()
    changed[0, 3] += 1
    keras.utils.set_random_seed(0)
    block = Block(4, both_ways=True)
    length = tf.constant([5])  # the last place is padding
    moved = np.abs(block(changed, length)[0] - block(x, length)[0]) > 0
    one, other = moved[:, :4].any(1), moved[:, 4:].any(1)
    assert one.tolist()[:5] == [False] * 3 + [True] * 2
    assert other.tolist()[:5] == [True] * 4 + [False]


def test_both_ways_are_those_of_keras():
    keras.utils.set_random_seed(0)
    block = Block(4, both_ways=True)
    keras_block = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    mask = tiny.batch(5)["attention_mask"]
    x = np.random.default_rng(0).normal(size=(*mask.shape, 3)).astype("float32")
    ours = block(x, mask.sum(1))
    keras_block.build(x.shape)
    keras_block.set_weights(block.get_weights())
    theirs = keras_block(x, mask=mask.astype(bool))
    real = mask[:, :, None]
    np.testing.assert_allclose(ours * real, theirs * real, rtol=1e-5, atol=1e-6)
    first, second = (layer.get_weights()[0] for layer in (block.forward, block.backward))
    assert not np.array_equal(first, second)


@pytest.mark.long
def test_same_losses_on_any_devices_in_any_parts(strategy_over):
    batches = tiny.batches(4, 16)

    def losses(devices, accumulate=1):
        how = {
            "accumulate": accumulate,
            "policy": "float64",
            "task": tiny.classification(mask_share=0.2),
        }
        model = tiny.Trainer(strategy_over(devices), batches, make_model=both_ways, **how)
        return model.losses(4)

    alone = losses(1)
    np.testing.assert_array_equal(losses(1), alone)
    for devices, accumulate in ((2, 1), (4, 2)):
        np.testing.assert_allclose(losses(devices, accumulate), alone, rtol=1e-12)
    assert len(set(alone)) == 4


@pytest.mark.long
@pytest.mark.parametrize("name", FACTORIES)
def test_learns_in_bfloat16(strategy_over, name):
    batches = [tiny.batch(16)] * 30
    trainer = tiny.Trainer(
        strategy_over(1), batches, make_model=lambda: build(name), policy="mixed_bfloat16"
    )
    losses = trainer.losses(30)
    assert losses[-1] < losses[0] - 0.1
    assert trainer.model(tiny.inputs(batches[0])).dtype == tf.bfloat16
    assert {v.dtype for v in trainer.weights().values()} == {np.dtype("float32")}


@pytest.mark.long
@pytest.mark.parametrize("place", ["dropout", "embedding_dropout", "head_dropout"])
def test_dropout_of_each_place(place):
    rates = dict.fromkeys(("dropout", "embedding_dropout", "head_dropout"), 0.0)
    batch = tiny.inputs(tiny.batch(4))

    def train(model, step):
        with random_scope(0, tf.constant(step), tf.constant(0)):
            return model(batch, training=True).numpy()

    model = build("bilstm", **rates)
    np.testing.assert_array_equal(train(model, 0), model(batch))
    model = build("bilstm", **(rates | {place: 0.5}))
    np.testing.assert_array_equal(train(model, 0), train(model, 0))
    assert not np.array_equal(train(model, 0), train(model, 1))


@pytest.mark.parametrize("name", FACTORIES)
def test_there_is_no_native_head(name):
    with pytest.raises(UserError, match="an LSTM has none: choose mean"):
        build(name, head="native")


@pytest.mark.parametrize("name", ["lstm", "bilstm"])
def test_outputs_for_tokens_are_refused(name):
    settings = tiny.model_settings(factory=f"trainer.models.recurrent:{name}")
    config = tiny.experiment(model=settings)
    with pytest.raises(
        UserError, match="whole texts only, this task needs them for each"
    ) as caught:
        build_model(config, tiny.VOCAB, tiny.CLASSES, kind="tokens")
    assert "\n" not in str(caught.value)
