"""Pretrained T5: tied and untied heads, files that do not fit, and T5's own checkpoints."""

import re

import numpy as np
import pretrained_folders as folders
import pytest
import tensorflow as tf

from trainer.config import Model
from trainer.errors import UserError
from trainer.models.pretrained import open_pretrained

WORDS, TABLE = "lm_head.weight", "shared.weight"


@pytest.fixture
def plain(tmp_path):
    return folders.copy("t5_text", tmp_path / "t5_text")


@pytest.fixture
def gated(tmp_path):
    return folders.copy("t5_gated_text", tmp_path / "t5_gated_text")


def load(folder, tied: bool = True) -> tuple[dict[str, np.ndarray], str]:
    """The values of all parameters, and what is said."""
    pretrained, lines = open_pretrained(str(folder)), []
    shape = pretrained.architecture(Model(), target_length=9)
    shapes = shape.shapes() | ({} if tied else {"head/kernel": (shape.vocab_size, shape.width)})
    parameters = {name: tf.Variable(tf.zeros(each)) for name, each in shapes.items()}
    pretrained.load(parameters, True, lines.append, kind="text")
    return {name: value.numpy() for name, value in parameters.items()}, "\n".join(lines)


def change(folder, **values) -> None:
    """Stores tensors anew, under names with __ for a dot; None: leaves one out."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    stored = {**folders.tensors(folder), **named}
    folders.store(folder, {name: v for name, v in stored.items() if v is not None})


def refused(folder) -> str:
    with pytest.raises(UserError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_equal(one, other) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == []


def test_copies_of_the_table_are_taken_for_it(plain):
    expected, _ = load(plain)
    table = folders.tensors(plain)[TABLE]
    names = ("lm_head__weight", "encoder__embed_tokens__weight", "decoder__embed_tokens__weight")
    change(plain, **{name: table.copy() for name in names})
    values, said = load(plain)
    assert_equal(values, expected)
    assert "start afresh: none; tensors not used: none" in said
    change(plain, **dict.fromkeys(("shared__weight", *names[1:])))
    values, said = load(plain)
    assert_equal(values, expected)
    assert "lm_head.weight is taken for the token table" in said


def test_a_table_of_their_own_for_words_is_decided_by_the_tensors(gated):
    """transformers 5 writes tie_word_embeddings=true for any T5."""
    expected, _ = load(gated, tied=False)
    assert expected["head/kernel"].tobytes() == folders.tensors(gated)[WORDS].tobytes()
    folders.change(gated, tie_word_embeddings=True, scale_decoder_outputs=False)
    assert_equal(load(gated, tied=False)[0], expected)
    assert "by a table of their own, 'lm_head.weight': set config.task.tied=False" in refused(gated)


def test_a_tied_head_can_get_a_table_of_its_own(plain):
    values, said = load(plain, tied=False)
    assert values["head/kernel"].tobytes() == folders.tensors(plain)[TABLE].tobytes()
    assert "head/kernel begins as a copy of the token table" in said


def test_what_does_not_fit_is_refused(plain, gated):
    whole = folders.tensors(gated)
    change(gated, lm_head__weight=None)
    assert refused(gated).endswith(f"lacks the tensor {WORDS!r}")
    folders.store(gated, whole)
    change(gated, decoder__embed_tokens__weight=whole[TABLE] + 1)
    assert "'decoder.embed_tokens.weight' is not the token table: an encoder and a" in refused(
        gated
    )

    whole, last = folders.tensors(plain), "decoder.block.1.layer.2.DenseReluDense.wo.weight"
    for name, value, said in (
        (last, None, f"lacks the tensor {last!r}"),
        (last, whole[last][:9], r"has shape \[9, 28\], its config.json asks for \[16, 28\]"),
        (last, whole[last].astype(np.int8), "quantised weights are not supported"),
        (last, np.full_like(whole[last], np.nan), "holds infinite or NaN values"),
    ):
        change(plain, **{name.replace(".", "__"): value})
        assert re.search(said, refused(plain))
        folders.store(plain, whole)
    folders.change(plain, num_decoder_layers=3)
    assert "lacks the tensor 'decoder.block.2.layer.0" in refused(plain)


def test_a_start_token_is_an_id(plain):
    folders.change(plain, decoder_start_token_id=-1)
    with pytest.raises(UserError, match=r"decoder_start_token_id=-1, not an integer from 0 to"):
        _ = open_pretrained(str(plain)).start_id


@pytest.mark.parametrize("layout", ["plain", "gated"])
def test_a_checkpoint_of_t5s_own_code_holds_the_same_weights(layout, request, tmp_path):
    folder = request.getfixturevalue(layout)
    mesh = folders.as_mesh(folder, tmp_path / "mesh")
    values, said = load(mesh, tied=layout == "plain")
    assert_equal(values, load(folder, tied=layout == "plain")[0])
    assert "start afresh: none; tensors not used: " in said
    assert "*_slot_vc" in said
    assert "global_step" in said
    config = open_pretrained(str(folder)).config
    made = open_pretrained(str(mesh)).config
    other = {"relative_attention_max_distance", "eos_token_id"}  # no tensor tells them
    assert [n for n in made.keys() - other if made[n] != config[n]] == []
    (mesh / "operative_config.gin").write_text("x.DenseReluDense.activation = 'swish'\n")
    assert "has DenseReluDense.activation=\"'swish'\", only " in refused(mesh)


def test_checkpoints_that_cannot_be_used(plain, tmp_path):
    mesh = folders.as_mesh(plain, tmp_path / "mesh")
    data = mesh / "model.ckpt-1000.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content[:100])
    assert "cannot read model.ckpt-1000: it says that it holds more than its 100" in refused(mesh)
    data.write_bytes(content)
    folders.save_google(mesh, {"shared/embedding": np.ones([4, 4], np.float32)}, "model.ckpt-2")
    assert "holds 2 checkpoints, 'model.ckpt-1000.index' among them: keep one" in refused(mesh)
    for path in mesh.glob("model.ckpt-1000.*"):
        path.unlink()
    assert "lacks the tensor 'encoder.block.0.layer.0.SelfAttention.relative_att" in refused(mesh)
