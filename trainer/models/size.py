"""The sizes of a model, and the least memory that it needs, before anything of it is made."""

import math
from collections.abc import Mapping

from trainer import config as config_lib
from trainer.errors import UserError
from trainer.models import network, recurrent
from trainer.models.architecture import Architecture, from_scratch
from trainer.runtime import processor
from trainer.storage.checkpoint import Store

_SINUSOID = 28  # bytes of each number in the table of sinusoids, while it is made in float64
_GIB = 2**30


def shapes(
    config: config_lib.Experiment,
    tokens: int,
    outputs: int,
    pretrained: Architecture | None,
    kind: str = "sequence",
) -> dict[str, tuple[int, ...]] | None:
    """Shapes of a model's parameters by name; None for one of a user's own factory.

    Args:
      config: the run's settings.
      tokens: size of the tokenizer's vocabulary.
      outputs: of the head: the number of labels, 1 for a regression.
      pretrained: the architecture of a pretrained model; None: `config.model` says it.
      kind: of the head, where `config.model` says it: "sequence" or "tokens".
    """
    factory = config.model.factory
    if not pretrained and factory in recurrent.FACTORIES:
        vocabulary = max(config.model.vocab_size, tokens)
        return recurrent.shapes(config.model, vocabulary, outputs, factory == recurrent.BILSTM)
    shape = pretrained or _from_scratch(config, tokens, kind)
    if not shape:
        return None
    of_head = {} if config.task.own_head else shape.head.shapes(shape.width, outputs)
    return shape.shapes() | of_head


def _from_scratch(config: config_lib.Experiment, tokens: int, kind: str) -> Architecture | None:
    model, data = config.model, config.data
    if model.factory != network.FACTORY:
        return None
    vocabulary = max(model.vocab_size, tokens)
    task = config.task
    longest = task.longest_target
    return from_scratch(model, vocabulary, data.max_length, task.pairs, kind, target_length=longest)


def check(
    config: config_lib.Experiment,
    tokens: int,
    outputs: int,
    pretrained: Architecture | None,
    kind: str = "sequence",
    *,
    there: int | None = None,
    trains: bool = True,
) -> None:
    """Refuses a model that this machine cannot hold; one of a user's own factory is not judged.

    Weights and the two moments of AdamW pass through the host's memory with every checkpoint, on
    whatever device they are.

    Args:
      config, tokens, outputs, pretrained, kind: see `shapes`.
      there: bytes of memory; None: this machine's.
      trains: false where the model only predicts.

    Raises:
      UserError: with the estimate.
    """
    found = shapes(config, tokens, outputs, pretrained, kind)
    if found is None:
        return
    count = sum(map(math.prod, found.values()))
    copies = 3 + bool(config.optimizer.ema) if trains else 1
    need = count * copies * (8 if config.runtime.precision == "float64" else 4)
    shape = pretrained or _from_scratch(config, tokens, kind)
    if shape and shape.positions == "sinusoidal":
        width = shape.embedding_width or shape.width
        need += shape.max_length * width * _SINUSOID
    there = processor.memory() if there is None else there
    if need <= there:
        return
    numbers = f"{copies} numbers for each (weight, moments, average)" if trains else "they"
    mend = (
        "make config.model.width, depth, ffn_width or the vocabulary smaller"
        if trains
        else "use a machine that has more"
    )
    raise UserError(
        f"the model has some {count:,} parameters: {numbers} need {need / _GIB:,.0f} GiB, this"
        f" machine has {there / _GIB:,.0f} GiB: {mend}"
    )


def check_stored(
    wanted: Mapping[str, tuple[int, ...]] | None, store: Store, step: int, asked: str
) -> None:
    """Refuses a model of other shapes than the checkpoint that it is for.

    Args:
      wanted: of `shapes`; None: a user's own factory, which is not judged.
      store, step: the checkpoint.
      asked: the file whose settings ask for the model.

    Raises:
      UserError: the first parameter that differs.
    """
    stored = store.shapes(step)
    for name, shape in (wanted or {}).items():
        if stored.get(f"model/{name}") != shape:
            raise UserError(
                f"{store.path(step)} does not hold {name} with the shape {list(shape)} that {asked}"
                " asks for: restore the workdir from a backup"
            )
