"""The config.json of a pretrained model: data from elsewhere, checked before anything is built.

Only the settings that this library uses reach transformers' own class, which fills in defaults:
that class makes a dict of as many labels as `num_labels` says, and takes any field.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer.errors import UserError, in_one_line, shown
from trainer.models.architecture import ROTARY_THETA

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MAX_LABELS = 100_000


class Allowed(NamedTuple):
    """Values that a setting may have: of one type, numbers from `low` to `high`, or null."""

    kind: type
    low: float = 0
    high: float = 0
    null: bool = False

    def holds(self, value: object) -> bool:
        """True if it is one of them; an integer is a float too, a boolean is no number."""
        if value is None:
            return self.null
        if self.kind is float and type(value) is int:
            value = float(value) if abs(value) < 2**53 else math.inf
        return type(value) is self.kind and (
            self.kind not in (int, float) or self.low <= value <= self.high  # type: ignore[operator]
        )

    def __str__(self) -> str:
        numbers = {int: "an integer", float: "a number"}
        said = {bool: "true or false", str: "a text"}.get(self.kind) or (
            f"{numbers[self.kind]} from {self.low:g} to {self.high:.10g}"
        )
        return said + (", or null," if self.null else "")


_RATE, _RATE_OR_NULL = Allowed(float, 0, 0.95), Allowed(float, 0, 0.95, null=True)
_EPSILON = Allowed(float, 1e-20, 1)
_THETA = Allowed(float, 2, 1e9)
# By the name that most families give them. The largest of these models published have 48 layers of
# width 2560 and 250,002 tokens.
_SETTINGS = {
    "vocab_size": Allowed(int, 1, 2**24),
    "hidden_size": Allowed(int, 1, 2**16),
    "num_hidden_layers": Allowed(int, 1, 2**8),
    "num_attention_heads": Allowed(int, 1, 2**10),
    "num_key_value_heads": Allowed(int, 1, 2**10, null=True),
    "head_dim": Allowed(int, 1, 2**16, null=True),
    "intermediate_size": Allowed(int, 1, 2**18),
    "hidden_dim": Allowed(int, 1, 2**18),
    "n_inner": Allowed(int, 1, 2**18, null=True),
    "d_ff": Allowed(int, 1, 2**18),
    "feed_forward_proj": Allowed(str),
    "scale_decoder_outputs": Allowed(bool),
    "num_decoder_layers": Allowed(int, 1, 2**8, null=True),
    "relative_attention_num_buckets": Allowed(int, 4, 2**12),
    "relative_attention_max_distance": Allowed(int, 3, 2**16),
    "max_position_embeddings": Allowed(int, 1, 2**20),
    "type_vocab_size": Allowed(int, 0, 2**16),
    "embedding_size": Allowed(int, 1, 2**16),
    "pad_token_id": Allowed(int, 0, 2**24, null=True),
    "hidden_act": Allowed(str),
    "activation_function": Allowed(str),
    "activation": Allowed(str),
    "layer_norm_eps": _EPSILON,
    "layer_norm_epsilon": _EPSILON,
    "rms_norm_eps": _EPSILON,
    "attention_bias": Allowed(bool),
    "mlp_bias": Allowed(bool),
    "tie_word_embeddings": Allowed(bool),
    "hidden_dropout_prob": _RATE,
    "attention_probs_dropout_prob": _RATE,
    "classifier_dropout": _RATE_OR_NULL,
    "classifier_dropout_prob": _RATE_OR_NULL,
    "hidden_dropout": _RATE_OR_NULL,
    "dropout": _RATE,
    "dropout_rate": _RATE,
    "attention_dropout": _RATE,
    "seq_classif_dropout": _RATE,
    "resid_pdrop": _RATE,
    "attn_pdrop": _RATE,
    "embd_pdrop": _RATE,
}
# Settings that a family's models read though its config class does not declare them.
_UNDECLARED = dict.fromkeys(("gpt2", "llama"), ("classifier_dropout", "hidden_dropout"))
_NUM_LABELS = Allowed(int, 1, MAX_LABELS)
_START = Allowed(int, 0, 2**24, null=True)


def checked(config: Mapping[str, Any], where: str) -> "PretrainedConfig":
    """Settings of it that this library uses, with transformers' defaults for others.

    Args:
      config: a config.json whose "model_type" transformers knows.
      where: names the model in a message.

    Raises:
      UserError: a value of another type or out of range, or two values of one setting.
    """
    from transformers import CONFIG_MAPPING

    family = CONFIG_MAPPING[config["model_type"]]
    default, used = family(), {}
    undeclared = _UNDECLARED.get(config["model_type"], ())
    for common, allowed in _SETTINGS.items():
        name = family.attribute_map.get(common, common)
        given = {key: config[key] for key in (name, common) if key in config}
        if not given or not (hasattr(default, name) or name in undeclared):
            continue
        for key, value in given.items():
            if not allowed.holds(value):
                raise UserError(f"{where}: config.json has {key}={shown(value)}, not {allowed}")
        if len(set(given.values())) > 1:
            both = " and ".join(f"{key}={value!r}" for key, value in given.items())
            raise UserError(f"{where}: config.json has {both}, which are one setting: keep one")
        used[name] = next(iter(given.values()))
    if not _NUM_LABELS.holds(config.get("num_labels", 1)):
        raise UserError(
            f"{where}: config.json has num_labels={shown(config['num_labels'])}, not {_NUM_LABELS}"
        )
    labels(config, where)
    architectures(config, where)
    # Not used, and beyond a small vocabulary by default, which transformers would remark on.
    used |= {"bos_token_id": None, "eos_token_id": None}
    try:
        return family.from_dict(used)
    except Exception as error:  # its own checks raise errors of many kinds
        raise UserError(f"{where}: config.json: {in_one_line(error)}") from error


def rotary_theta(config: Mapping[str, Any], where: str) -> float:
    """The theta of rotary positions, from `rope_parameters` or, as before transformers 5, a field.

    Raises:
      UserError: positions are scaled (`rope_scaling`, or a `rope_type`), or a value is wrong.
    """
    theta = config.get("rope_theta", ROTARY_THETA)
    for name in ("rope_scaling", "rope_parameters"):
        said = config.get(name)
        plain = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1.0}
        if said is None:
            continue
        if not isinstance(said, dict) or any(
            plain.get(key) != value for key, value in said.items() if key != "rope_theta"
        ):
            raise UserError(
                f"{where}: {name}={shown(said)} is not supported, only rotary positions without"
                " scaling are"
            )
        theta = said.get("rope_theta", theta)
    if not _THETA.holds(theta):
        raise UserError(f"{where}: config.json has rope_theta={shown(theta)}, not {_THETA}")
    return float(theta)


def start_id(config: Mapping[str, Any], where: str) -> int | None:
    """The token that a decoder begins with; None: it says none.

    Raises:
      UserError: it is no id.
    """
    start = config.get("decoder_start_token_id")
    if not _START.holds(start):
        raise UserError(
            f"{where}: config.json has decoder_start_token_id={shown(start)}, not {_START}"
        )
    return start


def labels(config: Mapping[str, Any], where: str) -> list[str]:
    """Names of the classes by their ids, from `id2label`; empty where it has none.

    Raises:
      UserError: it is anything but an object of names by the numbers from 0 on.
    """
    named = config.get("id2label")
    named = {} if named is None else named
    size = len(named) if isinstance(named, dict) else -1
    if not 0 <= size <= MAX_LABELS or named.keys() != {str(i) for i in range(size)}:
        raise UserError(
            f'{where}: config.json has id2label={shown(named)}, not an object {{"0": …, "1": …}}'
            f" of at most {MAX_LABELS:,} names"
        )
    names = [named[str(i)] for i in range(size)]
    for name in names:
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise UserError(f"{where}: config.json has the label {shown(name)}, not a text")
    return [str(name) for name in names]


def architectures(config: Mapping[str, Any], where: str) -> list[str]:
    """Classes of transformers that the weights were saved from, from `architectures`.

    Raises:
      UserError: it is anything but a list of texts.
    """
    names = config.get("architectures")
    names = [] if names is None else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"{where}: config.json has architectures={shown(names)}, not a list of texts"
        )
    return names
