"""Heads that come with a pretrained model: labels, halves, and shapes; and odd configs."""

import numpy as np
import pretrained_folders as folders
import pytest
from test_pretrained import fresh, load, refused, values_of

from trainer.config import Model
from trainer.errors import UserError
from trainer.models.pretrained import open_pretrained


@pytest.fixture
def folder(tmp_path):
    """A BERT with a head of three labels, a, b and c."""
    return folders.copy("bert", tmp_path / "bert", id2label={"0": "a", "1": "b", "2": "c"})


def load_for(folder, labels):
    pretrained, lines = open_pretrained(str(folder)), []
    parameters = fresh(pretrained)
    pretrained.load(parameters, True, lines.append, labels)
    return values_of(parameters), "\n".join(lines)


def test_labels_in_another_order_take_their_rows_along(folder):
    as_stored, _ = load_for(folder, ["a", "b", "c"])
    values, said = load_for(folder, ["c", "a", "b"])
    for leaf in ("kernel", "bias"):
        name = f"head/logits/{leaf}"
        np.testing.assert_array_equal(values[name], as_stored[name][..., [2, 0, 1]])
    assert "Note" not in said


def test_other_labels_are_told(folder):
    _, said = load_for(folder, ["x", "y", "z"])
    assert "Note: the labels a, b, c of its head are taken for x, y, z, in this order" in said


def test_labels_count_by_their_ids_not_by_their_place_in_the_file(folder):
    folders.change(folder, id2label={"0": "a", "2": "c", "1": "b"})
    assert "Note" not in load_for(folder, ["a", "b", "c"])[1]


@pytest.mark.parametrize("name", ["classifier.bias", "bert.pooler.dense.weight"])
def test_half_a_head_is_refused(folder, name):
    stored = folders.tensors(folder)
    del stored[name]
    folders.store(folder, stored)
    assert refused(folder).endswith(f"lacks the tensor {name!r}")


def test_a_head_of_another_width_is_refused(folder):
    stored = folders.tensors(folder) | {"classifier.weight": np.zeros([3, 17], np.float32)}
    folders.store(folder, stored)
    assert "tensor 'classifier.weight' has shape [3, 17]" in refused(folder)


def test_quantised_weights_are_refused(folder):
    name = "bert.encoder.layer.0.attention.self.query.weight"
    stored = folders.tensors(folder)
    folders.store(folder, stored | {name: stored[name].astype(np.int8)})
    assert f"tensor {name!r} is stored as I8: quantised weights" in refused(folder)


def test_unused_tensors_that_differ_in_a_number_are_counted(folder):
    heads = {f"heads.{i}.weight": np.zeros(1, np.float32) for i in range(41)}
    folders.store(folder, folders.tensors(folder) | heads)
    assert load(folder)[1].endswith("tensors not used: heads.*.weight (41)")
    moments = {f"bert.layer.{i}.adam_m": np.zeros(1, np.float32) for i in range(41)}
    folders.store(folder, folders.tensors(folder) | moments)
    assert load(folder)[1].endswith("tensors not used: *.adam_m (41), heads.*.weight (41)")


def test_heads_that_do_not_divide_the_width(folder):
    folders.change(folder, num_attention_heads=3)
    assert refused(folder).endswith("a width of 16 with 3 heads: these must divide it")


def test_roberta_needs_the_padding_that_its_positions_begin_after(tmp_path):
    folder = folders.copy("roberta", tmp_path / "roberta", pad_token_id=None)
    assert "has no pad_token_id" in refused(folder)


def test_the_first_token_of_a_decoder_says_nothing(tmp_path):
    pretrained = open_pretrained(str(folders.copy("gpt2", tmp_path / "gpt2")))
    with pytest.raises(UserError, match="sees nothing of the text with a causal mask"):
        pretrained.architecture(Model(head="cls"))


def test_the_weights_have_an_identity(folder):
    before = open_pretrained(str(folder)).sha256()
    assert list(before) == ["model.safetensors"]
    stored = folders.tensors(folder)
    folders.store(folder, stored | {"classifier.bias": stored["classifier.bias"] + 1})
    assert open_pretrained(str(folder)).sha256() != before
