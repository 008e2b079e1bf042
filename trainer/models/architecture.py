"""The shape of a model: everything that the encoder and the head need to know.

It comes from `config.model`, for a model from scratch, or from the config.json of a pretrained one
(trainer/models/families.py).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from trainer import config as config_lib

NORM_EPSILON = 1e-6
ROTARY_THETA = 10_000.0
DROPOUT = 0.1  # where neither the settings nor a pretrained model say otherwise


@dataclass(frozen=True)
class Head:
    """Settings of the head, which makes logits of the encoder's output.

    Attributes:
      pooling: see `trainer.models.layers.Pooling`; with "tokens" each token has outputs.
      width: of a dense layer before the logits; 0: none.
      activation: of that layer.
      bias: whether the logits have one.
      dropout: before the logits.
      drops_input: whether the same dropout stands before the dense layer too.
    """

    pooling: str
    width: int = 0
    activation: str = "tanh"
    bias: bool = True
    dropout: float = 0.0
    drops_input: bool = False

    def shapes(self, width: int, outputs: int) -> dict[str, tuple[int, ...]]:
        """Shapes of its parameters by name, on vectors of `width`, without building it."""
        inputs = width * (2 if self.pooling == "mean+max" else 1)
        shapes: dict[str, tuple[int, ...]] = {}
        if self.width:
            shapes = {"head/hidden/kernel": (inputs, self.width), "head/hidden/bias": (self.width,)}
            inputs = self.width
        shapes["head/logits/kernel"] = (inputs, outputs)
        return shapes | ({"head/logits/bias": (outputs,)} if self.bias else {})


@dataclass(frozen=True)
class Architecture:
    """An encoder and its head, and a decoder between the two where there is one.

    The decoder has the encoder's widths, and its tokens the vectors of the encoder's table unless
    it has one of its own.

    Attributes:
      max_length: longest input, in tokens.
      decoder_depth: blocks of the decoder; 0: there is none.
      target_length: longest text that the decoder writes, in tokens.
      decoder_table: the decoder has a table of token vectors of its own.
      output_scale: a head that predicts words divides vectors by the root of `width` before (T5).
      position_offset: rows of the table of learned positions before that of the first token.
      token_types: rows of the table of segment vectors; 0: none.
      embedding_width: of embeddings that are projected to `width`; 0: they have that width.
      norm_kind: of all norms, see `trainer.models.layers.NORMS`.
      rotary_theta: of positions "rotary", see `trainer.models.attention.rotate`.
      relative_buckets, relative_distance: of positions "relative", see `trainer.models.relative`.
      kv_heads: heads of keys and values, each for as many of queries; 0: one for each.
      head_dim: width of a head; 0: width / heads.
      gated_ffn: the feed-forward layer has a gate.
      attention_biases, ffn_biases: whether the linear layers there have biases.
      attention_scale: scores of attention are divided by the root of a head's width.
      shared: all blocks are one (ALBERT).
      output_dropouts: where `dropout` stands: behind the sublayers "attention" and "ffn", behind
        the activation of the latter ("hidden"), behind the last norm ("final").
      word_activation: in a head that predicts words; empty: `activation`.
    """

    vocab_size: int
    max_length: int
    width: int
    depth: int
    heads: int
    ffn_width: int
    head: Head
    activation: str = "gelu"
    gated_ffn: bool = False
    norm: str = "post"
    norm_kind: str = "layer"
    epsilon: float = NORM_EPSILON
    positions: str = "learned"
    position_offset: int = 0
    position_scale: float = 1.0
    rotary_theta: float = ROTARY_THETA
    relative_buckets: int = 32
    relative_distance: int = 128
    token_types: int = 0
    embedding_width: int = 0
    embedding_norm: bool = True
    causal: bool = False
    attention_window: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    attention_biases: bool = True
    attention_scale: bool = True
    ffn_biases: bool = True
    shared: bool = False
    dropout: float = DROPOUT
    output_dropouts: tuple[str, ...] = ("attention", "ffn")
    attention_dropout: float = DROPOUT
    embedding_dropout: float = DROPOUT
    word_activation: str = ""
    output_scale: bool = False
    decoder_depth: int = 0
    target_length: int = 0
    decoder_table: bool = False

    @property
    def decoder(self) -> "Architecture":
        """The shape of the decoder as a stack of its own."""
        return dataclasses.replace(
            self,
            max_length=self.target_length,
            depth=self.decoder_depth,
            causal=True,
            token_types=0,
        )

    @property
    def key_size(self) -> tuple[int, int]:
        """Heads of keys and values, and the width of each."""
        return self.kv_heads or self.heads, self.head_dim or self.width // self.heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters of the encoder, and the decoder, by name, without building."""
        return self._stack("encoder") | (
            self.decoder._stack("decoder", crosses=True) if self.decoder_depth else {}
        )

    def _stack(self, name: str, crosses: bool = False) -> dict[str, tuple[int, ...]]:
        narrow, width, ffn = self.embedding_width or self.width, self.width, self.ffn_width
        tables = {
            "tokens": self.vocab_size,
            "positions": self.position_offset + self.max_length,
            "types": self.token_types,
        }
        if self.positions != "learned":
            del tables["positions"]
        if crosses and not self.decoder_table:
            del tables["tokens"]
        shapes: dict[str, tuple[int, ...]] = {
            f"embeddings/{each}/embeddings": (rows, narrow) for each, rows in tables.items() if rows
        }
        if self.positions == "relative":
            shapes["relative_bias/embeddings"] = (self.relative_buckets, self.heads)
        norms = {"embeddings/norm": narrow} if self.embedding_norm else {}
        kernels: dict[str, tuple[int, ...]] = {}
        if self.embedding_width:
            kernels["embeddings/projection"] = (narrow, width)
        kv_heads, head_dim = self.key_size
        keys, queries = kv_heads * head_dim, self.heads * head_dim
        unbiased = set[str]()
        for block in range(1 if self.shared else self.depth):
            attentions = ["attention", "cross_attention"] if crosses else ["attention"]
            norms |= {f"block_{block}/{each}_norm": width for each in (*attentions, "ffn")}
            of_attention: dict[str, tuple[int, ...]] = {}
            for each in attentions:
                of_attention |= {
                    f"block_{block}/{each}/query": (width, queries),
                    f"block_{block}/{each}/key": (width, keys),
                    f"block_{block}/{each}/value": (width, keys),
                    f"block_{block}/{each}/output_projection": (queries, width),
                }
            gate = {f"block_{block}/ffn_gate": (width, ffn)} if self.gated_ffn else {}
            of_ffn = {
                f"block_{block}/ffn_in": (width, ffn),
                **gate,
                f"block_{block}/ffn_out": (ffn, width),
            }
            kernels |= of_attention | of_ffn
            unbiased |= of_attention.keys() if not self.attention_biases else set()
            unbiased |= of_ffn.keys() if not self.ffn_biases else set()
        if self.norm == "pre":
            norms["final_norm"] = width
        for each, size in norms.items():
            shapes |= {f"{each}/gamma": (size,)}
            shapes |= {f"{each}/beta": (size,)} if self.norm_kind == "layer" else {}
        for each, shape in kernels.items():
            shapes |= {f"{each}/kernel": shape}
            shapes |= {f"{each}/bias": shape[-1:]} if each not in unbiased else {}
        return {f"{name}/{each}": shape for each, shape in shapes.items()}


def from_scratch(
    settings: config_lib.Model,
    vocab_size: int,
    max_length: int,
    pairs: bool,
    kind: str = "sequence",
    target_length: int = 0,
) -> Architecture:
    """The architecture that `config.model` describes.

    Args:
      settings: `config.model`.
      vocab_size: rows of the token table.
      max_length: longest input, in tokens.
      pairs: whether inputs are pairs of texts, each with a segment vector of its own.
      kind: of the head: see `own_head`.
      target_length: longest text that a decoder writes, in tokens; 0: there is no decoder.
    """
    rates = dropout_rates(settings, {})
    return Architecture(
        vocab_size=vocab_size,
        max_length=max_length,
        width=settings.width,
        depth=settings.depth,
        heads=settings.heads,
        ffn_width=settings.ffn_width,
        head=own_head(settings, kind, rates.pop("head_dropout")),
        activation=settings.activation,
        gated_ffn=settings.gated_ffn,
        norm=settings.norm,
        norm_kind=settings.norm_kind,
        positions=settings.positions,
        position_scale=settings.position_scale,
        token_types=2 if pairs else settings.token_types,
        rotary_theta=settings.rotary_theta,
        relative_buckets=settings.relative_buckets,
        relative_distance=settings.relative_distance,
        embedding_norm=settings.embedding_norm,
        causal=settings.causal,
        attention_window=settings.attention_window,
        kv_heads=settings.kv_heads,
        attention_biases=settings.biases,
        attention_scale=settings.attention_scale,
        ffn_biases=settings.biases,
        decoder_depth=(settings.decoder_depth or settings.depth) if target_length else 0,
        target_length=target_length,
        decoder_table=settings.decoder_table and target_length > 0,
        **rates,
    )


def own_head(settings: config_lib.Model, kind: str, dropout: float) -> Head:
    """The head that `config.model` describes.

    Args:
      settings: `config.model`.
      kind: "sequence", an output a text, or "tokens", an output a token, without pooling.
      dropout: before the logits.
    """
    pooling = "tokens" if kind == "tokens" else settings.head
    return Head(pooling, settings.head_width, dropout=dropout)


def dropout_rates(settings: config_lib.Model, pretrained: dict[str, float]) -> dict[str, Any]:
    """Each dropout rate: the one that is set, else the pretrained model's, else DROPOUT."""
    names = ("dropout", "attention_dropout", "embedding_dropout", "head_dropout")
    return {
        name: getattr(settings, name)
        if getattr(settings, name) >= 0
        else pretrained.get(name, DROPOUT)
        for name in names
    }
