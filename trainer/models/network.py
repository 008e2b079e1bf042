"""An encoder and a head: the model that is trained unless `model.factory` names another."""

import dataclasses
from collections.abc import Callable

import keras

from trainer import config as config_lib
from trainer.batch import IDS, MASK, SAMPLE, TYPES
from trainer.models import layers
from trainer.models.architecture import Architecture, Head, from_scratch
from trainer.models.encoder import Encoder
from trainer.models.encoder_decoder import EncoderDecoder
from trainer.models.heads import OutputHead

FACTORY = "trainer.models.network:build"


@keras.saving.register_keras_serializable("thaw")
class Network(keras.Model):
    """Encoder, pooling, and a head.

    Args:
      architecture: shapes of the encoder and the head.
      outputs: of the head: for each row or, with the pooling "tokens", for each token.
      head: a task's own, called with (vectors [B, T, D], inputs, training) and, where its attribute
        `takes_table` is true, the table of token vectors; its outputs are the model's. None: the
        one that the architecture says.
    """

    def __init__(
        self,
        architecture: Architecture,
        outputs: int,
        head: keras.layers.Layer | None = None,
        **kwargs,
    ):
        super().__init__(name="classifier", **kwargs)
        policy = self.dtype_policy
        self.architecture, self.outputs, self.own_head = architecture, outputs, head is not None
        self.encoder = Encoder(architecture, name="encoder", dtype=policy)
        self.pooling = layers.Pooling(architecture.head.pooling, name="pooling", dtype=policy)
        if head is not None:
            head.name = "head"  # so its parameters are head/...
        self.head = head or OutputHead(outputs, architecture.head, name="head", dtype=policy)

    def build(self, inputs_shape=None):
        """Makes all variables; nothing about the inputs needs to be known."""
        self.encoder.build((None, None))
        if self.own_head:  # built by its first call
            return
        self.head.build((None, self.pooling.parts * self.architecture.width))
        self.built = True

    def get_config(self):
        """The settings that a Keras file holds besides the weights."""
        if self.own_head:
            raise NotImplementedError("the head is a task's own")
        shape = dataclasses.asdict(self.architecture)
        return {"architecture": shape, "outputs": self.outputs, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`, built."""
        shape = dict(config.pop("architecture"))
        shape["head"] = Head(**shape["head"])
        shape["output_dropouts"] = tuple(shape["output_dropouts"])
        if "classes" in config:  # as older files call it
            config["outputs"] = config.pop("classes")
        model = cls(Architecture(**shape), **config)
        model.build()
        return model

    def call(self, inputs, training=False, frozen_levels=0, recompute=False):
        """{"input_ids", "attention_mask", "token_type_ids"}, int32 [B, T] -> [B, outputs].

        [B, T, outputs] with the pooling "tokens". Where the inputs have "sample" the head writes
        some of the ids first: {"words": its logits [B, K, V], "replaced": [B, T], "input_ids"}.
        See `Encoder.call` for `frozen_levels` and `recompute`.
        """
        shared, written = self.shared, None
        if SAMPLE in inputs:
            inputs, written = self.head.write(inputs, training=training, **shared)
        encoded = self.encode(inputs, training, frozen_levels, recompute)
        if not self.own_head:
            return self.head(encoded, training=training)
        outputs = self.head(encoded, inputs, training=training, **shared)
        if written is None:
            return outputs
        return {"words": written, "replaced": outputs, IDS: inputs[IDS]}

    @property
    def shared(self):
        """Arguments for a head of a task's own: the encoder's variables that it takes, by name."""
        if not getattr(self.head, "takes_table", False):
            return {}
        return {"table": self.encoder.embeddings.tokens.embeddings}

    def logits_of_vectors(self, vectors_BTD, inputs):
        """The outputs as of `call`, with other token vectors than those of the ids."""
        mask_BT = inputs[MASK]
        x_BTD = self.encoder(
            inputs[IDS],
            mask_BT,
            inputs.get(TYPES),
            vectors_BTD=vectors_BTD,
        )
        return self.head(self.pooling(x_BTD, mask_BT))

    def encode(self, inputs, training=False, frozen_levels=0, recompute=False):
        """The input of the head, [B, D] or [B, T, D], from inputs as in `call`."""
        mask_BT = inputs[MASK]
        x_BTD = self.encoder(
            inputs[IDS],
            mask_BT,
            inputs.get(TYPES),
            training=training,
            frozen_levels=frozen_levels,
            recompute=recompute,
        )
        return x_BTD if self.own_head else self.pooling(x_BTD, mask_BT)


MakeHead = Callable[[Architecture], keras.layers.Layer | None]


def build(
    config: config_lib.Experiment,
    vocab_size: int,
    classes: int,
    kind: str = "sequence",
    make_head: MakeHead | None = None,
) -> keras.Model:
    """The default `model.factory`.

    Args:
      config: the run's settings.
      vocab_size: rows of the token table: the tokenizer's, or `model.vocab_size` where it is set.
      classes: number of outputs of the head.
      kind: of the head: "sequence" or "tokens"; a factory of your own takes neither this nor the
        next.
      make_head: makes a task's own head, or none.

    Returns:
      A model that takes a dict of int32 [B, T] tensors (`input_ids`, `attention_mask`,
      `token_type_ids`) and returns logits [B, classes], for "tokens" [B, T, classes].
    """
    length, pairs = config.data.max_length, config.task.pairs
    longest = config.task.longest_target
    architecture = from_scratch(
        config.model, vocab_size, length, pairs, kind, target_length=longest
    )
    return assembled(architecture, classes, make_head)


def assembled(
    architecture: Architecture, outputs: int, make_head: MakeHead | None = None
) -> Network | EncoderDecoder:
    """The model of an architecture, with a decoder where that has one; see `build`."""
    head = make_head and make_head(architecture)
    if architecture.target_length:
        return EncoderDecoder(architecture, head)
    return Network(architecture, outputs, head)
