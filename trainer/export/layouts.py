"""Layouts of transformers for models that did not begin with one: config.json, if one fits.

A layout fits if the architecture that `trainer.models.families` makes of it is the model's own.
"""

import dataclasses
from typing import Any

import numpy as np

from trainer.config import Model
from trainer.errors import UserError
from trainer.models import families, family_tables
from trainer.models.architecture import Architecture

# What families call the fields of an architecture; below by model_type.
_BERT = {
    "vocab_size": "vocab_size",
    "max_length": "max_position_embeddings",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "ffn_width": "intermediate_size",
    "activation": "hidden_act",
    "epsilon": "layer_norm_eps",
    "token_types": "type_vocab_size",
}
_FIELDS = {
    "bert": _BERT,
    "electra": _BERT,
    "gpt2": {
        "vocab_size": "vocab_size",
        "max_length": "n_positions",
        "width": "n_embd",
        "depth": "n_layer",
        "heads": "n_head",
        "ffn_width": "n_inner",
        "activation": "activation_function",
        "epsilon": "layer_norm_epsilon",
    },
    "llama": {
        "vocab_size": "vocab_size",
        "max_length": "max_position_embeddings",
        "width": "hidden_size",
        "depth": "num_hidden_layers",
        "heads": "num_attention_heads",
        "kv_heads": "num_key_value_heads",
        "ffn_width": "intermediate_size",
        "activation": "hidden_act",
        "epsilon": "rms_norm_eps",
        "rotary_theta": "rope_theta",
        "attention_biases": "attention_bias",
        "ffn_biases": "mlp_bias",
    },
    "t5": {
        "vocab_size": "vocab_size",
        "width": "d_model",
        "depth": "num_layers",
        "decoder_depth": "num_decoder_layers",
        "heads": "num_heads",
        "ffn_width": "d_ff",
        "activation": "feed_forward_proj",
        "epsilon": "layer_norm_epsilon",
        "relative_buckets": "relative_attention_num_buckets",
        "relative_distance": "relative_attention_max_distance",
        "output_scale": "scale_decoder_outputs",
    },
}
# Of T5, which takes "gated-gelu" for the other.
_GATED = {"gelu": "gelu_python", "gelu_tanh": "gelu"}
_TYPES = "encoder/embeddings/types/embeddings"
_NEW_TYPES = 2  # rows of a table of segments for a model that has none: of zeros
# Not of the encoder, without effect, or of further training only; heads of keys stand in key_size.
_FREE = (
    *("head", "position_scale", "word_activation", "kv_heads", "head_dim"),
    *("dropout", "attention_dropout", "embedding_dropout", "output_dropouts"),
)


def described(shape: Architecture, kind: str) -> tuple[dict[str, Any], str]:
    """config.json of the family that has the model, with a head of this kind; or why none has.

    Returns:
      The fields that say the encoder; or an empty dict, and a sentence.
    """
    nearest: tuple[str, list[str]] | None = None
    for name, names in _FIELDS.items():
        family = family_tables.FAMILIES[name]
        if kind not in family.heads:
            continue
        config = _config(shape, name, names)
        different = _different(shape, config, kind)
        if not different:
            return config, ""
        if nearest is None or len(different) < len(nearest[1]):
            nearest = family.heads[kind].class_name, different
    if nearest is None:
        return {}, "transformers has no class for its head"
    class_name, different = nearest
    return {}, f"{class_name} of transformers, the nearest, needs {' and '.join(different)}"


def _config(shape: Architecture, name: str, names: dict[str, str]) -> dict[str, Any]:
    theirs = {ours: theirs for theirs, ours in reversed(families.ACTIVATIONS.items())}
    config: dict[str, Any] = {"model_type": name}
    config |= {theirs: getattr(shape, ours) for ours, theirs in names.items()}
    config[names["activation"]] = theirs[shape.activation]
    if "kv_heads" in names:
        config[names["kv_heads"]] = shape.key_size[0]
    if name == "t5":
        config["d_kv"] = shape.key_size[1]
        config["is_encoder_decoder"] = True
        if shape.gated_ffn:
            gate = _GATED.get(shape.activation, shape.activation)
            config[names["activation"]] = f"gated-{gate}"
    if name == "electra":
        config["embedding_size"] = shape.embedding_width or shape.width
    if "token_types" in names:
        config[names["token_types"]] = shape.token_types or _NEW_TYPES
    for ours, (field, *_) in family_tables.FAMILIES[name].dropouts.items():
        config[field] = getattr(shape, ours)
    return config


def _different(shape: Architecture, config: dict[str, Any], kind: str) -> list[str]:
    """Settings with which a model would be what a config.json says."""
    try:
        settings, longest = Model(head="native"), shape.target_length
        made = families.architecture(config, settings, "the model", kind, longest)
    except UserError as error:
        return [f"another model ({error})"]
    fields = [each.name for each in dataclasses.fields(shape) if each.name not in _FREE]
    if "rotary" not in (made.positions, shape.positions):
        fields.remove("rotary_theta")
    if made.positions == "relative":  # of which there is no table
        fields.remove("max_length")
    if "relative" not in (made.positions, shape.positions):
        fields = [name for name in fields if not name.startswith("relative_")]
    if made.key_size != shape.key_size:
        fields.append("kv_heads")
    if not shape.token_types and made.token_types == _NEW_TYPES:
        fields.remove("token_types")
    return [
        f"config.model.{name}={getattr(made, name)!r}"
        for name in fields
        if getattr(made, name) != getattr(shape, name)
    ]


def added(shape: Architecture, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Weights that the layout has and the model does not need, by our names: zeros."""
    rows = config.get("type_vocab_size", 0)
    if shape.token_types or not rows:
        return {}
    return {_TYPES: np.zeros([rows, shape.embedding_width or shape.width], np.float32)}
