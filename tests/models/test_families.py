"""Heads that each family has in transformers: their classes, shapes, and rates of dropout."""

import dataclasses

import pretrained_folders as folders
import pytest
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from trainer.config import Model
from trainer.models.architecture import Head
from trainer.models.families import FAMILIES, KINDS
from trainer.models.pretrained import open_pretrained

TABLES = {
    "sequence": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "tokens": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
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
