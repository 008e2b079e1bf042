"""The least memory that a run needs, worked out before anything of it is made."""

from trainer import config as config_lib
from trainer import processor
from trainer.errors import UserError
from trainer.models.architecture import Architecture, from_scratch

OWN = ("trainer.models.network:build", "trainer.models.recurrent:")  # factories known here
_GIB = 2**30


def parameters(shape: Architecture, classes: int) -> int:
    """Numbers in the weights of an encoder and its head, but for biases and norms."""
    width, embedded = shape.width, shape.embedding_width or shape.width
    rows = shape.vocab_size + shape.token_types
    if shape.positions != "none":  # sinusoids are kept as well
        rows += shape.max_length
    block = 4 * width * width + 2 * width * shape.ffn_width
    blocks = block * min(shape.depth, 1 if shape.shared else shape.depth)
    pooled = width * (2 if shape.head.pooling == "mean+max" else 1)
    hidden = shape.head.width
    head = pooled * hidden + hidden * classes if hidden else pooled * classes
    return rows * embedded + (embedded * width if shape.embedding_width else 0) + blocks + head


def recurrent_parameters(settings: config_lib.Model, tokens: int) -> int:
    """Like `parameters`, of the LSTMs."""
    width = settings.width
    return tokens * width + settings.depth * 8 * width * width


def check(
    config: config_lib.Experiment,
    tokens: int,
    classes: int,
    pretrained: Architecture | None,
    there: int | None = None,
) -> None:
    """Refuses a model that this machine cannot hold; one of a user's own factory is not judged.

    Weights and the two moments of AdamW pass through the host's memory with every checkpoint, on
    whatever device they are.

    Args:
      config: the run's settings.
      tokens: size of the tokenizer's vocabulary.
      classes: number of labels.
      pretrained: the architecture of a pretrained model; None: `config.model` says it.
      there: bytes of memory; None: this machine's.

    Raises:
      UserError: with the estimate.
    """
    model, data = config.model, config.data
    vocabulary = max(model.vocab_size, tokens)
    if pretrained:
        count = parameters(pretrained, classes)
    elif model.factory == OWN[0]:
        shape = from_scratch(model, vocabulary, data.max_length, bool(data.text_pair))
        count = parameters(shape, classes)
    elif model.factory.startswith(OWN[1]):
        count = recurrent_parameters(model, vocabulary)
    else:
        return
    copies = 3 + bool(config.optimizer.ema)
    need = count * copies * (8 if config.runtime.precision == "float64" else 4)
    there = processor.memory() if there is None else there
    if need > there:
        raise UserError(
            f"the model has some {count:,} parameters: {copies} numbers for each (weight, moments,"
            f" average) need {need / _GIB:,.0f} GiB, this machine has {there / _GIB:,.0f} GiB: make"
            " config.model.width, depth, ffn_width or the vocabulary smaller"
        )
