"""Building a model, and the names of its parameters."""

import dataclasses

import keras
import tensorflow as tf

from trainer import config as config_lib
from trainer.batch import DECODER_IDS, IDS, MASK, TYPES
from trainer.errors import UserError
from trainer.imports import blamed_on, load
from trainer.models import network, recurrent
from trainer.models.architecture import Architecture, dropout_rates
from trainer.models.encoder_decoder import EncoderDecoder
from trainer.models.network import Network
from trainer.models.random import random_scope
from trainer.tasks.task import class_path

_ROWS, _LENGTH = 2, 8  # of the batch that a user's model is tried on


def build_model(
    config: config_lib.Experiment,
    tokens: int,
    outputs: int,
    pretrained: Architecture | None = None,
    kind: str = "sequence",
    *,
    make_head: network.MakeHead | None = None,
) -> keras.Model:
    """Calls `config.model.factory` and builds what it returns. Call it under the strategy's scope.

    Args:
      config: the run's settings.
      tokens: size of the tokenizer's vocabulary.
      outputs: of the head: the number of labels, 1 for a regression.
      pretrained: the architecture of a pretrained model, which is built instead, with its head.
      kind: of the head: "sequence", outputs [B, outputs], or "tokens", [B, T, outputs].
      make_head: makes a task's own head, see `Task.head`.

    Raises:
      UserError: a vocabulary too small, a factory that cannot be used or has no head of that kind,
        or a model whose numbers would depend on anything but (seed, step, place in the global
        batch).
    """
    factory = config.model.factory
    if pretrained:
        _check_fit(config, tokens, pretrained)
        model: keras.Model = network.assembled(pretrained, outputs, make_head)
    else:
        vocab_size = config.model.vocab_size or tokens
        if vocab_size < tokens:
            raise UserError(
                f"the tokenizer has {tokens} tokens, config.model.vocab_size is {vocab_size}: make"
                f" it at least {tokens}, or 0 to take the tokenizer's"
            )
        if kind == "tokens" and factory in recurrent.FACTORIES:
            raise UserError(
                f"config.model.factory={factory!r} has outputs for whole texts only, this task"
                f" needs them for each token: choose {network.FACTORY}"
            )
        if config.task.own_head and factory != network.FACTORY:
            raise UserError(
                f"config.model.factory={factory!r} has a head, and so has the task: leave"
                f" the factory at {network.FACTORY!r}"
            )
        build = load(factory, "config.model.factory")
        rates = dropout_rates(config.model, {})
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, **rates))
        of_kind = {"kind": kind, "make_head": make_head} if factory == network.FACTORY else {}
        with blamed_on(factory, "config.model.factory"):
            model = build(config, vocab_size, outputs, **of_kind)
    if not isinstance(model, keras.Model):
        raise UserError(
            f"config.model.factory={factory!r} returned {type(model).__name__}, not a keras.Model"
        )
    if isinstance(model, (Network, EncoderDecoder)) and model.own_head:
        model.build()
        _try(model, "config.task", class_path(config.task), None)
    elif not pretrained and factory != network.FACTORY:
        wanted = (_ROWS, outputs) if kind == "sequence" else (_ROWS, _LENGTH, outputs)
        _try(model, "config.model.factory", factory, wanted)
    elif not model.built:
        model.build()
    return model


def _try(model: keras.Model, field: str, path: str, wanted: tuple[int, ...] | None) -> None:
    """Runs a model with parts of the user's on a batch, and refuses what this library cannot train.

    Args:
      model: it may not be built yet.
      field, path: the setting that names the part, and its value.
      wanted: shape of the outputs; None: any with a row for each of the batch.
    """
    ones = tf.ones([_ROWS, _LENGTH], tf.int32)
    inputs = {IDS: ones, MASK: ones, TYPES: tf.zeros_like(ones), DECODER_IDS: ones}
    if not isinstance(model, EncoderDecoder):
        del inputs[DECODER_IDS]
    shapes = {name: tf.TensorSpec([None, None], tf.int32) for name in inputs}

    @tf.function(input_signature=[shapes], autograph=False)  # as the step calls it
    def train(inputs):
        zero = tf.zeros([], tf.int64)
        with random_scope(0, zero, zero):
            return model(inputs, training=True)

    with blamed_on(path, field):
        logits = model(inputs, training=False)
        states = [v for v in model.non_trainable_variables if "seed_generator" in v.path]
        before = [state.numpy() for state in states]
        train(inputs)
    if wanted is None:
        if odd := [each.shape for each in tf.nest.flatten(logits) if each.shape[:1] != [_ROWS]]:
            raise UserError(
                f"{field}={path!r}: its head returned shape {tuple(odd[0])} for {_ROWS} rows: the"
                f" first axis must be {_ROWS}"
            )
    elif tuple(logits.shape) != wanted:
        tokens = f" of {_LENGTH} tokens" if len(wanted) > 2 else ""
        raise UserError(
            f"{field}={path!r}: the model returned shape {tuple(logits.shape)} for"
            f" {_ROWS} rows{tokens} and {wanted[-1]} classes, logits {list(wanted)} are needed"
        )
    drawn = [s for s, old in zip(states, before, strict=True) if (s.numpy() != old).any()]
    _refuse_hidden_state(model, path, drawn)


def _check_fit(config: config_lib.Experiment, tokens: int, pretrained: Architecture) -> None:
    where = f"pretrained model {config.model.pretrained!r}"
    if tokens > pretrained.vocab_size:
        raise UserError(
            f"the tokenizer has {tokens} tokens, {where} knows {pretrained.vocab_size}: use the"
            " tokenizer that belongs to it"
        )
    if config.data.max_length > pretrained.max_length:
        raise UserError(
            f"config.data.max_length={config.data.max_length}: {where} has positions for"
            f" {pretrained.max_length} tokens"
        )


def _refuse_hidden_state(model: keras.Model, factory: str, drawn: list[keras.Variable]) -> None:
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            raise UserError(
                f"{factory}: layer {layer.name!r} normalises over the rows of one replica, so the"
                " result would depend on how many there are: use LayerNormalization"
            )
    for state in drawn:
        raise UserError(
            f"{factory}: {state.path!r} draws random numbers that depend on the number of replicas"
            " and on what was drawn before: use trainer.models.layers.Dropout"
        )
    if model.losses:
        raise UserError(
            f"{factory}: the model adds losses of its own (regularizers), which are not part of the"
            " objective: remove them, and use config.optimizer.weight_decay"
        )


def named_parameters(model: keras.Model) -> dict[str, tf.Variable]:
    """The trainable variables by name ("encoder/block_0/attention/query/kernel"), in order."""
    return _named(model, model.trainable_variables)


def named_constants(model: keras.Model) -> dict[str, tf.Variable]:
    """All other variables of the model, by name: a checkpoint holds them too."""
    return _named(model, model.non_trainable_variables)


def _named(model: keras.Model, variables) -> dict[str, tf.Variable]:
    named = {v.path.removeprefix(f"{model.name}/"): v.value for v in variables}
    if len(named) != len(variables):
        paths = [v.path for v in variables]
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UserError(f"two variables of the model are named {twice!r}: name their layers")
    return named
