"""Pretrained families: what their config.json says of our model, and what they call its weights.

The structures, with the places of dropout, are those of Hugging Face transformers 5; papers stand
at each family.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import PretrainedConfig

from trainer import config as config_lib
from trainer.errors import UserError, shown
from trainer.models import model_config
from trainer.models.architecture import Architecture, Head, dropout_rates, own_head

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
# Kinds of heads, and how the classes end that transformers has for them.
KINDS = {"sequence": "ForSequenceClassification", "tokens": "ForTokenClassification"}
TOKENS = "encoder/embeddings/tokens/embeddings"
LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


class Place(NamedTuple):
    """Where a module's weights, or one of them, stand in a family's file.

    Attributes:
      name: of the module or tensor; {i} is the number of the block.
      transposed: whether its kernel is stored as [out, in], as PyTorch's Linear has it.
      part: (k, n) where it is the k-th of n equal parts of what is stored, along the last axis of
        our kernel.
    """

    name: str
    transposed: bool = True
    part: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class NativeHead:
    """A head that transformers has for a family.

    Attributes:
      class_name: of the class in transformers that holds the encoder with this head.
      modules: our modules by name, and theirs.
      head: its shape; a dense layer, where `modules` has one, is as wide as the encoder.
      dropouts: the fields of the config that hold its rate, the first that is set counts; where
        none is, the rate is that of `head`.
    """

    class_name: str
    modules: Mapping[str, Place]
    head: Head
    dropouts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """A kind of pretrained model.

    Attributes:
      prefix: of the encoder's tensors in files that hold a head too.
      modules: our modules of the encoder by name, with block_{i}, and theirs.
      heads: its heads by kind, for each of KINDS.
      dropouts: the fields of the config that hold the encoder's rates, the first that is set
        counts.
      fixed: further fields of the architecture.
      requires: fields of the config with the only value that is supported.
      tied: further names of the token table in models that predict words: tensors that share
        memory are stored under one of their names.
    """

    prefix: str
    modules: Mapping[str, Place]
    heads: Mapping[str, NativeHead]
    dropouts: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, Any]
    requires: Mapping[str, Any]
    tied: tuple[str, ...]


def _modules(prefix: str, names: Mapping[str, str]) -> dict[str, Place]:
    return {ours: Place(prefix + theirs) for ours, theirs in names.items()}


def _sequence_head(
    name: str, head: Head, hidden: str, logits: str, dropouts: tuple[str, ...]
) -> NativeHead:
    """A head for whole texts, with a dense layer."""
    modules = {"head/hidden": Place(hidden), "head/logits": Place(logits)}
    return NativeHead(name + KINDS["sequence"], modules, head, dropouts)


def _tokens_head(name: str, dropouts: tuple[str, ...], rate: float = 0.0) -> NativeHead:
    """A head for tokens: dropout and a linear layer."""
    modules = {"head/logits": Place("classifier")}
    head = Head("tokens", dropout=rate)
    return NativeHead(name + KINDS["tokens"], modules, head, dropouts)


_BERT_ENCODER = {
    "encoder/embeddings/tokens": "embeddings.word_embeddings",
    "encoder/embeddings/positions": "embeddings.position_embeddings",
    "encoder/embeddings/types": "embeddings.token_type_embeddings",
    "encoder/embeddings/norm": "embeddings.LayerNorm",
    "encoder/block_{i}/attention/query": "encoder.layer.{i}.attention.self.query",
    "encoder/block_{i}/attention/key": "encoder.layer.{i}.attention.self.key",
    "encoder/block_{i}/attention/value": "encoder.layer.{i}.attention.self.value",
    "encoder/block_{i}/attention/output_projection": "encoder.layer.{i}.attention.output.dense",
    "encoder/block_{i}/attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "encoder/block_{i}/ffn_in": "encoder.layer.{i}.intermediate.dense",
    "encoder/block_{i}/ffn_out": "encoder.layer.{i}.output.dense",
    "encoder/block_{i}/ffn_norm": "encoder.layer.{i}.output.LayerNorm",
}
_DISTILBERT_ENCODER = {
    "encoder/embeddings/tokens": "embeddings.word_embeddings",
    "encoder/embeddings/positions": "embeddings.position_embeddings",
    "encoder/embeddings/norm": "embeddings.LayerNorm",
    "encoder/block_{i}/attention/query": "transformer.layer.{i}.attention.q_lin",
    "encoder/block_{i}/attention/key": "transformer.layer.{i}.attention.k_lin",
    "encoder/block_{i}/attention/value": "transformer.layer.{i}.attention.v_lin",
    "encoder/block_{i}/attention/output_projection": "transformer.layer.{i}.attention.out_lin",
    "encoder/block_{i}/attention_norm": "transformer.layer.{i}.sa_layer_norm",
    "encoder/block_{i}/ffn_in": "transformer.layer.{i}.ffn.lin1",
    "encoder/block_{i}/ffn_out": "transformer.layer.{i}.ffn.lin2",
    "encoder/block_{i}/ffn_norm": "transformer.layer.{i}.output_layer_norm",
}
_ALBERT_LAYER = "encoder.albert_layer_groups.0.albert_layers.0"
_ALBERT_ENCODER = {
    "encoder/embeddings/tokens": "embeddings.word_embeddings",
    "encoder/embeddings/positions": "embeddings.position_embeddings",
    "encoder/embeddings/types": "embeddings.token_type_embeddings",
    "encoder/embeddings/norm": "embeddings.LayerNorm",
    "encoder/embeddings/projection": "encoder.embedding_hidden_mapping_in",
    "encoder/block_{i}/attention/query": f"{_ALBERT_LAYER}.attention.query",
    "encoder/block_{i}/attention/key": f"{_ALBERT_LAYER}.attention.key",
    "encoder/block_{i}/attention/value": f"{_ALBERT_LAYER}.attention.value",
    "encoder/block_{i}/attention/output_projection": f"{_ALBERT_LAYER}.attention.dense",
    "encoder/block_{i}/attention_norm": f"{_ALBERT_LAYER}.attention.LayerNorm",
    "encoder/block_{i}/ffn_in": f"{_ALBERT_LAYER}.ffn",
    "encoder/block_{i}/ffn_out": f"{_ALBERT_LAYER}.ffn_output",
    "encoder/block_{i}/ffn_norm": f"{_ALBERT_LAYER}.full_layer_layer_norm",
}
_GPT2_BLOCK = "transformer.h.{i}."
_GPT2_MODULES = {
    "encoder/embeddings/tokens": Place("transformer.wte"),
    "encoder/embeddings/positions": Place("transformer.wpe"),
    "encoder/block_{i}/attention_norm": Place(_GPT2_BLOCK + "ln_1"),
    **{
        f"encoder/block_{{i}}/attention/{name}": Place(_GPT2_BLOCK + "attn.c_attn", False, (k, 3))
        for k, name in enumerate(("query", "key", "value"))
    },
    "encoder/block_{i}/attention/output_projection": Place(_GPT2_BLOCK + "attn.c_proj", False),
    "encoder/block_{i}/ffn_norm": Place(_GPT2_BLOCK + "ln_2"),
    "encoder/block_{i}/ffn_in": Place(_GPT2_BLOCK + "mlp.c_fc", False),
    "encoder/block_{i}/ffn_out": Place(_GPT2_BLOCK + "mlp.c_proj", False),
    "encoder/final_norm": Place("transformer.ln_f"),
}
_BERT_DROPOUTS = {
    "dropout": ("hidden_dropout_prob",),
    "attention_dropout": ("attention_probs_dropout_prob",),
    "embedding_dropout": ("hidden_dropout_prob",),
}
_BERT_HEAD_DROPOUTS = ("classifier_dropout", "hidden_dropout_prob")
_ALBERT_HEAD_DROPOUTS = ("classifier_dropout_prob",)
_ENCODER = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}

# Devlin et al., 2019, arXiv:1810.04805. MiniLM (Wang et al., 2020, arXiv:2002.10957) is one too.
_BERT = Family(
    prefix="bert.",
    modules=_modules("bert.", _BERT_ENCODER),
    heads={
        "sequence": _sequence_head(
            "Bert",
            Head("cls", activation="tanh"),
            hidden="bert.pooler.dense",
            logits="classifier",
            dropouts=_BERT_HEAD_DROPOUTS,
        ),
        "tokens": _tokens_head("Bert", _BERT_HEAD_DROPOUTS),
    },
    dropouts=_BERT_DROPOUTS,
    fixed={},
    requires=_ENCODER,
    tied=("cls.predictions.decoder.weight",),
)
# Liu et al., 2019, arXiv:1907.11692. The first position has the number after the padding's.
_ROBERTA = Family(
    prefix="roberta.",
    modules=_modules("roberta.", _BERT_ENCODER),
    heads={
        "sequence": _sequence_head(
            "Roberta",
            Head("cls", activation="tanh", drops_input=True),
            hidden="classifier.dense",
            logits="classifier.out_proj",
            dropouts=_BERT_HEAD_DROPOUTS,
        ),
        "tokens": _tokens_head("Roberta", _BERT_HEAD_DROPOUTS),
    },
    dropouts=_BERT_DROPOUTS,
    fixed={},
    requires=_ENCODER,
    tied=("lm_head.decoder.weight",),
)
FAMILIES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    # Conneau et al., 2020, arXiv:1911.02116: RoBERTa's structure.
    "xlm-roberta": dataclasses.replace(
        _ROBERTA,
        heads={
            kind: dataclasses.replace(head, class_name=f"XLM{head.class_name}")
            for kind, head in _ROBERTA.heads.items()
        },
    ),
    # Sanh et al., 2019, arXiv:1910.01108.
    "distilbert": Family(
        prefix="distilbert.",
        modules=_modules("distilbert.", _DISTILBERT_ENCODER),
        heads={
            "sequence": _sequence_head(
                "DistilBert",
                Head("cls", activation="relu"),
                hidden="pre_classifier",
                logits="classifier",
                dropouts=("seq_classif_dropout",),
            ),
            "tokens": _tokens_head("DistilBert", ("dropout",)),
        },
        dropouts={
            "dropout": ("dropout",),
            "attention_dropout": ("attention_dropout",),
            "embedding_dropout": ("dropout",),
        },
        fixed={"epsilon": 1e-12, "output_dropouts": ("ffn",)},
        requires={},
        tied=("vocab_projector.weight",),
    ),
    # Clark et al., 2020, arXiv:2003.10555: the discriminator.
    "electra": Family(
        prefix="electra.",
        modules=_modules(
            "electra.",
            _BERT_ENCODER | {"encoder/embeddings/projection": "embeddings_project"},
        ),
        heads={
            "sequence": _sequence_head(
                "Electra",
                Head("cls", activation="gelu", drops_input=True),
                hidden="classifier.dense",
                logits="classifier.out_proj",
                dropouts=_BERT_HEAD_DROPOUTS,
            ),
            "tokens": _tokens_head("Electra", _BERT_HEAD_DROPOUTS),
        },
        dropouts=_BERT_DROPOUTS,
        fixed={},
        requires=_ENCODER,
        tied=("generator_lm_head.weight",),
    ),
    # Lan et al., 2020, arXiv:1909.11942: one block for all layers.
    "albert": Family(
        prefix="albert.",
        modules=_modules("albert.", _ALBERT_ENCODER),
        heads={
            "sequence": _sequence_head(
                "Albert",
                Head("cls", activation="tanh"),
                hidden="albert.pooler",
                logits="classifier",
                dropouts=_ALBERT_HEAD_DROPOUTS,
            ),
            "tokens": _tokens_head("Albert", _ALBERT_HEAD_DROPOUTS),
        },
        dropouts=_BERT_DROPOUTS,
        fixed={"shared": True, "output_dropouts": ("attention",)},
        requires={**_ENCODER, "num_hidden_groups": 1, "inner_group_num": 1},
        tied=("predictions.decoder.weight",),
    ),
    # Radford et al., 2019: a decoder; the last token has seen all others.
    "gpt2": Family(
        prefix="transformer.",
        modules=_GPT2_MODULES,
        heads={
            "sequence": NativeHead(
                "GPT2" + KINDS["sequence"],
                {"head/logits": Place("score")},
                Head("last", bias=False),
            ),
            # GPT2Config declares neither field, the class reads both.
            "tokens": _tokens_head("GPT2", ("classifier_dropout", "hidden_dropout"), rate=0.1),
        },
        dropouts={
            "dropout": ("resid_pdrop",),
            "attention_dropout": ("attn_pdrop",),
            "embedding_dropout": ("embd_pdrop",),
        },
        fixed={"norm": "pre", "causal": True, "embedding_norm": False},
        requires={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        tied=("lm_head.weight",),
    ),
}


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
    return FAMILIES[kind]


def architecture(
    config: Mapping[str, Any], settings: config_lib.Model, where: str, kind: str = "sequence"
) -> Architecture:
    """The architecture of a pretrained model.

    Args:
      config: what its config.json holds.
      settings: `config.model`: the head, where it is not "native", and dropout rates that are set.
      where: what to call the model in a message.
      kind: of the head, one of KINDS.

    Raises:
      UserError: a family or a variant of one that the encoder cannot compute, or a setting that
        is wrong in itself.
    """
    family = family_of(config, where)
    for field, only in family.requires.items():
        value = config.get(field, only)
        if type(value) is not type(only) or value != only:
            raise UserError(f"{where}: {field}={shown(value)} is not supported, only {only!r} is")
    theirs = model_config.checked(config, where)
    activation = _first(theirs, "hidden_act", "activation_function", "activation")
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
    if width % heads:
        raise UserError(
            f"{where}: config.json has a width of {width} with {heads} heads: these must divide it"
        )
    if family.fixed.get("causal") and settings.head == "cls" and kind == "sequence":
        raise UserError(
            f"{where}: config.model.head='cls' takes the first token's vector, which sees nothing"
            " of the text with a causal mask: choose 'last', 'mean' or 'native'"
        )
    if family.prefix == "roberta." and theirs.pad_token_id is None:
        raise UserError(f"{where}: config.json has no pad_token_id, which positions begin after")
    native = family.heads[kind]
    head_rate = _first(theirs, *native.dropouts)
    rates = dropout_rates(
        settings,
        {ours: _first(theirs, *fields) for ours, fields in family.dropouts.items()}
        | {"head_dropout": native.head.dropout if head_rate is None else head_rate},
    )
    head_dropout = rates.pop("head_dropout")
    if settings.head == "native":
        hidden = width if "head/hidden" in native.modules else 0
        head = dataclasses.replace(native.head, width=hidden, dropout=head_dropout)
    else:
        head = own_head(settings, kind, head_dropout)
    offset = theirs.pad_token_id + 1 if family.prefix == "roberta." else 0
    if offset >= theirs.max_position_embeddings:
        raise UserError(
            f"{where}: config.json has {theirs.max_position_embeddings} positions, which begin"
            f" after pad_token_id={theirs.pad_token_id}: none is left"
        )
    values = {
        "vocab_size": theirs.vocab_size,
        "max_length": theirs.max_position_embeddings - offset,
        "width": width,
        "depth": depth,
        "heads": heads,
        "ffn_width": _first(theirs, "intermediate_size", "hidden_dim", "n_inner") or 4 * width,
        "head": head,
        "activation": ACTIVATIONS[activation],
        "epsilon": _first(theirs, "layer_norm_eps", "layer_norm_epsilon"),
        "position_offset": offset,
        "token_types": _first(theirs, "type_vocab_size") or 0,
        "embedding_width": _embedding_width(theirs),
        **rates,
        **family.fixed,
    }
    return Architecture(**values)


def _embedding_width(config: PretrainedConfig) -> int:
    """0 where there is no projection; ALBERT has one even between equal widths."""
    width = _first(config, "embedding_size") or config.hidden_size
    return 0 if width == config.hidden_size and config.model_type != "albert" else width


def _first(config: PretrainedConfig, *fields: str) -> Any:
    """The first of the fields that the config has and sets."""
    values = (getattr(config, field, None) for field in fields)
    return next((value for value in values if value is not None), None)


def tied_names(family: Family) -> list[str]:
    """Names under which a file may hold the token table, besides its own."""
    return [prefix + name for name in family.tied for prefix in ("", family.prefix)]


def stored(family: Family, parameters: Iterable[str], kind: str = "sequence") -> dict[str, Place]:
    """Those of our parameters that a family has a place for, by name, and that place.

    Args:
      family: whose names these are.
      parameters: our names.
      kind: of the head, one of KINDS.
    """
    modules, places = {**family.modules, **family.heads[kind].modules}, {}
    for name in parameters:
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
