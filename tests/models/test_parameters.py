"""Models by import path: what is refused, and how parameters are named."""

import keras
import pytest
import tensorflow as tf
import tiny

from trainer.config import Data, Experiment
from trainer.errors import UserError
from trainer.models import network
from trainer.models.parameters import build_model, named_constants, named_parameters

PAIR = ("kernel", "bias")


def _experiment(function="", **changes):
    factory = {"factory": f"{__name__}:{function}"} if function else {}
    return Experiment(data=Data(max_length=8), model=tiny.model_settings(**factory, **changes))


class Bag(keras.Model):
    """A mean of token vectors, whatever is done to them, and a linear layer."""

    def __init__(self, classes, *between, regularizer=None, name="bag"):
        super().__init__(name=name)
        self.tokens = keras.layers.Embedding(tiny.VOCAB, 4, name="tokens")
        self.between = between
        self.head = keras.layers.Dense(classes, kernel_regularizer=regularizer, name="head")

    def call(self, inputs, training=False):
        x = keras.ops.mean(self.tokens(inputs["input_ids"]), 1)
        for layer in self.between:
            x = layer(x, training=training)
        return self.head(x)


def bag(config, vocab_size, classes):
    return Bag(classes)


def bag_with_constant(config, vocab_size, classes):
    frozen = keras.layers.LayerNormalization(name="norm", trainable=False)
    return Bag(classes, frozen)


def with_keras_dropout(config, vocab_size, classes):
    return Bag(classes, keras.layers.Dropout(0.1))


def with_batch_norm(config, vocab_size, classes):
    return Bag(classes, keras.layers.BatchNormalization(name="batch_norm"))


def with_regularizer(config, vocab_size, classes):
    return Bag(classes, regularizer="l2")


def one_class_too_many(config, vocab_size, classes):
    return Bag(classes + 1)


def twice_the_same_name(config, vocab_size, classes):
    return Bag(classes, keras.layers.Dense(4, name="same"), keras.layers.Dense(4, name="same"))


class Tagger(Bag):
    """A linear layer on each token's vector."""

    def call(self, inputs, training=False):
        return self.head(self.tokens(inputs["input_ids"]))


def tagger(config, vocab_size, classes):
    return Tagger(classes)


def tagger_with_one_too_many(config, vocab_size, classes):
    return Tagger(classes + 1)


def of_the_library(config, vocab_size, classes):
    return network.build(config, vocab_size, classes)


def not_a_model(config, vocab_size, classes):
    return 3


def test_names_of_the_default_model():
    model = build_model(_experiment(embedding_norm=True), tiny.VOCAB, 3)
    block = "encoder/block_0"
    linear = ["query", "key", "value", "output_projection"]
    norms = ["encoder/embeddings/norm", f"{block}/attention_norm", f"{block}/ffn_norm"]
    expected = ["encoder/embeddings/tokens/embeddings", "head/logits/kernel"]
    expected += ["head/logits/bias"]
    expected += [f"{norm}/{what}" for norm in norms for what in ("gamma", "beta")]
    expected += [f"{block}/attention/{name}/{what}" for name in linear for what in PAIR]
    expected += [f"{block}/{name}/{what}" for name in ("ffn_in", "ffn_out") for what in PAIR]
    assert sorted(named_parameters(model)) == sorted(expected)
    assert named_constants(model) == {}


def test_own_model_and_its_constants():
    model = build_model(_experiment("bag_with_constant"), tiny.VOCAB, 3)
    assert list(named_parameters(model)) == ["tokens/embeddings", "head/kernel", "head/bias"]
    assert list(named_constants(model)) == ["norm/gamma", "norm/beta"]
    assert all(isinstance(v, tf.Variable) for v in named_parameters(model).values())


def test_the_names_are_the_same_for_a_second_model_of_the_process():
    first, second = (build_model(_experiment(f), tiny.VOCAB, 3) for f in ("bag", "bag"))
    assert list(named_parameters(first)) == list(named_parameters(second))


def test_a_larger_token_table():
    model = build_model(_experiment(vocab_size=64), tiny.VOCAB, 3)
    assert named_parameters(model)["encoder/embeddings/tokens/embeddings"].shape == (64, 8)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("with_keras_dropout", "use trainer.models.layers.Dropout"),
        ("with_batch_norm", "'batch_norm' normalises over the rows of one replica"),
        ("with_regularizer", "losses of its own"),
        ("one_class_too_many", r"shape \(2, 4\) for 2 rows and 3 classes"),
        ("not_a_model", "returned int, not a keras.Model"),
        ("no_such_function", "no_such_function"),
    ],
)
def test_refuses_a_model_that_would_not_train_as_promised(function, said):
    with pytest.raises(UserError, match=said) as caught:
        build_model(_experiment(function), tiny.VOCAB, 3)
    assert "\n" not in str(caught.value)


def test_an_own_model_for_tokens():
    model = build_model(_experiment("tagger"), tiny.VOCAB, 3, kind="tokens")
    assert model(tiny.inputs(tiny.batch(2))).shape == (2, tiny.LENGTH, 3)
    assert build_model(_experiment(), tiny.VOCAB, 3, kind="tokens").pooling.kind == "tokens"


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        ("tagger_with_one_too_many", "tokens", r"\(2, 8, 4\) for 2 rows of 8 tokens and 3 classes"),
        ("bag", "tokens", r"shape \(2, 3\) .*, logits \[2, 8, 3\] are needed"),
        ("of_the_library", "tokens", r"shape \(2, 3\) .*, logits \[2, 8, 3\] are needed"),
        ("tagger", "sequence", r"shape \(2, 8, 3\) for 2 rows and 3 classes"),
    ],
)
def test_refuses_a_model_of_another_kind(function, kind, said):
    with pytest.raises(UserError, match=said) as caught:
        build_model(_experiment(function), tiny.VOCAB, 3, kind=kind)
    assert "\n" not in str(caught.value)


def test_a_factory_may_call_the_library_s():
    model = build_model(_experiment("of_the_library"), tiny.VOCAB, 3)
    assert list(named_parameters(model)) == list(
        named_parameters(build_model(_experiment(), tiny.VOCAB, 3))
    )


def test_refuses_a_vocabulary_smaller_than_the_tokenizer():
    with pytest.raises(UserError, match=r"has 40 tokens, config.model.vocab_size is 32"):
        build_model(_experiment(vocab_size=32), tiny.VOCAB, 3)


def test_refuses_two_variables_of_one_name():
    model = build_model(_experiment("twice_the_same_name"), tiny.VOCAB, 3)
    with pytest.raises(UserError, match=r"same/kernel' *: name their layers"):
        named_parameters(model)
