"""Heads that each family has in transformers: their classes, shapes, and rates of dropout."""

import dataclasses

import pretrained_folders as folders
import pytest
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_PRETRAINING_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from trainer.config import Model
from trainer.errors import UserError
from trainer.models import families
from trainer.models.architecture import Head
from trainer.models.family_tables import FAMILIES, KINDS, TEXT
from trainer.models.pretrained import open_pretrained

TABLES = {
    "sequence": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "tokens": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "masked": MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "causal": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "text": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    "replaced": MODEL_FOR_PRETRAINING_MAPPING_NAMES,
    "pretraining": MODEL_FOR_PRETRAINING_MAPPING_NAMES,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_classifiers_and_a_head_for_words_or_one_for_texts(family):
    kinds = FAMILIES[family].heads.keys()
    if FAMILIES[family].writes:
        assert kinds == {TEXT}
        return
    assert kinds >= {*KINDS, "causal" if FAMILIES[family].fixed.get("causal") else "masked"}


@pytest.mark.parametrize(("family", "kind"), [(f, k) for f in FAMILIES for k in FAMILIES[f].heads])
def test_classes_are_those_that_transformers_opens(family, kind):
    assert FAMILIES[family].heads[kind].class_name == TABLES[kind][family]


def head_of(layout, tmp_path, settings=None, **changes) -> Head:
    folder = folders.copy(layout, tmp_path / layout, **changes)
    return open_pretrained(str(folder)).architecture(settings, folders.kind_of(layout)).head


@pytest.mark.parametrize("layout", [f"{name}_tokens" for name in folders.FAMILIES])
def test_tokens_have_dropout_and_a_linear_layer(tmp_path, layout):
    head = head_of(layout, tmp_path)
    assert dataclasses.replace(head, dropout=0.0) == Head("tokens")
    assert head.dropout > 0


@pytest.mark.parametrize(
    ("layout", "changes", "rate"),
    [
        ("bert_tokens", {"classifier_dropout": 0.3}, 0.3),
        ("bert_tokens", {"classifier_dropout": None}, 0.11),
        ("distilbert_tokens", {}, 0.11),  # not seq_classif_dropout
        ("distilbert", {}, 0.13),
        ("albert_tokens", {"classifier_dropout_prob": 0.3}, 0.3),
        ("gpt2", {"classifier_dropout": 0.3}, 0.0),
        ("gpt2_tokens", {}, 0.1),
        ("llama", {"classifier_dropout": 0.3}, 0.0),
        ("llama_tokens", {}, 0.1),
        ("llama_tokens", {"hidden_dropout": 0.2}, 0.2),
        ("gpt2_tokens", {"hidden_dropout": 0.2}, 0.2),
        ("gpt2_tokens", {"classifier_dropout": None, "hidden_dropout": 0.2}, 0.2),
        ("gpt2_tokens", {"classifier_dropout": 0.0, "hidden_dropout": 0.2}, 0.0),
    ],
)
def test_rates_of_dropout(tmp_path, layout, changes, rate):
    assert head_of(layout, tmp_path, **changes).dropout == rate


def test_a_rate_that_is_set_comes_first(tmp_path):
    settings = Model(head="native", head_dropout=0.4)
    assert head_of("gpt2_tokens", tmp_path, settings).dropout == 0.4


def test_pooling_does_not_matter_to_tokens(tmp_path):
    """The first token of a decoder is refused as the vector of a text, not here."""
    settings = Model(head="cls", head_width=5, head_dropout=0.0)
    assert head_of("gpt2_tokens", tmp_path, settings) == Head("tokens", 5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relative_attention_num_buckets": 9}, "num_buckets=9 .* must be even"),
        ({"relative_attention_max_distance": 16}, "max_distance=16: .* less than twice it"),
        ({"feed_forward_proj": "gated-mish"}, "activation 'mish' is not supported"),
        ({"feed_forward_proj": "open-relu"}, "config.json: .*feed_forward_proj"),
        ({"feed_forward_proj": ["gated"]}, "feed_forward_proj=.*, not a text"),
        ({"d_kv": 0}, "d_kv=0, not an integer from 1"),
        ({"num_decoder_layers": 0}, "num_decoder_layers=0, not an integer from 1"),
        ({"scale_decoder_outputs": 1}, "scale_decoder_outputs=1, not true or false"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder=False is not supported"),
    ],
)
def test_what_no_t5_has_is_refused(changes, said):
    config = {"model_type": "t5", "num_heads": 6, **changes}
    with pytest.raises(UserError, match=said):
        families.architecture(config, Model(), "it", target_length=9)


def test_heads_of_t5_are_as_wide_as_it_says():
    config = {"model_type": "t5", "num_heads": 6, "feed_forward_proj": "gated-gelu"}
    shape = families.architecture(config, Model(), "it", target_length=9)
    assert (shape.heads, shape.head_dim, shape.width) == (6, 64, 512)  # as t5-v1_1-small
    assert (shape.activation, shape.gated_ffn, shape.max_length) == ("gelu_tanh", True, 65_536)
    assert (shape.depth, shape.decoder_depth, shape.target_length) == (6, 6, 9)


@pytest.mark.parametrize(
    ("said", "scaled"),
    [
        ({}, True),
        ({"tie_word_embeddings": False}, False),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, False),
        ({"tie_word_embeddings": False, "scale_decoder_outputs": True}, True),
    ],
)
def test_outputs_of_t5_are_scaled_where_transformers_does(said, scaled):
    config = {"model_type": "t5", "num_decoder_layers": 2, **said}
    shape = families.architecture(config, Model(), "it", target_length=9)
    assert (shape.output_scale, shape.depth, shape.decoder_depth) == (scaled, 6, 2)


def test_a_decoder_is_for_tasks_that_write_and_they_need_one():
    with pytest.raises(UserError, match="it is an encoder and a decoder, which only tasks that"):
        families.architecture({"model_type": "t5"}, Model(head="mean"), "it")
    with pytest.raises(UserError, match=r"it has no decoder, .*: choose one of t5"):
        families.architecture({"model_type": "bert"}, Model(), "it", target_length=9)
