"""Integrated gradients: they add up, and find what a model was made to look at."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from trainer import config
from trainer.config import Model, Tokenizer
from trainer.data.encode import TextEncoder
from trainer.data.tokenizers import train_tokenizer
from trainer.errors import UserError
from trainer.models.architecture import from_scratch
from trainer.models.network import Network
from trainer.prediction.attribution import Explainer
from trainer.tasks.classification import Classification
from trainer.tasks.multi_label import MultiLabel

TOKENIZER = train_tokenizer(Tokenizer(vocab_size=64), ["a fine film", "an awful bore", "so so"] * 9)


def trained(settings: Model, classes: int = 3, pair: str = ""):
    """As much of a TrainedModel as an Explainer looks at."""
    shape = from_scratch(settings, 64, 32, pairs=False)
    tf.keras.utils.set_random_seed(1)
    model = Network(shape, classes)
    ones = tf.ones([1, 2], tf.int32)
    model({"input_ids": ones, "attention_mask": ones, "token_type_ids": 0 * ones})
    for variable in model.trainable_variables:
        if variable.name == "kernel":  # larger than a new one, so that margins are
            variable.assign(variable * 3)
    task = Classification(text_pair=pair)
    return SimpleNamespace(
        model=model,
        tokenizer=TOKENIZER,
        encoder=TextEncoder(TOKENIZER, 32, "head+tail"),
        config=config.Experiment(task=task),
        task=task.bound({"labels": [str(i) for i in range(classes)]}, TOKENIZER),
    )


@pytest.mark.long
@pytest.mark.parametrize("head", ["mean", "cls"])
def test_values_add_up_to_the_margin(head):
    model = trained(Model(width=8, depth=2, heads=2, ffn_width=16, head=head))
    text = "a fine film, so awful"
    few, many = (Explainer(model, steps).explain(text, 1) for steps in (8, 200))
    assert many.error < 0.01 * np.abs(many.values).sum()
    assert many.error < few.error
    assert len(many.tokens) == len(many.spans) == len(many.values)
    special = [value for value, span in zip(many.values, many.spans, strict=True) if not span]
    assert special == [0, 0]  # [CLS] and [SEP] stay as they are on the path
    assert text[slice(*many.spans[2])] == "fine"[: many.spans[2][1] - many.spans[2][0]]


def test_a_linear_model_is_attributed_exactly():
    """Without blocks and norms the mean of token vectors decides: one point is enough."""
    settings = Model(width=8, depth=0, head="mean", embedding_norm=False, positions="none")
    model = trained(settings, classes=2)
    found = Explainer(model, 1).explain("fine awful", 1)
    assert found.error < 1e-5
    ids = model.encoder.encode(["fine awful"])[0].ids
    vectors = model.model.encoder.embeddings.tokens(tf.constant(ids)).numpy()
    blank = model.model.encoder.embeddings.tokens(tf.constant(TOKENIZER.mask_token_id)).numpy()
    kernel = model.model.head.logits.kernel.numpy()
    expected = (vectors - blank) @ (kernel[:, 1] - kernel[:, 0]) / len(ids)
    expected[[0, -1]] = 0
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


def test_an_empty_text_has_nothing_to_explain():
    model = trained(Model(width=8, depth=1, heads=2, ffn_width=16))
    found = Explainer(model, 4).explain("", 0)
    assert found.values.tolist() == [0, 0]


def test_models_of_another_kind_are_refused():
    with pytest.raises(UserError, match="pairs"):
        Explainer(trained(Model(width=8, depth=0), pair="second"), 4)
    other = trained(Model(width=8, depth=0))
    several = trained(Model(width=8, depth=0))
    several.task = MultiLabel().bound({"labels": ["a", "b", "c"]}, TOKENIZER)
    with pytest.raises(UserError, match="needs a task that gives a text one of several answers"):
        Explainer(several, 4)
    other.model = tf.keras.Sequential()
    with pytest.raises(UserError, match="needs the encoder of this library"):
        Explainer(other, 4)
