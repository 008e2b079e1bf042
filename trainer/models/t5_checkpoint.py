"""T5's own TensorFlow checkpoints: names of Mesh TensorFlow, and the shape that tensors tell.

As text-to-text-transfer-transformer (Raffel et al., 2020) writes and publishes them, without a
config.json: model.ckpt-STEP.index, its data files, and operative_config.gin.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.errors import UserError, shown

GIN = "operative_config.gin"
_INDEX = ".index"
_MOST_GIN = 2**20  # bytes that are looked through
_BLOCK = re.compile(r"(encoder|decoder)/block_(\d{3,})/layer_(\d{3,})/(.+)")
_ATTENTION = re.compile(r"(?:SelfAttention|EncDecAttention)/[qkvo]|.+/relative_attention_bias")
_FFN = re.compile(r"DenseReluDense/w(?:i|i_0|i_1|o)/kernel")
_NORM = re.compile(r"(?:layer|rms)_norm/scale")
_OTHERS = {  # transformers' names of those that stand in no block, and whether they are transposed
    "shared/embedding": ("shared.weight", False),
    "decoder/logits/kernel": ("lm_head.weight", True),
    **{
        f"{stack}/{norm}/scale": (f"{stack}.final_layer_norm.weight", False)
        for stack in ("encoder", "decoder")
        for norm in ("final_layer_norm", "rms_norm")
    },
}


def prefix_in(folder: Path, where: str) -> Path | None:
    """The prefix of the checkpoint's files in a folder; None: there is none.

    Raises:
      UserError: there are several.
    """
    names = sorted(path.name for path in folder.glob(f"model.ckpt*{_INDEX}"))
    if len(names) > 1:
        raise UserError(
            f"{where}: {folder} holds {len(names)} checkpoints, {shown(names[0])} among them: keep"
            " one"
        )
    return folder / names[0].removesuffix(_INDEX) if names else None


def renamed(name: str) -> tuple[str, bool]:
    """The name in transformers, and whether the tensor is stored transposed there."""
    if name in _OTHERS:
        return _OTHERS[name]
    found = _BLOCK.fullmatch(name)
    if not found:
        return name, False
    stack, block, layer, rest = found.groups()
    if _NORM.fullmatch(rest):
        rest = "layer_norm"
    elif not (_ATTENTION.fullmatch(rest) or _FFN.fullmatch(rest)):
        return name, False  # a slot of the optimizer
    rest = rest.removesuffix("/kernel").replace("/", ".")
    return f"{stack}.block.{int(block)}.layer.{int(layer)}.{rest}.weight", rest != "layer_norm"


def config_of(shapes: Mapping[str, tuple[int, ...]], folder: Path, where: str) -> dict[str, Any]:
    """The config.json that transformers would have for the model.

    Args:
      shapes: of the tensors, by the names of transformers.
      folder: what may hold operative_config.gin, by which an activation is checked.
      where: names the model in a message.

    Raises:
      UserError: a tensor is missing that tells a size, or an activation is not T5's.
    """

    def shape(name: str) -> tuple[int, int]:
        if len(found := shapes.get(f"{name}.weight", ())) != 2:
            raise UserError(f"{where} lacks the tensor {f'{name}.weight'!r}, of two axes")
        return found[0], found[1]

    def depth(stack: str) -> int:
        numbers = (re.match(rf"{stack}\.block\.(\d+)\.", name) for name in shapes)
        return 1 + max((int(found[1]) for found in numbers if found), default=0)

    attention = "encoder.block.0.layer.0.SelfAttention"
    gated = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in shapes
    buckets, heads = shape(f"{attention}.relative_attention_bias")
    inner = "wi_0" if gated else "wi"
    vocabulary, width = shape("shared")
    _check_activation(folder / GIN, "gelu" if gated else "relu", where)
    return {
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shape(f"{attention}.q")[0] // max(heads, 1),
        "d_ff": shape(f"encoder.block.0.layer.1.DenseReluDense.{inner}")[0],
        "num_layers": depth("encoder"),
        "num_decoder_layers": depth("decoder"),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": "lm_head.weight" not in shapes,
        "is_encoder_decoder": True,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def _check_activation(gin: Path, usual: str, where: str) -> None:
    """Refuses an activation that operative_config.gin names and published models do not have."""
    if not gin.is_file():
        return
    with gin.open("rb") as file:
        text = file.read(_MOST_GIN).decode("utf-8", "replace")
    for said in re.findall(r"^\s*\S*DenseReluDense\.activation\s*=\s*(.+)$", text, re.MULTILINE):
        if usual not in said:
            raise UserError(
                f"{where}: {GIN} has DenseReluDense.activation={shown(said)}, only {usual!r} is"
                " supported in a model of these tensors"
            )
