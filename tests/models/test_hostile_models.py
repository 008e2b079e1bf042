"""Pretrained models from elsewhere: refused in one line, quickly, before anything is built."""

import json
import re
import struct
import time

import numpy as np
import pretrained_folders as folders
import pytest
from pretrained_folders import WEIGHTS
from test_pretrained import assert_equal, fresh, load, refused

from trainer.config import Experiment
from trainer.errors import UserError
from trainer.models.family_tables import FAMILIES
from trainer.models.pretrained import INDEX, open_pretrained
from trainer.models.size import shapes

LAYOUTS = folders.FAMILIES


@pytest.fixture
def bert(tmp_path):
    """A BERT with a head of three labels."""
    return folders.copy("bert", tmp_path / "bert")


def refused_at_once(folder) -> str:
    """The line, which took less than a second of a core, before a model was built."""
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        open_pretrained(str(folder))
    assert time.process_time() - began < 1
    said = str(caught.value)
    assert said.startswith(f"pretrained model {str(folder)!r}")
    assert said.isprintable()
    assert len(said) < 600
    return said


# Sizes


@pytest.mark.parametrize("layout", [*LAYOUTS, "electra_base", "gpt2_base", "llama_base", "minilm"])
def test_shapes_are_known_before_the_encoder_is_built(tmp_path, layout):
    pretrained = open_pretrained(str(folders.copy(layout, tmp_path / layout)))
    built = {n: tuple(v.shape) for n, v in fresh(pretrained).items()}
    encoder = {name: shape for name, shape in built.items() if name.startswith("encoder/")}
    architecture = pretrained.architecture()
    assert architecture.shapes() == encoder
    assert shapes(Experiment(), 1, 3, architecture) == built


BY_FAMILY = {  # our names of sizes, and theirs where another one is used
    "distilbert": {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    },
    "gpt2": {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "n_positions",
        "intermediate_size": "n_inner",
    },
}
SIZES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("max_position_embeddings", "intermediate_size"),
)
NO_SIZES = ("12", 12.0, True, [12], {"a": 12}, -1, 0, 10**9, 10**12, 10**30)


@pytest.mark.parametrize("layout", ["bert", "distilbert", "gpt2", "llama"])
def test_a_size_that_is_none(tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    config = json.loads((folder / "config.json").read_text())
    for size in SIZES:
        name = BY_FAMILY.get(layout, {}).get(size, size)
        for value in NO_SIZES + (() if name == "n_inner" else (None,)):
            (folder / "config.json").write_text(json.dumps(config | {name: value}))
            said = refused_at_once(folder)
            assert f"config.json has {name}={value!r}, not an integer from 1 to " in said


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("type_vocab_size", -1, "an integer from 0 to 65536"),
        ("type_vocab_size", None, "an integer from 0 to 65536"),
        ("pad_token_id", "0", "an integer from 0 to 16777216, or null,"),
        ("num_labels", 10**9, "an integer from 1 to 100000"),
        ("num_labels", 0, "an integer from 1 to 100000"),
        ("num_labels", None, "an integer from 1 to 100000"),
        ("hidden_act", ["gelu"], "a text"),
        ("hidden_act", 5, "a text"),
        ("layer_norm_eps", 0, "a number from 1e-20 to 1"),
        ("layer_norm_eps", "1e-12", "a number from 1e-20 to 1"),
        ("layer_norm_eps", 1e-320, "a number from 1e-20 to 1"),
        ("hidden_dropout_prob", -0.1, "a number from 0 to 0.95"),
        ("hidden_dropout_prob", 1, "a number from 0 to 0.95"),
        ("hidden_dropout_prob", True, "a number from 0 to 0.95"),
        ("hidden_dropout_prob", None, "a number from 0 to 0.95"),
        ("classifier_dropout", 10**30, "a number from 0 to 0.95, or null,"),
        ("tie_word_embeddings", "yes", "true or false"),
        ("id2label", ["a", "b", "c"], 'an object {"0": …, "1": …}'),
        ("id2label", {"0": "a", "2": "b"}, 'an object {"0": …, "1": …}'),
        ("id2label", {"a": "a"}, 'an object {"0": …, "1": …}'),
        ("architectures", 5, "a list of texts"),
        ("architectures", "BertForSequenceClassification", "a list of texts"),
        ("architectures", [None], "a list of texts"),
    ],
)
def test_a_setting_of_the_wrong_kind(bert, field, value, wanted):
    folders.change(bert, **{field: value})
    assert f"config.json has {field}={value!r}, not {wanted}" in refused_at_once(bert)


@pytest.mark.parametrize("name", [None, ["a"], {"b": 1}, 1.5, False])
def test_a_label_that_is_no_text(bert, name):
    folders.change(bert, id2label={"0": "a", "1": name, "2": "c"})
    assert f"config.json has the label {name!r}, not a text" in refused_at_once(bert)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"model_type": "bert", "hidden_size": NaN}', "NaN is no number"),
        ('{"model_type": "bert", "hidden_size": 1e999}', "1e999 is not finite"),
        ('{"model_type": "bert", "model_type": "gpt2"}', "'model_type' stands twice"),
        ('{"a":' * 100000, "nested deeper"),
        ('{"model_type": "bert", "hidden_size": ' + "9" * 5000 + "}", "an integer of 5,000 digits"),
        ('{"model_type": "' + "b" * 100000 + '"}', "is not supported; supported are"),
        ('{"model_type": ["bert"]}', r"model type ['bert'] is not supported"),
        ('{"model_type": "bert\\u0000\\n"}', r"model type 'bert\x00\n' is not supported"),
    ],
)
def test_a_text_that_is_no_config(bert, text, said):
    (bert / "config.json").write_text(text)
    assert said in refused_at_once(bert)


def test_two_values_for_one_setting(tmp_path):
    folder = folders.copy("gpt2", tmp_path / "gpt2", hidden_size=16)
    load(folder)
    folders.change(folder, hidden_size=32)
    assert "n_embd=16 and hidden_size=32, which are one setting: keep one" in refused(folder)


def test_settings_of_another_family_count_for_nothing(tmp_path):
    folder = folders.copy("distilbert", tmp_path / "plain")
    other = folders.copy("distilbert", tmp_path / "odd", intermediate_size=99, type_vocab_size=5)
    assert_equal(load(other)[0], load(folder)[0])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("vocab_size", 41, "word_embeddings.weight' has shape [40, 16], its config.json asks for"),
        ("hidden_size", 65536, "has shape [40, 16], its config.json asks for [40, 65536]"),
        ("num_hidden_layers", 256, "lacks the tensor 'bert.encoder.layer.2."),
        ("intermediate_size", 2**18, "has shape [28, 16], its config.json asks for [262144, 16]"),
        ("max_position_embeddings", 2**20, "has shape [24, 16], its config.json asks for [1048576"),
        ("type_vocab_size", 65536, "has shape [2, 16], its config.json asks for [65536, 16]"),
    ],
)
def test_a_config_that_asks_for_more_than_is_stored(bert, field, value, said):
    google = folders.as_google(bert, bert.with_name("google"))
    for folder, file in ((bert, "config.json"), (google, "bert_config.json")):
        config = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(config | {field: value}))
        assert said in refused_at_once(folder)


def test_positions_that_are_all_before_the_first(tmp_path):
    folder = folders.copy("roberta", tmp_path / "roberta", pad_token_id=30)
    assert "26 positions, which begin after pad_token_id=30: none is left" in refused_at_once(
        folder
    )


# Files


def safetensors(entries: dict[str, dict], data: bytes, header: str = "") -> bytes:
    text = (header or json.dumps(entries)).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
TWICE = f'{{"a": {json.dumps(ENTRY)}, "a": {json.dumps(ENTRY)}}}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (struct.pack("<Q", 2**22 + 1) + b" " * 100, "a header of 4,194,305 bytes"),
        (struct.pack("<Q", 2**64 - 1), "a header of 18,446,744,073,709,551,615 bytes"),
        (safetensors({}, bytes(4), TWICE), "the key 'a' stands twice"),
        (safetensors({}, b"", '{"a":' * 1000), "nested deeper"),
        (safetensors({}, b"", "[]"), "a JSON object is expected"),
        (safetensors({"a": ENTRY | {"dtype": "F13"}}, bytes(4)), "F13"),
        (safetensors({"a": ENTRY | {"shape": [2**40, 2**40]}}, bytes(4)), ""),
        (safetensors({"a": ENTRY | {"shape": [-1]}}, bytes(4)), ""),
        (safetensors({"a": ENTRY | {"data_offsets": [4, 0]}}, bytes(4)), ""),
        (safetensors({"a": ENTRY, "b": ENTRY}, bytes(4)), ""),
        (safetensors({"a": ENTRY | {"data_offsets": [2, 6]}}, bytes(6)), ""),
        (safetensors({"a": 5}, bytes(4)), ""),
    ],
)
def test_a_file_whose_header_is_wrong(bert, content, said):
    (bert / WEIGHTS).write_bytes(content)
    line = refused_at_once(bert)
    assert f"{WEIGHTS} is cut short or damaged (" in line
    assert said in line


def test_a_header_of_too_many_tensors(bert):
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    (bert / WEIGHTS).write_bytes(safetensors({f"{i}": empty for i in range(2**14 + 1)}, b""))
    assert "is cut short or damaged (16,385 tensors)" in refused_at_once(bert)


def test_a_tensor_of_no_size(bert):
    stored = folders.tensors(bert)
    name = "bert.encoder.layer.1.attention.self.query.weight"
    folders.store(bert, stored | {name: np.zeros([0, 16], np.float32)})
    assert f"{name!r} has shape [0, 16]" in refused_at_once(bert)


def test_a_head_that_is_one_number(bert):
    stored = folders.tensors(bert) | {"classifier.weight": np.zeros([], np.float32)}
    folders.store(bert, stored)
    assert "'classifier.weight' has shape [], its config.json asks for [3, 16]" in refused(bert)


def test_a_norm_under_its_old_and_its_new_name(bert):
    stored = folders.tensors(bert)
    new = "bert.embeddings.LayerNorm.weight"
    folders.store(bert, stored | {"bert.embeddings.LayerNorm.gamma": stored[new] + 1})
    said = refused_at_once(bert)
    assert f"the tensor {new!r} is stored twice, as " in said


def test_shards_that_hold_the_same(bert):
    where = folders.shard(bert)
    first, second = sorted(set(where.values()))
    (bert / second).unlink()
    (bert / second).symlink_to(first)
    said = refused_at_once(bert)
    assert re.search(f"is stored twice, as .* in {first} and as .* in {second}: keep one", said)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classifier.weight": "FIRST"}, "says that 'classifier.weight' is in "),
        ({"classifier.weigth": "FIRST"}, "says that 'classifier.weigth' is in "),
        ({"classifier.weight": "../bert/FIRST"}, "names '../bert/model-"),
        ({"classifier.weight": "a" * 10000}, "which is not in"),
        ({"classifier.weight": "\0"}, r"names '\x00', which is not in"),
        ({"classifier.weight": {"a": [1]}}, "which is not in"),
        ({"classifier.weight": "checkpoint"}, "names 'checkpoint', which is not in"),
    ],
)
def test_an_index_that_lies(bert, changed, said):
    where = folders.shard(bert)
    (bert / "checkpoint").mkdir()
    (first,) = {*where.values()} - {where["classifier.weight"]}
    text = json.dumps({"weight_map": where | changed}).replace("FIRST", first)
    (bert / INDEX).write_text(text)
    assert said in refused_at_once(bert)


def test_an_index_that_names_a_tensor_twice(bert):
    where = folders.shard(bert)
    text = json.dumps({"weight_map": where})
    again = json.dumps({"classifier.weight": where["classifier.weight"]})[1:-1]
    (bert / INDEX).write_text(text.replace('{"weight_map": {', f'{{"weight_map": {{{again}, '))
    assert "the key 'classifier.weight' stands twice" in refused_at_once(bert)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
@pytest.mark.parametrize("target", [None, "nothing", "/dev/zero"])
def test_what_is_no_file(bert, name, target):
    (bert / name).unlink()
    if target:
        (bert / name).symlink_to(target)
    else:
        (bert / name).mkdir()
    said = refused_at_once(bert)
    assert ("holds no config.json" if name == "config.json" else f"there is no {WEIGHTS}") in said


def test_a_checkpoint_that_says_more_than_it_holds(bert):
    google = folders.as_google(bert, bert.with_name("google"))
    names = [n for n in folders.tensors(bert) if n.startswith("bert.")]
    stored = {folders.google_name(n): np.zeros(1, np.float32) for n in names}
    stored["bert/embeddings/word_embeddings"] = np.zeros([40, 16], np.float32)
    folders.save_google(google, stored)
    data = google / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    assert "it says that it holds more than its 100 bytes" in refused_at_once(google)


# Tensors that share memory are stored under one name

TIED = {
    "bert": ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
    "roberta": ("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
    "xlm_roberta": ("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
    "distilbert": ("distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight"),
    "electra": ("electra.embeddings.word_embeddings.weight", "generator_lm_head.weight"),
    "albert": ("albert.embeddings.word_embeddings.weight", "predictions.decoder.weight"),
    "gpt2": ("transformer.wte.weight", "lm_head.weight"),
    "llama": ("model.embed_tokens.weight", "lm_head.weight"),
}


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_token_table_under_the_name_that_it_shares(tmp_path, layout, prefixed):
    folder = folders.copy(layout, tmp_path / layout)
    expected, _ = load(folder)
    stored = folders.tensors(folder)
    name, shared = TIED[layout]
    stored[shared] = stored.pop(name)
    prefix = FAMILIES[layout.replace("_", "-")].prefix
    if not prefixed:
        stored = {name.removeprefix(prefix): value for name, value in stored.items()}
    folders.store(folder, stored)
    values, said = load(folder)
    assert_equal(values, expected)
    np.testing.assert_array_equal(values["encoder/embeddings/tokens/embeddings"], stored[shared])
    assert f"{shared} is taken for the token table, with which it shares its memory" in said
    assert said.endswith("tensors not used: none")
    if not prefixed:
        return
    folders.store(folder, stored | {shared: stored[shared][1:]})
    assert f"tensor {shared!r} has shape [39, " in refused_at_once(folder)
    folders.store(folder, stored)
    folders.change(folder, tie_word_embeddings=False)
    assert refused_at_once(folder).endswith(f"lacks the tensor {name!r}")


def test_the_table_of_its_own_name_counts(bert):
    expected, _ = load(bert)
    stored = folders.tensors(bert)
    name, shared = TIED["bert"]
    folders.store(bert, stored | {shared: stored[name] + 1})
    values, said = load(bert)
    assert_equal(values, expected)
    assert said.endswith(f"tensors not used: {shared}")


# Folders of this library


def test_a_workdir_or_an_export_is_no_pretrained_model(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text('{"model": {}, "derived": {}}')
    said = refused_at_once(run)
    assert "is the workdir of a run: to begin with its weights set config.model.initial_run" in said
    for kind, file in (("savedmodel", "saved_model.pb"), ("keras", "model.keras")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / file).touch()
        said = refused_at_once(folder)
        assert f"is an export of format {kind}, which only predicts: export the run again" in said


def test_folders_with_the_characters_of_patterns(bert):
    odd = bert.with_name("[a-z]* größe?\\")
    bert.rename(odd)
    expected, _ = load(odd)
    google = folders.as_google(odd, odd.with_name("google"))
    google = google.rename(google.with_name("[x]*?"))
    values, _ = load(google)
    same = {n: v for n, v in values.items() if not n.startswith("head/logits")}
    assert_equal(same, {name: expected[name] for name in same})
