"""A pretrained model's config.json and its tensors' names, as architecture and weights of ours."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trainer import config as config_lib
from trainer.errors import UserError, shown
from trainer.models import model_config
from trainer.models.architecture import (
    ROTARY_THETA,
    Architecture,
    dropout_rates,
    own_head,
)
from trainer.models.family_tables import (
    DECODER,
    FAMILIES,
    GATED,
    LEAVES,
    TEXT,
    Family,
    NativeHead,
    Place,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
MOST_POSITIONS = 2**16  # of a model without a table of them
_FFN_WIDTHS = ("intermediate_size", "hidden_dim", "n_inner", "d_ff")
_RATES = ("dropout", "attention_dropout", "embedding_dropout")


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """The family that a config.json names.

    Raises:
      UserError: its model_type is none of FAMILIES.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UserError(
            f"{where}: model type {shown(kind)} is not supported; supported are:"
            f" {', '.join(FAMILIES)}"
        )
    gated = str(config.get("feed_forward_proj")).startswith("gated")
    return GATED[kind] if gated and kind in GATED else FAMILIES[kind]


def architecture(
    config: Mapping[str, Any],
    settings: config_lib.Model,
    where: str,
    kind: str = "sequence",
    target_length: int = 0,
) -> Architecture:
    """The architecture of a pretrained model.

    Args:
      config: what its config.json holds.
      settings: `config.model`: the head, where it is not "native", and dropout rates that are set.
      where: what to call the model in a message.
      kind: of the head, one of those that the family has; without effect where it has a decoder.
      target_length: longest text that a decoder writes, in tokens; 0: the task has none.

    Raises:
      UserError: a family or a variant of one that the encoder cannot compute, one that does not
        fit the task, or a setting that is wrong in itself.
    """
    family = family_of(config, where)
    if family.writes and not target_length:
        raise UserError(
            f"{where} is an encoder and a decoder, which only tasks that write a text train: set"
            " config.task to TextToText(), or choose another pretrained model"
        )
    if target_length and not family.writes:
        raise UserError(
            f"{where} has no decoder, which the task writes texts with: choose one of"
            f" {', '.join(name for name, each in FAMILIES.items() if each.writes)}"
        )
    kind = TEXT if family.writes else kind
    for field, only in family.requires.items():
        value = config.get(field, only)
        if type(value) is not type(only) or value != only:
            raise UserError(f"{where}: {field}={shown(value)} is not supported, only {only!r} is")
    theirs = model_config.checked(config, where)
    activation = _first(theirs, "hidden_act", "activation_function", "activation", "dense_act_fn")
    if activation not in ACTIVATIONS:
        raise UserError(
            f"{where}: activation {shown(activation)} is not supported; supported"
            f" are: {', '.join(ACTIVATIONS)}"
        )
    width, heads, depth = (
        theirs.hidden_size,
        theirs.num_attention_heads,
        theirs.num_hidden_layers,
    )
    kv_heads, head_dim = _first(theirs, "num_key_value_heads"), _first(theirs, "head_dim")
    if width % heads and family.fixed.get("positions") != "relative":
        raise UserError(
            f"{where}: config.json has a width of {width} with {heads} heads: these must divide it"
        )
    if kv_heads and heads % kv_heads:
        raise UserError(
            f"{where}: config.json has num_key_value_heads={kv_heads} for {heads} heads: it must"
            " divide them"
        )
    buckets = _first(theirs, "relative_attention_num_buckets") or Architecture.relative_buckets
    distance = _first(theirs, "relative_attention_max_distance") or Architecture.relative_distance
    if buckets % 2 or distance <= buckets // 2:
        raise UserError(
            f"{where}: config.json has relative_attention_num_buckets={buckets} for"
            f" relative_attention_max_distance={distance}: it must be even, and less than twice it"
        )
    rotary = family.fixed.get("positions") == "rotary"
    if family.fixed.get("causal") and settings.head == "cls" and kind == "sequence":
        raise UserError(
            f"{where}: config.model.head='cls' takes the first token's vector, which sees nothing"
            " of the text with a causal mask: choose 'last', 'mean' or 'native'"
        )
    if family.prefix == "roberta." and theirs.pad_token_id is None:
        raise UserError(f"{where}: config.json has no pad_token_id, which positions begin after")
    native = family.heads.get(kind)
    if settings.head == "native" and native is None:
        raise UserError(
            f"{where}: it has no head of this kind: set config.model.head, to 'mean' for one"
        )
    said = {rate: _first(theirs, *family.dropouts.get(rate, ())) or 0.0 for rate in _RATES}
    if native:
        head_rate = _first(theirs, *native.dropouts)
        said["head_dropout"] = native.head.dropout if head_rate is None else head_rate
    rates = dropout_rates(settings, said)
    head_dropout = rates.pop("head_dropout")
    if native and settings.head == "native":
        hidden = width if "head/hidden" in native.modules else 0
        head = dataclasses.replace(
            native.head,
            width=hidden,
            dropout=head_dropout,
        )
    else:
        head = own_head(settings, kind, head_dropout)
    offset = theirs.pad_token_id + 1 if family.prefix == "roberta." else 0
    positions = _first(theirs, "max_position_embeddings") or MOST_POSITIONS
    if offset >= positions:
        raise UserError(
            f"{where}: config.json has {positions} positions, which begin"
            f" after pad_token_id={theirs.pad_token_id}: none is left"
        )
    values = {
        "vocab_size": theirs.vocab_size,
        "max_length": positions - offset,
        "width": width,
        "depth": depth,
        "heads": heads,
        "ffn_width": _first(theirs, *_FFN_WIDTHS) or 4 * width,
        "head": head,
        "activation": ACTIVATIONS[activation],
        "gated_ffn": bool(_first(theirs, "is_gated_act")),
        "epsilon": _first(theirs, "layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps"),
        "position_offset": offset,
        "token_types": _first(theirs, "type_vocab_size") or 0,
        "embedding_width": _embedding_width(theirs),
        "rotary_theta": model_config.rotary_theta(config, where) if rotary else ROTARY_THETA,
        "relative_buckets": buckets,
        "relative_distance": distance,
        "kv_heads": kv_heads or 0,
        "head_dim": head_dim or 0,
        "attention_biases": _first(theirs, "attention_bias") is not False,
        "ffn_biases": _first(theirs, "mlp_bias") is not False,
        "output_scale": bool(_first(theirs, "scale_decoder_outputs")),
        "decoder_depth": theirs.num_decoder_layers if family.writes else 0,
        "target_length": target_length,
        **rates,
        **family.fixed,
    }
    return Architecture(**values)


def _embedding_width(config: "PretrainedConfig") -> int:
    """0 where there is no projection; ALBERT has one even between equal widths."""
    width = _first(config, "embedding_size") or config.hidden_size
    return 0 if width == config.hidden_size and config.model_type != "albert" else width


def _first(config: "PretrainedConfig", *fields: str) -> Any:
    """The first of the fields that the config has and sets."""
    values = (getattr(config, field, None) for field in fields)
    return next((value for value in values if value is not None), None)


def tied_names(family: Family) -> list[str]:
    """Names under which a file may hold the token table, besides its own.

    Tensors that share memory, as the table and the decoder of words do where they are tied, are
    stored under one of their names.
    """
    decoders = [
        head.modules[DECODER].name for head in family.heads.values() if DECODER in head.modules
    ]
    return [prefix + name for name in decoders for prefix in ("", family.prefix)]


def head_of(family: Family, kind: str) -> NativeHead | None:
    """The head of that kind, or the one for words of a family that has none for sentences too."""
    return family.heads.get(
        "masked" if kind == "pretraining" and kind not in family.heads else kind
    )


def stored(family: Family, parameters: Iterable[str], kind: str = "sequence") -> dict[str, Place]:
    """Our parameters that a family has a place for, by name, and that place.

    Args:
      family: whose names these are.
      parameters: our names.
      kind: of the head; of one that the family does not have, nothing is stored.
    """
    head = head_of(family, kind)
    modules, places = {**family.modules, **(head.modules if head else {})}, {}
    for name in parameters:
        if name in modules:  # a tensor by itself
            places[name] = modules[name]
            continue
        module, _, leaf = name.rpartition("/")
        block = re.search(r"block_(\d+)", module)
        theirs = modules.get(re.sub(r"block_\d+", "block_{i}", module))
        if theirs is not None:
            number = block[1] if block else ""
            places[name] = Place(
                f"{theirs.name.replace('{i}', number)}.{LEAVES.get(leaf, leaf)}",
                theirs.transposed and leaf == "kernel",
                theirs.part,
            )
    return places
