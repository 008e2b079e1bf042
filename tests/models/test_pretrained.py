"""Pretrained weights: what is read, what is said of it, and what is refused."""

import contextlib
import hashlib
import json
import re
import struct
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pretrained_folders as folders
import pytest
import tensorflow as tf
from pretrained_folders import CLASSES, WEIGHTS
from programs import ROOT

from trainer.config import Model
from trainer.data.tokenizers import load_tokenizer
from trainer.errors import UserError
from trainer.models.family_tables import FAMILIES
from trainer.models.network import Network
from trainer.models.parameters import named_parameters
from trainer.models.pretrained import Pretrained, open_pretrained

LOGITS = ("head/logits/kernel", "head/logits/bias")


@pytest.fixture
def bert(tmp_path) -> Path:
    """A BERT with a head of CLASSES labels."""
    return folders.copy("bert", tmp_path / "bert")


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, np.ndarray]:
    """Its weights under our names."""
    return load(folders.copy("bert", tmp_path_factory.mktemp("whole") / "bert"))[0]


def fresh(pretrained: Pretrained, classes: int = CLASSES, **settings) -> dict[str, tf.Variable]:
    """The parameters of its model before the weights are loaded."""
    shape = pretrained.architecture(Model(**{"head": "native", **settings}))
    model = Network(shape, classes)
    ones = np.ones([1, 2], np.int32)
    model({"input_ids": ones, "attention_mask": ones, "token_type_ids": 0 * ones})
    return named_parameters(model)


def load(folder: Path, classes: int = CLASSES, **settings) -> tuple[dict[str, np.ndarray], str]:
    """The weights of a folder by our names, and what is said of them."""
    pretrained, lines = open_pretrained(str(folder)), []
    parameters = fresh(pretrained, classes, **settings)
    pretrained.load(parameters, settings.get("head", "native") == "native", lines.append)
    return values_of(parameters), "\n".join(lines)


def values_of(parameters: dict[str, tf.Variable]) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in parameters.items()}


def refused(folder: Path) -> str:
    """Why it is; nothing of it was assigned to a parameter."""
    parameters: dict[str, tf.Variable] = {}
    before: dict[str, np.ndarray] = {}

    def try_it() -> None:
        pretrained = open_pretrained(str(folder))
        parameters.update(fresh(pretrained))
        before.update(values_of(parameters))
        pretrained.load(parameters, True, lambda line: None)

    with pytest.raises(UserError) as caught:
        try_it()
    assert_equal(values_of(parameters), before)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"pretrained model {str(folder)!r}")
    return said


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []


def unused(said: str) -> list[str]:
    """The tensors that are said not to be used."""
    return said.rpartition("tensors not used: ")[2].split(", ")


# What is read


def test_every_tensor_is_used(bert):
    values, said = load(bert)
    stored = folders.tensors(bert)
    assert said == (
        f"{bert}: 41 of 41 parameters loaded from {len(stored)} tensors;"
        " start afresh: none; tensors not used: none"
    )
    kernel = values["encoder/block_1/attention/key/kernel"]
    theirs = stored["bert.encoder.layer.1.attention.self.key.weight"]
    np.testing.assert_array_equal(kernel, theirs.T)
    assert sorted(v.tobytes() for v in map(np.sort, map(np.ravel, values.values()))) == sorted(
        v.tobytes() for v in map(np.sort, map(np.ravel, stored.values()))
    )


def test_shards_are_one_file(bert, expected):
    assert len(set(folders.shard(bert).values())) == 2
    assert_equal(load(bert)[0], expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_read_as_it_is(bert, expected, dtype):
    halved = {name: value.astype(dtype) for name, value in folders.tensors(bert).items()}
    folders.store(bert, halved)
    values, _ = load(bert)
    assert_equal(values, {k: v.astype(dtype).astype(np.float32) for k, v in expected.items()})
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "layout", ["bert", "distilbert", "roberta", "electra", "albert", "gpt2", "llama"]
)
def test_the_encoder_may_have_a_prefix_or_none(tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    whole, _ = load(folder)
    prefix = FAMILIES[layout].prefix
    stored = folders.tensors(folder)
    assert any(name.startswith(prefix) for name in stored)
    folders.store(folder, {name.removeprefix(prefix): value for name, value in stored.items()})
    assert_equal(load(folder)[0], whole)


def today(name: str) -> str:
    """The name that a tensor has in files of today."""
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))


def test_norms_may_have_the_names_of_tensorflow(tmp_path):
    folder = folders.copy("bert_pretraining", tmp_path / "bert")
    stored = folders.tensors(folder)
    assert "bert.embeddings.LayerNorm.gamma" in stored
    old, _ = load(folder)
    folders.store(folder, {today(name): value for name, value in stored.items()})
    new, _ = load(folder)
    for name in old.keys() - set(LOGITS):
        np.testing.assert_array_equal(old[name], new[name])
    norm = stored["bert.embeddings.LayerNorm.gamma"]
    np.testing.assert_array_equal(old["encoder/embeddings/norm/gamma"], norm)


def test_the_heads_of_pretraining_are_not_used_and_listed(tmp_path):
    folder = folders.copy("bert_pretraining", tmp_path / "bert")
    others = [today(name) for name in folders.tensors(folder) if name.startswith("cls.")]
    assert len(others) >= 6
    values, said = load(folder)
    assert sorted(unused(said)) == sorted(others)
    assert "start afresh: head/logits/kernel, head/logits/bias;" in said
    assert abs(values["head/logits/kernel"]).max() < 0.05  # new, and small
    assert not values["head/logits/bias"].any()


@pytest.mark.parametrize("layout", ["minilm", "gpt2_base"])
def test_constants_of_old_files_are_nothing_to_be_told(tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    assert any(re.search(r"position_ids|attn\.bias", name) for name in folders.tensors(folder))
    said = load(folder)[1]
    assert unused(said) == ["none"]
    head = "head/logits/kernel" + (", head/logits/bias" if layout == "minilm" else "")
    assert f"start afresh: {head};" in said


def test_many_unused_tensors_are_counted(bert):
    more = {f"cls.part_{i}": np.zeros(1, np.float32) for i in range(60)}
    folders.store(bert, folders.tensors(bert) | more)
    assert load(bert)[1].endswith("tensors not used: cls.part_* (60)")


# Heads


def test_another_number_of_labels_makes_the_last_layer_anew(bert, expected):
    values, said = load(bert, classes=5)
    assert f"{bert}: its head has 3 labels, this run 5: the last layer" in said.splitlines()[0]
    assert sorted(unused(said)) == ["classifier.bias", "classifier.weight"]
    assert values["head/logits/kernel"].shape == (16, 5)
    assert not values["head/logits/bias"].any()
    same = {name: value for name, value in values.items() if name not in LOGITS}
    assert_equal(same, {name: expected[name] for name in same})


def test_a_head_that_is_not_stored_starts_afresh(bert, expected):
    of_head = ("bert.pooler", "classifier")
    stored = {n: v for n, v in folders.tensors(bert).items() if not n.startswith(of_head)}
    folders.store(bert, stored)
    values, said = load(bert)
    parts = ("hidden/kernel", "hidden/bias", "logits/kernel", "logits/bias")
    listed = ", ".join(f"head/{part}" for part in parts)
    assert said.endswith(f"start afresh: {listed}; tensors not used: none")
    assert_equal(
        *({n: v for n, v in all_.items() if "encoder/" in n} for all_ in (values, expected))
    )


@pytest.mark.parametrize("architectures", [["BertForTokenClassification"], [], None])
def test_the_head_of_another_task_is_not_taken(bert, expected, architectures):
    folders.change(bert, architectures=architectures)
    values, said = load(bert)
    assert sorted(unused(said)) == ["classifier.bias", "classifier.weight"]
    assert not np.array_equal(values["head/logits/kernel"], expected["head/logits/kernel"])
    pooler = "head/hidden/kernel"  # pretrained with the encoder
    np.testing.assert_array_equal(values[pooler], expected[pooler])


@pytest.mark.parametrize("head", ["mean+max", "cls"])
def test_a_head_of_ours_takes_nothing_from_the_stored_one(bert, expected, head):
    values, said = load(bert, head=head, head_width=16)
    head_of_theirs = {"bert.pooler.dense", "classifier"}
    assert {name.rpartition(".")[0] for name in unused(said)} == head_of_theirs
    assert not np.array_equal(values["head/hidden/kernel"], expected["head/hidden/kernel"])
    encoder = {name: v for name, v in values.items() if name.startswith("encoder/")}
    assert_equal(encoder, {name: expected[name] for name in encoder})


# Folders that are refused


def test_a_folder_without_config(bert):
    (bert / "config.json").unlink()
    said = refused(bert)
    assert f"{bert} holds no config.json" in said
    assert "give a folder with config.json and model.safetensors, or a name on the hub" in said


@pytest.mark.parametrize("content", ["", "{", "[]", '"bert"', "\x80"])
def test_a_config_that_cannot_be_read(bert, content):
    (bert / "config.json").write_bytes(content.encode("latin-1"))
    assert str(bert / "config.json") in refused(bert)


def test_a_folder_without_weights(bert):
    (bert / WEIGHTS).unlink()
    said = refused(bert)
    assert f"there is no {WEIGHTS} in {bert}: weights in another form (a pickle, say) are" in said
    assert "convert them (in PyTorch: save_pretrained)" in said


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "tf_model.h5"]
)
def test_a_pickle_is_not_read(bert, name):
    """It would write a file if it were."""
    (bert / WEIGHTS).unlink()
    marker = bert.parent / "unpickled"
    (bert / name).write_bytes(f"cpathlib\nPath\n(V{marker}\ntR.".encode())
    said = refused(bert)
    assert f"has its weights in {name} only, which may run code when it is read" in said
    assert f"convert it to {WEIGHTS}" in said
    assert not marker.exists()


def test_a_pickle_beside_is_left_alone(bert, expected):
    (bert / "pytorch_model.bin").write_bytes(b"\x80")
    assert_equal(load(bert)[0], expected)


@pytest.mark.parametrize("kind", ["bart", "mistral", "deberta-v2", None])
def test_an_unsupported_model_type(bert, kind):
    folders.change(bert, model_type=kind)
    said = refused(bert)
    assert f"model type {kind!r} is not supported; supported are: " in said
    for supported in ("bert", "distilbert", "roberta", "electra", "albert", "gpt2", "llama"):
        assert supported in said.partition("supported are: ")[2].split(", ")
    (bert / WEIGHTS).unlink()
    assert refused(bert) == said  # what cannot be mended comes first


@pytest.mark.parametrize(
    ("layout", "field", "value"),
    [
        ("bert", "position_embedding_type", "relative_key"),
        ("bert", "is_decoder", True),
        ("roberta", "add_cross_attention", True),
        ("albert", "num_hidden_groups", 2),
        ("albert", "inner_group_num", 2),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True),
        ("gpt2", "scale_attn_weights", False),
        ("llama", "rope_interleaved", True),
    ],
)
def test_variants_that_the_encoder_cannot_compute(tmp_path, layout, field, value):
    folder = folders.copy(layout, tmp_path / layout, **{field: value})
    assert f"{field}={value!r} is not supported, only " in refused(folder)


def test_an_unknown_activation(bert):
    folders.change(bert, hidden_act="mish")
    assert "activation 'mish' is not supported; supported are: gelu, " in refused(bert)


# Files that are refused


def header(content: bytes) -> tuple[dict, bytes]:
    """Header of a safetensors file, and the rest."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def altered(content: bytes, **fields) -> bytes:
    """The file with another entry for the last layer's weights."""
    entries, rest = header(content)
    entries["classifier.weight"] |= fields
    made = json.dumps(entries).encode()
    return struct.pack("<Q", len(made)) + made + rest


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:7],
        lambda content: b"",
        lambda content: content + b"\0",
        lambda content: struct.pack("<Q", 2**60) + content[8:],
        lambda content: content[:8] + b"[" + content[9:],
        lambda content: altered(content, data_offsets=[0, 10**9]),
        lambda content: altered(content, data_offsets=[0, 192]),
        lambda content: altered(content, dtype="F16"),
        lambda content: altered(content, shape=[3, 17]),
    ],
    ids=[
        *("a byte short", "half", "no header", "empty", "a byte more", "endless header"),
        *("no json", "beyond the end", "overlapping", "another type", "another shape"),
    ],
)
def test_a_cut_or_altered_file(bert, damage):
    (bert / WEIGHTS).write_bytes(damage((bert / WEIGHTS).read_bytes()))
    assert f"{WEIGHTS} is cut short or damaged (" in refused(bert)
    assert refused(bert).endswith("): fetch it again")


def test_the_altered_file_was_written_right(bert, expected):
    (bert / WEIGHTS).write_bytes(altered((bert / WEIGHTS).read_bytes()))
    assert_equal(load(bert)[0], expected)


def test_a_shard_that_is_cut(bert):
    where = folders.shard(bert)
    file = bert / where["classifier.weight"]
    file.write_bytes(file.read_bytes()[:-1])
    assert f"{file.name} is cut short or damaged" in refused(bert)


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({}, "has no weight_map"),
        (["model-00001-of-00002.safetensors"], "has no weight_map"),
        ({"a": "model-00003-of-00002.safetensors"}, "names 'model-00003-of-00002.safetensors'"),
        ({"a": "../bert/model-00001-of-00002.safetensors"}, "names '../bert/model"),
        ({"a": 1}, "names '1'"),
    ],
)
def test_an_index_that_is_wrong(bert, weight_map, said):
    folders.shard(bert)
    (bert / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert f"{WEIGHTS}.index.json {said}" in refused(bert)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number(bert, value):
    stored = folders.tensors(bert)
    name = "bert.encoder.layer.1.output.dense.weight"
    stored[name][3, 5] = value
    folders.store(bert, stored)
    assert f"tensor {name!r} holds infinite or NaN values: the file was altered" in refused(bert)


def test_a_value_of_half_precision_that_is_no_number(bert):
    stored = {name: v.astype(ml_dtypes.bfloat16) for name, v in folders.tensors(bert).items()}
    stored["classifier.bias"][1] = np.nan
    folders.store(bert, stored)
    assert "tensor 'classifier.bias' holds infinite or NaN" in refused(bert)


def test_a_value_that_is_not_used_may_be_anything(bert, expected):
    folders.store(bert, folders.tensors(bert) | {"cls.bias": np.full(2, np.nan, np.float32)})
    values, said = load(bert)
    assert_equal(values, expected)
    assert unused(said) == ["cls.bias"]


@pytest.mark.parametrize("layout", ["bert", "gpt2", "albert"])
def test_each_missing_tensor_of_the_encoder_is_named(tmp_path, layout):
    folder = folders.copy(layout, tmp_path / layout)
    stored = folders.tensors(folder)
    encoder = [name for name in stored if name.startswith(FAMILIES[layout].prefix)]
    pretrained = open_pretrained(str(folder))
    parameters = fresh(pretrained)
    for missing in encoder[:: 1 + len(encoder) // 8]:
        if "pooler" in missing:  # of the head: another one can be made
            continue
        folders.store(folder, {name: v for name, v in stored.items() if name != missing})
        with pytest.raises(UserError, match=f"lacks the tensor '{re.escape(missing)}'"):
            open_pretrained(str(folder)).load(parameters, True, lambda line: None)
    folders.store(folder, {name: v for name, v in stored.items() if name != encoder[0]})
    assert refused(folder).endswith(f"lacks the tensor {encoder[0]!r}")


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [
        ("bert.embeddings.word_embeddings.weight", (41, 16), "[40, 16]"),
        ("bert.embeddings.position_embeddings.weight", (23, 16), "[24, 16]"),
        ("bert.encoder.layer.0.intermediate.dense.weight", (16, 28), "[28, 16]"),
        ("bert.encoder.layer.1.attention.self.query.bias", (17,), "[16]"),
        ("bert.pooler.dense.weight", (8, 16), "[16, 16]"),
    ],
)
def test_a_misshapen_tensor(bert, name, shape, wanted):
    folders.store(bert, folders.tensors(bert) | {name: np.ones(shape, np.float32)})
    found = f"[{', '.join(map(str, shape))}]"
    assert f"tensor {name!r} has shape {found}, its config.json asks for {wanted}" in refused(bert)


# Code that comes with a model

MARKER_CODE = "import pathlib\n\npathlib.Path({!r}).touch()\n"


def test_code_that_comes_with_a_model_is_not_run(bert, expected):
    marker = bert.parent / "ran"
    for name in ("configuration_own", "modeling_own", "tokenization_own"):
        (bert / f"{name}.py").write_text(MARKER_CODE.format(str(marker)))
    auto_map = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForSequenceClassification": "modeling_own.OwnModel",
    }
    tokenizer_map = {"AutoTokenizer": ["tokenization_own.Own", "tokenization_own.OwnFast"]}
    folders.change(bert, auto_map=auto_map)
    assert_equal(load(bert)[0], expected)
    for name, works in (("BertTokenizer", True), ("Own", False)):
        settings = {"tokenizer_class": name, "auto_map": tokenizer_map}
        (bert / "tokenizer_config.json").write_text(json.dumps(settings))
        with contextlib.nullcontext() if works else pytest.raises(UserError, match="tokenizer"):
            backend = load_tokenizer(bert).backend_tokenizer
            assert backend.encode("good film").tokens[1:-1] == ["good", "film"]
    folders.change(bert, model_type="own")
    assert "model type 'own' is not supported" in refused(bert)
    assert not marker.exists()
    assert not [name for name in sys.modules if name.endswith("_own")]


# The cache of the hub


@pytest.fixture
def cached(bert) -> Path:
    """The folder as the hub's cache has it: links to files named by their hash."""
    blobs, snapshot = bert.parent / "blobs", bert.parent / "snapshots" / ("0" * 40)
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for file in bert.iterdir():
        content = file.read_bytes()
        kind = "sha256" if file.name == WEIGHTS else "sha1"  # large files, and git's own
        blob = blobs / hashlib.new(kind, content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", blob.name))
    return snapshot


def test_a_file_in_the_cache_is_what_its_name_says(cached, expected):
    assert_equal(load(cached)[0], expected)


def test_a_file_altered_in_the_cache(cached):
    """One number of the last tensor is another: nothing else would show it."""
    blob = (cached / WEIGHTS).resolve()
    content = bytearray(blob.read_bytes())
    content[-2] ^= 1
    blob.write_bytes(content)
    file = cached / WEIGHTS
    assert f"{WEIGHTS} was altered in the hub's cache: delete {file}" in refused(cached)


# Google's own checkpoints


@pytest.fixture
def google(bert) -> Path:
    """A checkpoint as Google published them, after training."""
    return folders.as_google(bert, bert.with_name("google"))


def test_a_checkpoint_of_google_holds_the_same_weights(google, expected):
    values, said = load(google)
    same = {name: value for name, value in values.items() if name not in LOGITS}
    assert_equal(same, {name: expected[name] for name in same})
    assert f"{len(expected) - 2} of {len(expected)} parameters loaded" in said
    assert "start afresh: head/logits/kernel, head/logits/bias;" in said
    listed = unused(said)
    assert {"cls.predictions.output_bias", "global_step"} <= set(listed)
    for slot in folders.SLOTS:
        assert f"*.{slot} ({len(same)})" in listed
    counts = [int((re.findall(r"\((\d+)\)$", name) or ["1"])[0]) for name in listed]
    assert sum(counts) == 2 + len(folders.SLOTS) * (len(expected) - 2)
    shape = open_pretrained(str(google)).architecture()
    assert (shape.depth, shape.heads, shape.epsilon) == (2, 2, 1e-12)
    tokenizer = load_tokenizer(google)
    assert tokenizer.backend_tokenizer.encode("Good film").tokens[1:-1] == ["good", "film"]


def test_the_slots_of_the_optimizer_are_named_where_they_are_few(google, bert):
    names = [folders.google_name(n) for n in folders.tensors(bert) if n.startswith("bert.")]
    reader = tf.train.load_checkpoint(str(google / "bert_model.ckpt"))
    kept = {name: reader.get_tensor(name) for name in names}
    kernel = "bert/encoder/layer_0/attention/self/query/kernel"
    slots = {f"{kernel}/{slot}": 0 * kept[kernel] for slot in folders.SLOTS}
    folders.save_google(google, kept | slots)
    said = load(google)[1]
    assert sorted(unused(said)) == sorted(
        name.replace("/layer_", "/layer/").replace("/", ".") for name in slots
    )


def test_a_checkpoint_of_google_that_lacks_a_tensor(google, bert):
    reader = tf.train.load_checkpoint(str(google / "bert_model.ckpt"))
    names = sorted(reader.get_variable_to_shape_map())
    missing = "bert/encoder/layer_1/output/LayerNorm/beta"
    folders.save_google(google, {n: reader.get_tensor(n) for n in names if n != missing})
    assert refused(google).endswith("lacks the tensor 'bert.encoder.layer.1.output.LayerNorm.bias'")


@pytest.mark.parametrize("file", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["missing", "half", "empty"])
def test_a_checkpoint_of_google_that_is_damaged(google, file, damage):
    path = google / f"bert_model.ckpt.{file}"
    if damage == "missing":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    said = refused(google)
    assert "cannot read " in said
    assert "bert_model.ckpt" in said


def test_a_checkpoint_of_google_with_an_altered_byte(google):
    path = google / "bert_model.ckpt.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "the file is cut short or damaged, fetch it again" in refused(google)


def test_how_to_get_a_model_that_is_missing():
    with pytest.raises(UserError) as caught:
        open_pretrained("/none/minilm")
    script = ROOT / "scripts" / "fetch_sample_weights.py"
    assert str(caught.value) == (
        "pretrained model '/none/minilm': there is no such folder (config.model.pretrained);"
        f" `python {script}` fetches MiniLM"
    )
    with pytest.raises(UserError, match=r"no such folder \(config\.model\.pretrained\)$"):
        open_pretrained("/none/bert")
