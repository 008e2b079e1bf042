"""Replaced tokens: what the generator writes, and what is learned from it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import words

from trainer.batch import IDS, INPUTS, MASK, POSITIONS, SELECTED, TYPES, WEIGHT
from trainer.errors import UserError
from trainer.models.architecture import from_scratch
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.random import random_scope
from trainer.models.replaced import _sampled, generator_shape
from trainer.phases import layer_depths
from trainer.tasks.replaced import ReplacedTokens
from trainer.tasks.task import Scores, weighted_sums

TASK = ReplacedTokens(mask_share=0.4).bound({}, words.TOKENIZER)


@pytest.fixture(scope="module")
def model() -> Network:
    keras.utils.set_random_seed(0)
    shape = from_scratch(tiny.no_dropout(depth=2), tiny.VOCAB, 30, pairs=False, kind="tokens")
    made = Network(shape, 1, TASK.head(shape))
    made(tiny.inputs(tiny.batch(2)))
    return made


def batch(count=40):
    texts = [text for text in words.texts(3 * count) if len(words.ids_of(text)) < 20][:count]
    rows = [[words.BEGIN, *words.ids_of(text), words.END] for text in texts]
    ids = np.array([row + [words.PAD] * (22 - len(row)) for row in rows], np.int32)
    mask = (np.arange(22) < np.array([[len(row)] for row in rows])).astype(np.int32)
    return {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids), WEIGHT: np.ones(count, np.float32)}


def prepared(step=0):
    given = {name: tf.constant(value) for name, value in batch().items()}
    with random_scope(1, tf.constant(step), tf.constant(0)):
        return TASK.prepare(given, training=True)


def outputs_of(model, given):
    return model({name: given[name] for name in TASK.inputs}, training=False)


def test_the_generator_writes_at_selected_positions_only(model):
    given = prepared()
    ids, original = outputs_of(model, given)[IDS].numpy(), given["original"].numpy()
    allowed = np.zeros(ids.shape, bool)
    for row, (places, counts) in enumerate(zip(given[POSITIONS], given[SELECTED], strict=True)):
        allowed[row, places.numpy()[counts.numpy() > 0]] = True
    assert (ids == original)[~allowed].all()
    # A generator that knows nothing yet writes another token nearly always, and never the mask's.
    assert 0.9 < (ids != original)[allowed].mean() < 1
    assert ids.min() >= 0
    assert ids.max() < tiny.VOCAB


def test_tokens_are_drawn_with_their_probabilities():
    logits = tf.constant([[[0.0, 1.0, -1.0, 2.0]]])
    at = (np.arange(10_000) + 0.5) / 10_000
    drawn = _sampled(tf.repeat(logits, 10_000, axis=1), tf.constant(at[None], tf.float32))
    shares = np.bincount(drawn[0], minlength=4) / 10_000
    np.testing.assert_allclose(shares, tf.nn.softmax(logits)[0, 0], atol=2e-4)
    assert _sampled(logits, tf.constant([[0.0]])).numpy() == 0
    assert _sampled(logits, tf.constant([[1 - 2**-24]])).numpy() == 3


def test_what_is_replaced_is_what_differs_from_the_text(model):
    given = prepared()
    outputs = outputs_of(model, given)
    differs = (outputs[IDS] != given["original"]).numpy()
    sure = {**outputs, "replaced": tf.where(differs, 50.0, -50.0)}
    losses, weights = TASK.losses(given, sure), TASK.weights(given)
    assert losses.keys() == weights.keys() == {"words", "replaced"}
    assert float(tf.reduce_max(losses["replaced"])) < 1e-6
    np.testing.assert_array_equal(weights["replaced"], given[MASK])
    measured = TASK.measures(given, sure)
    assert measured["found"].numpy().sum() == differs.sum()
    wrong = {**outputs, "replaced": tf.where(differs, -1.0, 1.0)}
    np.testing.assert_allclose(
        TASK.losses(given, wrong)["replaced"], 50 * np.log1p(np.e), rtol=1e-6
    )
    assert TASK.measures(given, wrong)["found"].numpy().sum() == 0


def test_the_generator_does_not_learn_from_the_discriminator(model):
    given = prepared()
    parameters = named_parameters(model)
    with tf.GradientTape() as tape:
        (_, _), (replaced, _) = weighted_sums(TASK, given, outputs_of(model, given))
    gradients = tape.gradient(replaced, parameters)
    generator = {n for n in parameters if n.startswith(("head/generator/", "head/words/"))}
    assert len(generator) > 20
    assert all(gradients[name] is None for name in generator)
    assert all(gradients[name] is not None for name in parameters.keys() - generator)


def test_both_share_the_token_vectors(model):
    tables = [name for name in named_parameters(model) if "tokens" in name]
    assert tables == ["encoder/embeddings/tokens/embeddings"]
    given = prepared()
    with tf.GradientTape() as tape:
        (words_sum, _), _ = weighted_sums(TASK, given, outputs_of(model, given))
    assert tape.gradient(words_sum, model.encoder.embeddings.tokens.embeddings) is not None


def test_without_masks_the_text_itself_is_judged(model):
    given = {name: tf.constant(batch()[name]) for name in INPUTS}
    assert model(given).shape == (40, 22)


@pytest.mark.parametrize(("width", "heads", "share"), [(256, 4, 0.25), (64, 2, 0.25), (8, 2, 0.1)])
def test_the_shape_of_the_generator(width, heads, share):
    settings = tiny.model_settings(width=width, heads=heads)
    shape = generator_shape(from_scratch(settings, 40, 30, pairs=False), share)
    assert shape.width % shape.heads == 0
    assert shape.width // shape.heads % 2 == 0
    assert abs(shape.width - width * share) <= 2 * shape.heads
    assert shape.embedding_width == width


def test_blocks_of_the_generator_are_no_layers_of_the_encoder(model):
    depths = layer_depths(list(named_parameters(model)))
    top = max(depths.values())
    assert top == 3
    assert {d for name, d in depths.items() if name.startswith("head/")} == {top}


def test_precision_and_recall():
    gold = {"words": np.ones(2), "bytes": np.ones(2), "rows": np.arange(2)}
    measures = {
        "right": np.ones(2),
        "replaced": np.array([4.0, 4.0]),
        "taken": np.array([3.0, 2.0]),
        "found": np.array([1.0, 1.0]),
    }
    sums = {"words": np.ones(2), "replaced": np.ones(2)}
    found = TASK.judge(gold, Scores(sums, sums, {}, measures))
    assert (found["replaced_precision"], found["replaced_recall"]) == (0.4, 0.25)
    assert found["loss"] == 2


def test_settings_that_make_no_sense():
    for settings in ({"next_sentence": True}, {"tied": False}):
        with pytest.raises(UserError, match="leave both out"):
            ReplacedTokens(**settings).validate()
