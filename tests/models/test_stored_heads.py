"""Heads that come with a pretrained model: labels, halves, and shapes; and odd configs."""

import numpy as np
import pretrained_folders as folders
import pytest
from test_pretrained import fresh, load, refused, values_of

from trainer.config import Model
from trainer.errors import UserError
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import open_pretrained

PAIR = ("kernel", "bias")


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


# Heads for tokens


def load_tokens(folder, outputs=folders.CLASSES, labels=(), **settings):
    """The weights of a tagger's folder or another's, and what is said of them."""
    pretrained, lines = open_pretrained(str(folder)), []
    settings = Model(**{"head": "native", **settings})
    model = Network(pretrained.architecture(settings, "tokens"), outputs)
    model.build()
    parameters, native = named_parameters(model), settings.head == "native"
    pretrained.load(parameters, native, lines.append, labels, kind="tokens")
    return values_of(parameters), "\n".join(lines)


@pytest.mark.parametrize("family", folders.FAMILIES)
def test_every_tensor_of_a_tagger_is_used(tmp_path, family):
    folder = folders.copy(f"{family}_tokens", tmp_path / family)
    values, said = load_tokens(folder)
    assert said.endswith("start afresh: none; tensors not used: none")
    stored = folders.tensors(folder)
    name = "score" if family == "llama" else "classifier"
    np.testing.assert_array_equal(values["head/logits/kernel"], stored[f"{name}.weight"].T)
    np.testing.assert_array_equal(values["head/logits/bias"], stored[f"{name}.bias"])


def test_a_classifier_of_texts_gives_a_tagger_its_encoder(folder):
    values, said = load_tokens(folder)
    assert "start afresh: head/logits/kernel, head/logits/bias;" in said
    assert sorted(said.rpartition("tensors not used: ")[2].split(", ")) == [
        *("bert.pooler.dense.bias", "bert.pooler.dense.weight"),
        *("classifier.bias", "classifier.weight"),
    ]
    assert not values["head/logits/bias"].any()


def test_a_tagger_gives_a_classifier_of_texts_its_encoder(tmp_path):
    said = load(folders.copy("bert_tokens", tmp_path / "bert"))[1]
    head = [f"head/{module}/{leaf}" for module in ("hidden", "logits") for leaf in PAIR]
    assert f"start afresh: {', '.join(head)};" in said
    assert said.endswith("tensors not used: classifier.bias, classifier.weight")


def test_labels_of_tokens_take_their_rows_along(tmp_path):
    names = {"0": "O", "1": "B-x", "2": "I-x"}
    folder = folders.copy("bert_tokens", tmp_path / "bert", id2label=names)
    as_stored, _ = load_tokens(folder, labels=["O", "B-x", "I-x"])
    values, said = load_tokens(folder, labels=["B-x", "I-x", "O"])
    for name in ("head/logits/kernel", "head/logits/bias"):
        np.testing.assert_array_equal(values[name], as_stored[name][..., [1, 2, 0]])
    assert "Note" not in said


def test_another_number_of_labels_of_tokens(tmp_path):
    values, said = load_tokens(folders.copy("bert_tokens", tmp_path / "bert"), outputs=5)
    assert "its head has 3 labels, this run 5: the last layer of the head starts afresh" in said
    assert values["head/logits/kernel"].shape == (16, 5)


def test_a_head_for_tokens_of_ours_takes_nothing_from_the_stored_one(tmp_path):
    said = load_tokens(folders.copy("bert_tokens", tmp_path / "bert"), head="mean")[1]
    assert said.endswith("tensors not used: classifier.bias, classifier.weight")


def test_a_regression_takes_its_head_without_a_word_of_labels(folder):
    pretrained, lines = open_pretrained(str(folders.one_output(folder))), []
    parameters = fresh(pretrained, classes=1)
    pretrained.load(parameters, True, lines.append)
    assert len(lines) == 1
    assert lines[0].endswith("start afresh: none; tensors not used: none")
    kernel = folders.tensors(folder)["classifier.weight"].T
    np.testing.assert_array_equal(parameters["head/logits/kernel"].numpy(), kernel)
