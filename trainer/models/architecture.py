"""The shape of a model: everything that the encoder and the head need to know.

It comes from `config.model`, for a model from scratch, or from the config.json of a pretrained one
(trainer/models/families.py).
"""

from dataclasses import dataclass
from typing import Any

from trainer import config as config_lib

NORM_EPSILON = 1e-6
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
    """An encoder and its head.

    Attributes:
      max_length: longest input, in tokens.
      position_offset: rows of the table of learned positions before that of the first token.
      token_types: rows of the table of segment vectors; 0: none.
      embedding_width: of embeddings that are projected to `width`; 0: they have that width.
      shared: all blocks are one (ALBERT).
      output_dropouts: behind which sublayers `dropout` stands.
    """

    vocab_size: int
    max_length: int
    width: int
    depth: int
    heads: int
    ffn_width: int
    head: Head
    activation: str = "gelu"
    norm: str = "post"
    epsilon: float = NORM_EPSILON
    positions: str = "learned"
    position_offset: int = 0
    position_scale: float = 1.0
    token_types: int = 0
    embedding_width: int = 0
    embedding_norm: bool = True
    causal: bool = False
    attention_window: int = 0
    shared: bool = False
    dropout: float = DROPOUT
    output_dropouts: tuple[str, ...] = ("attention", "ffn")
    attention_dropout: float = DROPOUT
    embedding_dropout: float = DROPOUT

    def encoder_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the encoder's parameters by name, without building it."""
        narrow, width, ffn = self.embedding_width or self.width, self.width, self.ffn_width
        tables = {
            "tokens": self.vocab_size,
            "positions": self.position_offset + self.max_length,
            "types": self.token_types,
        }
        if self.positions != "learned":
            del tables["positions"]
        shapes: dict[str, tuple[int, ...]] = {
            f"embeddings/{name}/embeddings": (rows, narrow) for name, rows in tables.items() if rows
        }
        norms = {"embeddings/norm": narrow} if self.embedding_norm else {}
        kernels = {"embeddings/projection": (narrow, width)} if self.embedding_width else {}
        for block in range(1 if self.shared else self.depth):
            norms |= {f"block_{block}/{name}_norm": width for name in ("attention", "ffn")}
            kernels |= {
                f"block_{block}/attention/{name}": (width, width)
                for name in ("query", "key", "value", "output_projection")
            }
            kernels |= {
                f"block_{block}/ffn_in": (width, ffn),
                f"block_{block}/ffn_out": (ffn, width),
            }
        if self.norm == "pre":
            norms["final_norm"] = width
        for name, size in norms.items():
            shapes |= {f"{name}/gamma": (size,), f"{name}/beta": (size,)}
        for name, shape in kernels.items():
            shapes |= {f"{name}/kernel": shape, f"{name}/bias": shape[-1:]}
        return {f"encoder/{name}": shape for name, shape in shapes.items()}


def from_scratch(
    settings: config_lib.Model,
    vocab_size: int,
    max_length: int,
    pairs: bool,
    kind: str = "sequence",
) -> Architecture:
    """The architecture that `config.model` describes.

    Args:
      settings: `config.model`.
      vocab_size: rows of the token table.
      max_length: longest input, in tokens.
      pairs: whether inputs are pairs of texts, each with a segment vector of its own.
      kind: of the head: see `own_head`.
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
        norm=settings.norm,
        positions=settings.positions,
        position_scale=settings.position_scale,
        token_types=2 if pairs else 0,
        embedding_norm=settings.embedding_norm,
        causal=settings.causal,
        attention_window=settings.attention_window,
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
