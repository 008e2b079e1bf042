"""Pretrained families as data: what each calls our weights, and the heads that it has.

The structures, with the places of dropout, are those of Hugging Face transformers 5; papers stand
at each family.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from trainer.models.architecture import Head

# Kinds of classifiers, which each family without a decoder has, and how their classes end in
# transformers. Further kinds of heads are "masked" and "causal", of words; "pretraining", of words
# and the next sentence; "replaced": was a token another one?; and TEXT, of a decoder's words.
KINDS = {"sequence": "ForSequenceClassification", "tokens": "ForTokenClassification"}
TEXT = "text"
TOKENS = "encoder/embeddings/tokens/embeddings"
# Of heads that predict words: the table of one that is not tied to the token table, and the bias.
DECODER, BIAS = "head/kernel", "head/bias"
LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}


class Place(NamedTuple):
    """The place of a module's weights, or of one of them, in a family's file.

    Attributes:
      name: of the module or tensor; {i} is the number of the block.
      transposed: whether its kernel is stored as [out, in], as PyTorch's Linear has it.
      part: (k, n) where it is the k-th of n equal parts of what is stored, along the last axis of
        our kernel.
      also: further names that files have for it. Of the bias of words the first is what counts in
        transformers where they are not predicted by the token table.
    """

    name: str
    transposed: bool = True
    part: tuple[int, int] = (0, 1)
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class NativeHead:
    """A head that transformers has for a family.

    Attributes:
      class_name: of the class in transformers that holds the encoder with this head.
      modules: our modules by name, and theirs; or our parameters, and their tensors.
      head: its shape; a dense layer, where `modules` has one, is as wide as the encoder. Those of
        other kinds than KINDS are the tasks' own.
      dropouts: the fields of the config that hold its rate, the first that is set counts; where
        none is, the rate is that of `head`.
      beside: how names of our parameters begin that transformers has in another model.
    """

    class_name: str
    modules: Mapping[str, Place]
    head: Head
    dropouts: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """A kind of pretrained model.

    Attributes:
      prefix: of the encoder's tensors in files that hold a head too.
      modules: our modules of the encoder by name, with block_{i}, and theirs.
      heads: its heads by kind: for each of KINDS, and those for words; or for TEXT alone.
      dropouts: the fields of the config that hold the encoder's rates, the first that is set
        counts.
      fixed: further fields of the architecture. A rate that `dropouts` has no field for is 0.
      requires: fields of the config with the only value that is supported.
    """

    prefix: str
    modules: Mapping[str, Place]
    heads: Mapping[str, NativeHead]
    dropouts: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, Any]
    requires: Mapping[str, Any]

    @property
    def writes(self) -> bool:
        """True if it has a decoder beside the encoder."""
        return TEXT in self.heads


def _modules(prefix: str, names: Mapping[str, str]) -> dict[str, Place]:
    return {ours: Place(prefix + theirs) for ours, theirs in names.items()}


def _sequence_head(
    name: str, head: Head, hidden: str, logits: str, dropouts: tuple[str, ...]
) -> NativeHead:
    """A head for whole texts, with a dense layer."""
    modules = {"head/hidden": Place(hidden), "head/logits": Place(logits)}
    return NativeHead(name + KINDS["sequence"], modules, head, dropouts)


def _tokens_head(
    name: str, dropouts: tuple[str, ...], rate: float = 0.0, logits: str = "classifier"
) -> NativeHead:
    """A head for tokens: dropout and a linear layer."""
    modules = {"head/logits": Place(logits)}
    head = Head("tokens", dropout=rate)
    return NativeHead(name + KINDS["tokens"], modules, head, dropouts)


def _masked_head(
    class_name: str, hidden: str, norm: str, bias: str, decoder: str, old: tuple[str, ...] = ()
) -> NativeHead:
    """A head that predicts masked words; `old` are further names of its bias."""
    ties = (f"{decoder}.bias",) if bias != f"{decoder}.bias" else ()
    modules = {
        "head/hidden": Place(hidden),
        "head/norm": Place(norm),
        BIAS: Place(bias, also=(*ties, *old)),
        DECODER: Place(f"{decoder}.weight", transposed=False),
    }
    return NativeHead(class_name, modules, Head("tokens"))


def _causal_head(class_name: str) -> NativeHead:
    """A head that predicts the next word: the products with the token table alone."""
    modules = {DECODER: Place("lm_head.weight", transposed=False)}
    return NativeHead(class_name, modules, Head("tokens"))


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
_LLAMA_ENCODER = {
    "encoder/embeddings/tokens": "embed_tokens",
    "encoder/block_{i}/attention_norm": "layers.{i}.input_layernorm",
    "encoder/block_{i}/attention/query": "layers.{i}.self_attn.q_proj",
    "encoder/block_{i}/attention/key": "layers.{i}.self_attn.k_proj",
    "encoder/block_{i}/attention/value": "layers.{i}.self_attn.v_proj",
    "encoder/block_{i}/attention/output_projection": "layers.{i}.self_attn.o_proj",
    "encoder/block_{i}/ffn_norm": "layers.{i}.post_attention_layernorm",
    "encoder/block_{i}/ffn_gate": "layers.{i}.mlp.gate_proj",
    "encoder/block_{i}/ffn_in": "layers.{i}.mlp.up_proj",
    "encoder/block_{i}/ffn_out": "layers.{i}.mlp.down_proj",
    "encoder/final_norm": "norm",
}
# Of a stack of T5, encoder or decoder; the feed-forward layer is the last of a block's.
_T5_ATTENTION = {"query": "q", "key": "k", "value": "v", "output_projection": "o"}


def _t5_stack(stack: str, ffn: Mapping[str, str]) -> dict[str, str]:
    sublayers = {"attention": "0.SelfAttention"}
    if stack == "decoder":
        sublayers["cross_attention"] = "1.EncDecAttention"
    ours, theirs, last = f"{stack}/block_{{i}}", f"{stack}.block.{{i}}.layer", len(sublayers)
    names = {
        f"{stack}/relative_bias": f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
        f"{stack}/final_norm": f"{stack}.final_layer_norm",
        f"{ours}/ffn_norm": f"{theirs}.{last}.layer_norm",
    }
    for i, (sublayer, attention) in enumerate(sublayers.items()):
        names[f"{ours}/{sublayer}_norm"] = f"{theirs}.{i}.layer_norm"
        for name, short in _T5_ATTENTION.items():
            names[f"{ours}/{sublayer}/{name}"] = f"{theirs}.{attention}.{short}"
    return names | {
        f"{ours}/{name}": f"{theirs}.{last}.DenseReluDense.{short}" for name, short in ffn.items()
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

_BERT_WORDS = _masked_head(
    "BertForMaskedLM",
    hidden="cls.predictions.transform.dense",
    norm="cls.predictions.transform.LayerNorm",
    bias="cls.predictions.bias",
    decoder="cls.predictions.decoder",
    old=("cls.predictions.output_bias",),  # Google's, as those below
)
_NEXT = "cls.seq_relationship."
_BERT_PRETRAINING = NativeHead(
    "BertForPreTraining",
    {
        **_BERT_WORDS.modules,
        "head/next/hidden": Place("bert.pooler.dense"),
        "head/next/logits/kernel": Place(_NEXT + "weight", also=(_NEXT + "output_weights",)),
        "head/next/logits/bias": Place(_NEXT + "bias", False, also=(_NEXT + "output_bias",)),
    },
    Head("tokens"),
)

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
        "masked": _BERT_WORDS,
        "pretraining": _BERT_PRETRAINING,
    },
    dropouts=_BERT_DROPOUTS,
    fixed={},
    requires=_ENCODER,
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
        "masked": _masked_head(
            "RobertaForMaskedLM",
            hidden="lm_head.dense",
            norm="lm_head.layer_norm",
            bias="lm_head.bias",
            decoder="lm_head.decoder",
        ),
    },
    dropouts=_BERT_DROPOUTS,
    fixed={"word_activation": "gelu"},
    requires=_ENCODER,
)


def _t5(gated: bool) -> Family:
    ffn = {"ffn_gate": "wi_0", "ffn_in": "wi_1"} if gated else {"ffn_in": "wi"}
    ffn |= {"ffn_out": "wo"}
    tables = tuple(f"{stack}.embed_tokens.weight" for stack in ("encoder", "decoder"))
    return Family(
        prefix="",
        modules={
            TOKENS: Place("shared.weight", transposed=False, also=tables),
            **_modules("", _t5_stack("encoder", ffn) | _t5_stack("decoder", ffn)),
        },
        heads={TEXT: _causal_head("T5ForConditionalGeneration")},
        dropouts=dict.fromkeys(
            ("dropout", "attention_dropout", "embedding_dropout"), ("dropout_rate",)
        ),
        fixed={
            "norm": "pre",
            "norm_kind": "rms",
            "positions": "relative",
            "embedding_norm": False,
            "attention_biases": False,
            "ffn_biases": False,
            "attention_scale": False,
            "output_dropouts": ("attention", "ffn", "hidden", "final"),
        },
        requires={"is_decoder": False, "is_encoder_decoder": True},
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
            "masked": _masked_head(
                "DistilBertForMaskedLM",
                hidden="vocab_transform",
                norm="vocab_layer_norm",
                bias="vocab_projector.bias",
                decoder="vocab_projector",
            ),
        },
        dropouts={
            "dropout": ("dropout",),
            "attention_dropout": ("attention_dropout",),
            "embedding_dropout": ("dropout",),
        },
        fixed={"epsilon": 1e-12, "output_dropouts": ("ffn",)},
        requires={},
    ),
    # Clark et al., 2020, arXiv:2003.10555: the discriminator; with "masked" the generator.
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
            "masked": _masked_head(
                "ElectraForMaskedLM",
                hidden="generator_predictions.dense",
                norm="generator_predictions.LayerNorm",
                bias="generator_lm_head.bias",
                decoder="generator_lm_head",
            ),
            "replaced": NativeHead(
                "ElectraForPreTraining",
                {
                    "head/hidden": Place("discriminator_predictions.dense"),
                    "head/logit": Place("discriminator_predictions.dense_prediction"),
                },
                Head("tokens"),
                beside=("head/generator/", "head/words/"),
            ),
        },
        dropouts=_BERT_DROPOUTS,
        fixed={"word_activation": "gelu"},
        requires=_ENCODER,
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
            "masked": _masked_head(
                "AlbertForMaskedLM",
                hidden="predictions.dense",
                norm="predictions.LayerNorm",
                bias="predictions.bias",
                decoder="predictions.decoder",
            ),
        },
        dropouts=_BERT_DROPOUTS,
        fixed={"shared": True, "output_dropouts": ("attention",)},
        requires={**_ENCODER, "num_hidden_groups": 1, "inner_group_num": 1},
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
            "causal": _causal_head("GPT2LMHeadModel"),
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
    ),
    # Touvron et al., 2023, arXiv:2302.13971: a decoder. SmolLM and TinyLlama are too.
    "llama": Family(
        prefix="model.",
        modules=_modules("model.", _LLAMA_ENCODER),
        heads={
            "sequence": NativeHead(
                "Llama" + KINDS["sequence"],
                {"head/logits": Place("score")},
                Head("last", bias=False),
            ),
            # LlamaConfig declares neither field, the class reads both.
            "tokens": _tokens_head(
                "Llama", ("classifier_dropout", "hidden_dropout"), rate=0.1, logits="score"
            ),
            "causal": _causal_head("LlamaForCausalLM"),
        },
        dropouts={"attention_dropout": ("attention_dropout",)},
        fixed={
            "norm": "pre",
            "norm_kind": "rms",
            "positions": "rotary",
            "gated_ffn": True,
            "causal": True,
            "embedding_norm": False,
        },
        requires={"rope_interleaved": False},
    ),
    # Raffel et al., 2020, arXiv:1910.10683.
    "t5": _t5(gated=False),
}
# Those whose feed-forward layers have other names with a gate: T5 1.1 and Flan-T5.
GATED = {"t5": _t5(gated=True)}
