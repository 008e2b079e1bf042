"""Causal language modelling: each token is predicted from those before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer.batch import ID, IDS, MASK, WEIGHT
from trainer.lazy import tf
from trainer.tasks.language import WORDS, LanguageTask, following, needed, token_losses
from trainer.tasks.shown import Shown, Table

if TYPE_CHECKING:
    import keras

    from trainer.data.encode import TextEncoder
    from trainer.models.architecture import Architecture
    from trainer.tasks.task import Batch, Task

_PROMPT, _WRITTEN = 16, 48  # tokens of a sample
_TEMPERATURE = 0.8


@dataclass
class Causal(LanguageTask):
    """Learns the next token (Radford et al., 2019).

    A text begins with a start token, which is not predicted, and ends with an end token, which is.
    A window begins with the last token of the one before, so that each token is predicted once;
    with `blocks` so does a row of the stream, whose tokens also see the texts before their own.
    """

    causal: ClassVar[bool] = True
    serves: ClassVar[bool] = False

    def start(self) -> None:
        if self.tokenizer is None:
            return
        why = "which a language model learns to end with"
        self._end = needed(self, "end token", ("eos_token", "sep_token"), why)
        begin = [self.tokenizer.id_of(role) for role in ("bos_token", "cls_token")]
        self._begin = next((id_ for id_ in begin if id_ is not None), self._end)

    # The rows

    def sequence(self, content: np.ndarray) -> np.ndarray:
        return np.append(content, self._end)

    def stride(self, encoder: TextEncoder) -> int:
        return encoder.max_length - 1

    def row(self, before: np.ndarray, ids: np.ndarray, encoder: TextEncoder) -> np.ndarray:
        return np.concatenate([before if len(before) else [self._begin], ids])

    # The model

    def head(self, architecture: Architecture) -> keras.layers.Layer:
        from trainer.models.heads import WordHead

        return WordHead(architecture, transforms=False, tied=self.tied)

    @property
    def native_kind(self) -> str:
        return "causal" if type(self).head is Causal.head else ""

    def native_config(self) -> dict[str, Any]:
        # In a stream a text begins behind the end of another.
        begin = self._end if self.blocks else self._begin
        return {"bos_token_id": begin, "eos_token_id": self._end}

    def continuing(self) -> Task:
        from trainer.tasks.writing import Continuing

        return Continuing.of(self)

    def scoring(self) -> Task:
        from trainer.tasks.writing import Scoring

        return Scoring.of(self)

    def samples(self, batch: Batch, sampled: Mapping[str, tf.Tensor]) -> list[Shown]:
        """Beginnings of texts, how the model goes on with them, and how they do."""
        if not sampled:
            return []
        ids_BT, lengths_B = batch[IDS].numpy(), batch[MASK].numpy().sum(1)
        of_model = (sampled[name].numpy() for name in ("given", "new", "written"))
        rows, decode = [], self.tokenizer.decode
        for ids, length, given, new, count in zip(ids_BT, lengths_B, *of_model, strict=True):
            true = ids[given : min(length, given + len(new))]
            rows.append((decode(ids[:given]), decode(new[:count]), decode(true)))
        return [Table("continued texts", ("text", "goes on", "went on"), rows)]

    # In the graph

    def sampled(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        from trainer.models.cached import CachedNetwork
        from trainer.models.generate import generate
        from trainer.models.network import Network
        from trainer.models.writing import Writing

        if not isinstance(model, Network):
            return {}
        length = min(batch[IDS].shape[1] - 1, _PROMPT)
        room = min(_WRITTEN, model.architecture.max_length - length)
        if min(length, room) < 1:
            return {}
        given_B = tf.minimum(tf.reduce_sum(batch[MASK], 1) - 1, length)
        at_BT = tf.range(length) - (length - given_B)[:, None]  # padded on the left
        ids_BT = tf.gather(batch[IDS], tf.maximum(at_BT, 0), batch_dims=1)
        written = generate(
            CachedNetwork(model),
            ids_BT,
            tf.cast(at_BT >= 0, tf.int32),
            Writing(max_new_tokens=room, temperature=_TEMPERATURE),
            seed=0,
            rows_B=batch[ID],
            end_id=self._end,
        )
        return {"given": given_B, "new": written.ids_BN, "written": written.lengths_B}

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        row_B1 = tf.cast(batch[WEIGHT], tf.float32)[:, None]
        return {WORDS: tf.cast(following(batch[MASK]), tf.float32) * row_B1}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {WORDS: token_losses(outputs, following(batch[IDS]))}
