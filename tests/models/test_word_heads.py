"""Heads for words that come with a pretrained model: what is loaded, and what starts afresh."""

import numpy as np
import pretrained_folders as folders
import pytest
import tensorflow as tf
from begun_runs import words_of

from trainer.batch import IDS, MASK, POSITIONS
from trainer.errors import UserError
from trainer.models import families, family_tables
from trainer.models.architecture import Architecture, Head
from trainer.models.family_tables import DECODER, TOKENS
from trainer.models.heads import WordHead, places_of
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import open_pretrained
from trainer.models.replaced import ReplacedTokenHead
from trainer.tasks.causal import Causal
from trainer.tasks.language import LanguageTask
from trainer.tasks.masked import MaskedWords

FRESH = [
    *("head/bias", "head/hidden/kernel", "head/hidden/bias", "head/norm/gamma", "head/norm/beta"),
]
LAYOUTS = (
    *("bert_masked", "bert_untied_masked", "distilbert_masked", "roberta_masked"),
    *("xlm_roberta_masked", "electra_masked", "albert_masked", "gpt2_causal"),
    *("llama_causal", "llama_untied_causal"),
)
# Names that other versions of the libraries gave a bias.
OLD = {
    "bert_masked": ("cls.predictions.bias", "cls.predictions.decoder.bias"),
    "roberta_masked": ("lm_head.bias", "lm_head.decoder.bias"),
    "albert_masked": ("predictions.bias", "predictions.decoder.bias"),
}


def task_of(layout: str, **settings) -> LanguageTask:
    settings = {"tied": "untied" not in layout, **settings}
    return Causal(**settings) if layout.endswith("causal") else MaskedWords(**settings)


def loaded(folder, task):
    """Values of the parameters by name, and what is said of them."""
    model, said = words_of(folder, task)
    return {name: v.numpy() for name, v in named_parameters(model).items()}, said


def unused(said):
    return sorted(said.rpartition("tensors not used: ")[2].split(", "))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_is_used(tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    values, said = loaded(folder, task_of(layout))
    if layout == "bert_untied_masked":  # transformers reads the other bias there
        assert said.endswith("start afresh: none; tensors not used: cls.predictions.bias")
    else:
        assert said.endswith("start afresh: none; tensors not used: none")
    of_head = {name for name in values if name.startswith("head/")}
    own = [DECODER] * ("untied" in layout)
    assert of_head == {*own, *(FRESH if layout.endswith("masked") else [])}


@pytest.mark.parametrize("layout", OLD)
def test_a_bias_may_have_an_older_name(tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    now, old = OLD[layout]
    stored = folders.tensors(folder)
    bias = stored.pop(now)
    folders.store(folder, stored | {old: bias})
    values, said = loaded(folder, task_of(layout))
    np.testing.assert_array_equal(values["head/bias"], bias)
    assert said.endswith("start afresh: none; tensors not used: none")


def test_all_heads_of_pretraining_are_used(tmp_path):
    folder = folders.copy("bert_pretraining", tmp_path / "bert")
    values, said = loaded(folder, MaskedWords(next_sentence=True))
    assert said.endswith("start afresh: none; tensors not used: none")
    kernel = folders.tensors(folder)["cls.seq_relationship.weight"].T
    np.testing.assert_array_equal(values["head/next/logits/kernel"], kernel)


def test_a_head_for_words_alone_leaves_the_next_sentence_afresh(tmp_path):
    for layout in ("bert_masked", "roberta_masked"):
        folder = folders.copy(layout, tmp_path / layout)
        said = loaded(folder, MaskedWords(next_sentence=True))[1]
        fresh = said.partition("start afresh: ")[2].partition(";")[0].split(", ")
        assert fresh == [
            f"head/next/{name}/{leaf}"
            for name in ("hidden", "logits")
            for leaf in ("kernel", "bias")
        ]


def test_heads_of_pretraining_give_the_one_for_words(tmp_path):
    said = loaded(folders.copy("bert_pretraining", tmp_path / "bert"), MaskedWords())[1]
    assert "start afresh: none;" in said
    pairs = [
        f"{name}.{leaf}"
        for name in ("bert.pooler.dense", "cls.seq_relationship")
        for leaf in ("bias", "weight")
    ]
    assert unused(said) == pairs


@pytest.mark.parametrize(
    ("layout", "left"),
    [
        ("minilm", ["pooler.dense.bias", "pooler.dense.weight"]),
        (
            "bert",
            [
                "bert.pooler.dense.bias",
                "bert.pooler.dense.weight",
                "classifier.bias",
                "classifier.weight",
            ],
        ),
        (
            "electra_replaced",
            [
                f"discriminator_predictions.{name}.{leaf}"
                for name in ("dense", "dense_prediction")
                for leaf in ("bias", "weight")
            ],
        ),
    ],
)
def test_without_one_it_starts_afresh_tied_to_the_loaded_table(tmp_path, layout, left):
    folder = folders.copy(layout, tmp_path / layout)
    model, said = words_of(folder, MaskedWords())
    assert f"start afresh: {', '.join(FRESH)};" in said
    assert unused(said) == left
    ids = tf.constant([[2, 4, 9, 3]])
    batch = {IDS: ids, MASK: tf.ones_like(ids), POSITIONS: tf.constant([[1]])}
    vectors = model.encode(batch)
    hidden = model.head.norm(model.head.hidden(vectors[:, 1]))
    (table,) = (
        v for n, v in folders.tensors(folder).items() if n.endswith("word_embeddings.weight")
    )
    expected = hidden.numpy() @ table.T
    np.testing.assert_allclose(model(batch).numpy()[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_half_a_head_is_refused(tmp_path):
    folder = folders.copy("bert_masked", tmp_path / "bert")
    stored = folders.tensors(folder)
    del stored["cls.predictions.transform.dense.bias"]
    folders.store(folder, stored)
    with pytest.raises(UserError, match=r"lacks the tensor 'cls\.predictions\.transform\.dense"):
        loaded(folder, MaskedWords())


def test_a_decoder_of_its_own_is_not_left_out(tmp_path):
    folder = folders.copy("bert_untied_masked", tmp_path / "bert")
    values, _ = loaded(folder, MaskedWords(tied=False))
    stored = folders.tensors(folder)
    np.testing.assert_array_equal(values[DECODER], stored["cls.predictions.decoder.weight"])
    np.testing.assert_array_equal(values["head/bias"], stored["cls.predictions.decoder.bias"])
    with pytest.raises(UserError, match=r"of their own, .*: set config\.task\.tied=False"):
        loaded(folder, MaskedWords())


def test_a_decoder_that_is_untied_here_begins_as_the_table(tmp_path):
    folder = folders.copy("gpt2_causal", tmp_path / "gpt2")
    values, said = loaded(folder, Causal(tied=False))
    np.testing.assert_array_equal(values[DECODER], values[TOKENS])
    assert "head/kernel begins as a copy of the token table" in said


@pytest.mark.parametrize("layout", ["albert_masked", "electra_masked"])
def test_a_decoder_is_as_wide_as_the_table(tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    values, said = loaded(folder, MaskedWords(tied=False))
    assert values[DECODER].shape == values[TOKENS].shape
    assert "begins as a copy of the token table" in said


def test_googles_checkpoint_has_the_head(tmp_path):
    folder = folders.as_google(folders.copy("bert", tmp_path / "bert"), tmp_path / "google")
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    head = folders.tensors(folders.copy("bert_masked", tmp_path / "masked"))
    transform = "cls.predictions.transform"
    bias = head["cls.predictions.bias"]
    variables |= {
        "cls/predictions/output_bias": bias,
        "cls/predictions/transform/dense/kernel": head[f"{transform}.dense.weight"].T,
        "cls/predictions/transform/dense/bias": head[f"{transform}.dense.bias"],
        "cls/predictions/transform/LayerNorm/gamma": head[f"{transform}.LayerNorm.weight"],
        "cls/predictions/transform/LayerNorm/beta": head[f"{transform}.LayerNorm.bias"],
    }
    folders.save_google(folder, variables)
    values, said = loaded(folder, MaskedWords())
    assert "start afresh: none;" in said
    np.testing.assert_array_equal(values["head/bias"], bias)
    kernel = head[f"{transform}.dense.weight"].T
    np.testing.assert_array_equal(values["head/hidden/kernel"], kernel)


def test_the_discriminators_head_has_its_place(tmp_path):
    pretrained = open_pretrained(str(folders.copy("electra_replaced", tmp_path / "electra")))
    shape, lines = pretrained.architecture(kind="replaced"), []
    model = Network(shape, 1, ReplacedTokenHead(shape, 0.5))
    ones = tf.ones([1, 2], tf.int32)
    model({IDS: ones, MASK: ones})
    pretrained.load(named_parameters(model), True, lines.append, kind="replaced")
    (said,) = lines
    assert said.endswith("tensors not used: none")
    stored = folders.tensors(tmp_path / "electra")
    kernel = stored["discriminator_predictions.dense_prediction.weight"].T
    np.testing.assert_array_equal(model.head.logit.kernel, kernel)
    places = families.stored(family_tables.FAMILIES["electra"], named_parameters(model), "replaced")
    assert {place.name for place in places.values()} == stored.keys()


def test_a_mask_token_says_where_words_are_predicted():
    shape = Architecture(9, 8, 4, 1, 1, 8, Head("tokens"))
    ids = tf.constant([[1, 5, 5, 2], [5, 1, 2, 3]])
    inputs, vectors = {IDS: ids}, tf.random.stateless_normal([2, 4, 4], [1, 2])
    whole = WordHead(shape, transforms=False, tied=False)
    at_masks = WordHead(shape, transforms=False, tied=False, mask=5)
    expected = whole(vectors, inputs).numpy()
    at_masks.build(vectors.shape)
    at_masks.kernel.assign(whole.kernel)
    found = at_masks(vectors, inputs).numpy()
    assert found.shape == (2, 2, 9)
    close = {"rtol": 1e-5, "atol": 1e-7}  # a product's last bit depends on its number of rows
    np.testing.assert_allclose(found[0], expected[0, 1:3], **close)
    np.testing.assert_allclose(found[1, 0], expected[1, 0], **close)
    named = at_masks(vectors, {**inputs, POSITIONS: tf.constant([[3], [2]])}).numpy()
    np.testing.assert_allclose(named[:, 0], expected[[0, 1], [3, 2]], **close)
    assert places_of(tf.constant([[False, False], [False, False]])).shape == (2, 1)
