"""A model that writes texts as a SavedModel: the loop over tokens is in its graph."""

from typing import Any

import tensorflow as tf

from trainer.batch import IDS, MASK
from trainer.errors import UserError
from trainer.export import decoding
from trainer.export.wordpiece import InGraph
from trainer.models.cached import CachedNetwork
from trainer.models.encoder_decoder import CachedDecoder, EncoderDecoder
from trainer.models.generate import Generation, LanguageModel
from trainer.models.network import Network
from trainer.models.random import draw_key
from trainer.models.writing import Writing
from trainer.tasks.text_to_text import TextToText
from trainer.tasks.writing import Continuing
from trainer.trained import TrainedModel


class Continues(tf.Module):
    """The saved object: the weights, and functions of them.

    Both give "ids", int32 [N, max_new_tokens], 0 behind a continuation's end, and "lengths", int32
    [N], with the end token. Where tokens are drawn both take "seed", int64: a draw is a function of
    it, of the row's number in the call and of the position, as in launch.predict. A text-to-text
    model gives "texts", string [N], too, where `trainer.export.decoding` can make them.

    Args:
      trained: a causal language model, or a text-to-text one.
      writing: how texts are written; without `stop` and `n_best`.
      tokenizer: of texts; None: it takes none.

    Raises:
      UserError: the settings do not fit the model, or it has not this library's encoder.
    """

    def __init__(
        self,
        trained: TrainedModel,
        writing: Writing,
        tokenizer: InGraph | None,
    ):
        super().__init__()
        model, task = trained.model, trained.task.continuing()
        shape: Any = getattr(model, "architecture", None)
        self._decoder: decoding.GraphDecoder | None = None
        if isinstance(model, EncoderDecoder) and isinstance(task, TextToText):
            writes: LanguageModel = CachedDecoder(model, task.start_id)
            writing.check_model(shape.vocab_size, shape.target_length, continues=False)
            self._longest = trained.encoder.max_length
            if not decoding.why_not(trained.tokenizer):
                self._decoder = decoding.GraphDecoder(trained.tokenizer, task.end_id)
        elif isinstance(model, Network):
            writes = CachedNetwork(model)
            writing.check_model(shape.vocab_size, shape.max_length)
            self._longest = shape.max_length - writing.max_new_tokens  # prompt
        else:
            raise UserError(
                "texts are continued by the encoder of this library, the model is of"
                f" {trained.config.model.factory!r}: it has no form as a SavedModel"
            )
        assert isinstance(task, Continuing | TextToText)
        self._model, self._task, self._tokenizer = model, task, tokenizer
        self._generation = Generation(writes, writing, task.end_id)
        self._too_long = f"a source has more than {self._longest} tokens"
        if writes.continues:
            room = f"which leaves no room for {writing.max_new_tokens} more"
            self._too_long = f"a prompt has more than {self._longest} tokens, {room}"
        self.weights = [variable.value for variable in model.variables]
        matrix = (tf.TensorSpec([None, None], tf.int32, name) for name in (IDS, MASK))
        seed = [tf.TensorSpec([], tf.int64, "seed")] * writing.samples
        texts = tf.TensorSpec([None], tf.string, "texts")
        self.ids = tf.function(self._of_ids, [*matrix, *seed], autograph=False)
        self.texts = tf.function(self._of_texts, [texts, *seed], autograph=False)

    def _of_ids(self, input_ids, attention_mask, seed=0):
        """Continues prompts, or takes sources, padded on either side, with their special tokens."""
        real_BT = attention_mask > 0
        lengths_B = tf.reduce_sum(tf.cast(real_BT, tf.int32), 1)
        checks = [
            tf.debugging.assert_positive(lengths_B, "a prompt has no token to go on from"),
            tf.debugging.assert_less_equal(
                lengths_B,
                self._longest,
                self._too_long,
            ),
        ]
        with tf.control_dependencies(checks):
            order_BT = tf.argsort(tf.cast(real_BT, tf.int32), axis=1, stable=True)
        start = tf.shape(input_ids)[1] - tf.reduce_max(lengths_B)
        ids_BT, mask_BT = (
            tf.gather(each, order_BT, batch_dims=1)[:, start:]
            for each in (input_ids, tf.cast(real_BT, tf.int32))
        )
        rows_B = tf.range(tf.shape(ids_BT, tf.int64)[0])
        found = self._generation.whole(ids_BT * mask_BT, mask_BT, rows_B, draw_key(seed))
        made = {"ids": found.ids_BN, "lengths": found.lengths_B}
        if self._decoder:
            made["texts"] = self._decoder(found.ids_BN, found.lengths_B)
        return made

    def _of_texts(self, texts, seed=0):
        """Continues texts, or writes others for them."""
        assert self._tokenizer
        if isinstance(self._task, TextToText):
            inputs = self._tokenizer(tf.strings.join([self._task.prefix, texts]))
            return self._of_ids(inputs[IDS], inputs[MASK], seed)
        pieces = self._tokenizer.pieces(texts)
        begin = tf.fill([pieces.nrows(), 1], tf.constant(self._task.begin_id, tf.int32))
        ids = tf.concat([begin, pieces], axis=1)
        mask = tf.sequence_mask(ids.row_lengths(), dtype=tf.int32)
        return self._of_ids(ids.to_tensor(), mask, seed)
