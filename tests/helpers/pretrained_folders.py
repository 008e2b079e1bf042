"""Tiny pretrained models in real layouts, with tokenizers, and all that a run of one needs.

The weights are those of tests/models/parity: 40 tokens, 24 positions, 2 blocks of 16 numbers a
token, 3 labels where there is a head.
"""

import csv
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from programs import ROOT
from transformers import AlbertTokenizer, T5Tokenizer, XLMRobertaTokenizer

LAYOUTS = ROOT / "tests" / "models" / "parity"
# Those with a head for texts; NAME_tokens has one for tokens.
FAMILIES = ("bert", "distilbert", "roberta", "xlm_roberta", "electra", "albert", "gpt2", "llama")
KINDS = (
    "tokens",
    "masked",
    "causal",
    "replaced",
    "text",
)  # of heads, by how the layout's name ends
WEIGHTS = "model.safetensors"
CLASSES, POSITIONS = 3, 24
GOOD, BAD = ("good", "fine"), ("bad", "poor")
WORDS = (*GOOD, *BAD, "film", "number", "a")
WORD_PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *WORDS,
    *(f"{mark}{digit}" for mark in ("", "##") for digit in range(10)),
)
LETTERS = sorted({*"".join(WORDS), *"0123456789"})
SPACES = {"bpe": "\u0120", "unigram": "\u2581"}  # as they stand in vocabularies
SPECIAL = {
    "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "gpt2": ("!", "<|endoftext|>"),
    "llama": ("!", "<|endoftext|>"),
    "albert": ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    "xlm_roberta": ("<s>", "<pad>", "</s>", "<unk>"),
    "t5": ("<pad>", "</s>", "<unk>"),
}


def copy(layout: str, folder: Path, **changes: Any) -> Path:
    """A pretrained model with its tokenizer in a new folder; `changes` are those of its config."""
    folder.mkdir(parents=True)
    for name in ("config.json", WEIGHTS):
        shutil.copy(LAYOUTS / layout / name, folder)
    change(folder, **changes)
    kind = re.sub(f"(_base|_untied|_gated)?(_({'|'.join(KINDS)}))?$", "", layout)
    special = SPECIAL.get(kind, ())
    if kind in ("roberta", "gpt2", "llama"):
        tokens = [*special, SPACES["bpe"], *LETTERS]
        (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        if kind == "llama":  # as SmolLM has it
            said = json.dumps({"tokenizer_class": "GPT2Tokenizer"})
            (folder / "tokenizer_config.json").write_text(said)
    elif kind in ("albert", "xlm_roberta", "t5"):
        pieces = [(token, 0.0) for token in special]
        pieces += [(piece, -3.0) for piece in (SPACES["unigram"], *LETTERS)]
        if kind == "t5":
            T5Tokenizer(vocab=pieces, extra_ids=0).save_pretrained(folder)
        else:
            make = AlbertTokenizer if kind == "albert" else XLMRobertaTokenizer
            make(vocab=pieces).save_pretrained(folder)
    else:
        (folder / "vocab.txt").write_text("\n".join(WORD_PIECES) + "\n")
    return folder


def change(folder: Path, **changes: Any) -> None:
    """Sets fields of config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def kind_of(layout: str) -> str:
    """The kind of its head."""
    ending = layout.rpartition("_")[2]
    return ending if ending in KINDS else "sequence"


def one_output(folder: Path) -> Path:
    """Leaves the first output of its head."""
    change(folder, id2label={"0": "LABEL_0"}, problem_type="regression")
    cut = {n: v[:1].copy() if len(v) == CLASSES else v for n, v in tensors(folder).items()}
    store(folder, cut)
    return folder


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """Contents of model.safetensors."""
    return safetensors.numpy.load_file(folder / WEIGHTS)


def store(folder: Path, values: Mapping[str, np.ndarray], name: str = WEIGHTS) -> None:
    """Writes it anew."""
    safetensors.numpy.save_file(dict(values), folder / name, {"format": "pt"})


def shard(folder: Path) -> dict[str, str]:
    """Cuts model.safetensors in two; which tensor is where."""
    names = sorted(whole := tensors(folder))
    files = [f"model-{i + 1:05d}-of-00002.safetensors" for i in range(2)]
    for file, part in zip(files, (names[::2], names[1::2]), strict=True):
        store(folder, {name: whole[name] for name in part}, file)
    (folder / WEIGHTS).unlink()
    where = {name: files[i % 2] for i, name in enumerate(names)}
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return where


SLOTS = ("adam_m", "adam_v")  # of the optimizer
OF_GOOGLE = (
    *("attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "hidden_size"),
    *("initializer_range", "intermediate_size", "max_position_embeddings"),
    *("num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size"),
)


def as_google(bert: Path, folder: Path) -> Path:
    """A BERT as Google published it, in a new folder: with slots, without the classifier."""
    folder.mkdir()
    variables = {}
    for name, value in tensors(bert).items():
        if name.startswith("bert."):
            theirs = google_name(name)
            variables[theirs] = value.T if theirs.endswith("/kernel") else value
    assert "bert/encoder/layer_0/attention/self/query/kernel" in variables
    assert "bert/embeddings/word_embeddings" in variables
    slots = {f"{name}/{slot}": 0 * v for name, v in variables.items() for slot in SLOTS}
    others = {
        "cls/predictions/output_bias": np.ones(40, np.float32),
        "global_step": np.array(7, np.int64),
    }
    save_google(folder, variables | slots | others)
    config = json.loads((bert / "config.json").read_text())
    (folder / "bert_config.json").write_text(json.dumps({k: config[k] for k in OF_GOOGLE}))
    shutil.copy(bert / "vocab.txt", folder)
    return folder


def google_name(name: str) -> str:
    """Google's name for a tensor of transformers' BERT."""
    name = name.replace("encoder.layer.", "encoder.layer_").replace(".", "/")
    if "embeddings" in name and "LayerNorm" not in name:
        return name.removesuffix("/weight")
    name = re.sub("weight$", "gamma" if "LayerNorm" in name else "kernel", name)
    return re.sub("LayerNorm/bias$", "LayerNorm/beta", name)


def as_mesh(t5: Path, folder: Path) -> Path:
    """A T5 as text-to-text-transfer-transformer writes it, in a new folder: with slots."""
    folder.mkdir()
    variables: dict[str, np.ndarray] = {"global_step": np.array(7, np.int64)}
    for name, value in tensors(t5).items():
        theirs = mesh_name(name)
        transposed = value.ndim == 2 and theirs != "shared/embedding"
        variables[theirs] = value.T if transposed else value
        variables |= {f"{theirs}_slot_{slot}": 0 * value[0] for slot in ("vr", "vc")}
    assert {"encoder/block_000/layer_000/SelfAttention/q", "shared/embedding"} <= variables.keys()
    assert "decoder/block_001/layer_002/DenseReluDense/wo/kernel" in variables
    save_google(folder, variables, "model.ckpt-1000")
    return folder


def mesh_name(name: str) -> str:
    """Mesh TensorFlow's name for a tensor of transformers' T5."""
    others = {"shared.weight": "shared/embedding", "lm_head.weight": "decoder/logits/kernel"}
    if name in others:
        return others[name]
    name = re.sub(r"block\.(\d+)\.", lambda found: f"block_{int(found[1]):03d}.", name)
    name = re.sub(r"layer\.(\d+)\.", lambda found: f"layer_{int(found[1]):03d}.", name)
    name = name.removesuffix(".weight").replace(".", "/")
    if name.endswith("final_layer_norm"):
        return name.replace("final_layer_norm", "rms_norm/scale")
    if name.endswith("layer_norm"):
        return f"{name}/scale"
    return f"{name}/kernel" if "DenseReluDense" in name else name


def save_google(
    folder: Path, variables: Mapping[str, np.ndarray], name: str = "bert_model.ckpt"
) -> None:
    """Writes a checkpoint with variables by their plain names, as TensorFlow 1 did."""
    import tensorflow as tf

    names = sorted(variables)
    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(variables[name]) for name in names],
    )


def reviews(path: Path, rows: int, seed: int = 0) -> Path:
    """Texts whose first word says their label, in a CSV file."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(rows):
            label = ("good", "bad")[i % 2]
            first = random.choice(GOOD if label == "good" else BAD)
            rest = random.choice(["film", "number", "a", str(i)], random.integers(1, 9))
            writer.writerow([" ".join([str(first), *map(str, rest)]), label])
    return path


def flags(pretrained: str | Path, data: Path, cache: str, rows: int = 64) -> Sequence[str]:
    """Those of a run of thawing.py, but for its workdir; its files are made in `data`."""
    return (
        f"--config={Path(__file__).with_name('thawing.py')}",
        f"--config.model.pretrained={pretrained}",
        f"--config.data.train={reviews(data / 'train.csv', rows)}",
        f"--config.data.test={reviews(data / 'test.csv', 16, seed=1)}",
        cache,
    )
