"""Texts written by a model, on all devices, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.data.subwords import Subwords
from trainer.errors import Interrupted, UserError
from trainer.models.generate import NO_END, Generation, LanguageModel
from trainer.models.random import draw_key
from trainer.models.writing import Writing
from trainer.runtime.devices import local_replicas

BATCH_TOKENS = 2**13  # of a batch, prompts and continuations, padding included
STEPS = 16  # tokens between two looks at stop texts and signals
STREAMED = 4  # tokens between two looks of a reader
_MULTIPLE = 8  # of the lengths of prompts
_REPLACED = "\ufffd"  # in the place of bytes that are no character, or not yet


class Continuation(NamedTuple):
    """The continuation of a text, or the text that is written for it.

    Attributes:
      text: without the prompt, the end token and the stop text.
      tokens: ids, with the end token, up to the one that completes the stop text.
      log_probs: natural logarithms of their probabilities, see `Written`.
      ended: "end" by the end token, "stop" by a stop text, "length" by max_new_tokens.
      n_best: where several were asked for all of them, the best first, this one included.
    """

    text: str
    tokens: list[int]
    log_probs: list[float]
    ended: str
    n_best: "Sequence[Continuation]" = ()


class Writer:
    """Continues texts.

    Args:
      model: gives logits.
      tokenizer: of the model.
      encode: texts to the ids of prompts, special tokens at the beginning included.
      writing: the settings.
      strategy: whose replicas share a batch, all of them in this process.
      vocabulary, positions: of the model, see `Writing.check_model`.
      end_id: token at the end of a text; NO_END: there is none.
      seed: of the draws.
      stop: asked between blocks of tokens.

    Raises:
      UserError: the settings do not fit the model.

    Attributes:
      continues: see `LanguageModel`.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Subwords,
        encode: Callable[[Sequence[str]], Sequence[Sequence[int]]],
        writing: Writing,
        strategy: tf.distribute.Strategy,
        *,
        vocabulary: int,
        positions: int,
        end_id: int = NO_END,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ):
        self.continues = model.continues
        writing.check_model(vocabulary, positions, model.continues)
        self._tokenizer, self._encode, self._writing = tokenizer, encode, writing
        self._positions, self._stop, self._end = positions, stop, end_id
        self._strategy, self._key = strategy, draw_key(seed)
        self._steps = Generation(model, writing, end_id)
        matrix, rows = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int64)
        signature = [matrix, matrix, rows, tf.TensorSpec([1], tf.uint64)]
        self._begin = tf.function(self._begun, input_signature=signature, autograph=False)
        self._advance = tf.function(self._advanced, reduce_retracing=True, autograph=False)

    def continue_texts(
        self, texts: Sequence[str], numbers: Sequence[int] | None = None
    ) -> list[Continuation]:
        """The continuations of texts, in their order.

        Args:
          texts: prompts.
          numbers: of each text among all texts, on which its draws depend; None: 0, 1, …

        Raises:
          Interrupted: `stop` said so.
          UserError: a prompt is too long, or empty; or the model gives no numbers.
        """
        numbers = range(len(texts)) if numbers is None else numbers
        prompts = self._prompts(texts, [f"text {number}" for number in numbers])
        return self.continue_prompts(prompts, numbers)

    def continue_prompts(
        self, prompts: Sequence[list[int]], numbers: Sequence[int]
    ) -> list[Continuation]:
        """The continuations of the ids of texts; see `continue_texts`."""
        found: dict[int, Continuation] = {}
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        while order:
            longest = _rounded(len(prompts[order[0]]))
            slots = (longest + self._writing.max_new_tokens) * self._writing.beams
            count = max(1, BATCH_TOKENS // slots)
            batch, order = order[:count], order[count:]
            several = self._writing.n_best
            readers = [self._reader(prompts[i]) for i in batch for _ in range(several)]
            for _ in self._blocks(readers, [numbers[i] for i in batch], STEPS):
                pass
            for at, i in enumerate(batch):
                texts = [each.whole() for each in readers[at * several :][:several] if each.there]
                found[i] = texts[0]._replace(n_best=texts if several > 1 else ())
        return [found[i] for i in range(len(prompts))]

    def stream(self, text: str, number: int = 0) -> Iterator[str]:
        """The continuation of a text, in pieces of whole characters as they come.

        Beams have one piece, in the end. Raises: see `continue_texts`.
        """
        (prompt,) = self._prompts([text], ["the text"])
        reader = self._reader(prompt)
        shown = ""
        for _ in self._blocks([reader], [number], STREAMED):
            if self._writing.beams > 1:
                continue
            ready = reader.ready()
            if len(ready) > len(shown):
                yield ready[len(shown) :]
                shown = ready
        if rest := reader.whole().text[len(shown) :]:
            yield rest

    def _prompts(self, texts: Sequence[str], names: Sequence[str]) -> list[list[int]]:
        """The ids of prompts. Raises UserError: one, of that name, is empty or too long."""
        prompts = [[int(id_) for id_ in ids] for ids in self._encode(texts)]
        for prompt, name in zip(prompts, names, strict=True) if self.continues else ():
            self._writing.check_prompt(len(prompt), self._positions, name)
        return prompts

    def _reader(self, prompt: list[int]) -> "_Reader":
        before = prompt if self.continues else []
        return _Reader(self._tokenizer, prompt, before, self._writing.stop, self._end)

    def _blocks(
        self, readers: "Sequence[_Reader]", rows: Sequence[int], steps: int
    ) -> Iterator[None]:
        """Writes to the end; yields whenever the readers, `n_best` a row, know more tokens.

        Raises: see `continue_texts`.
        """
        try:
            yield from self._written(readers, rows, steps)
        except tf.errors.ResourceExhaustedError as error:
            writing = self._writing
            raise UserError(
                f"{len(rows):,} texts of up to {writing.max_new_tokens:,} new tokens with"
                f" {writing.beams:,} beams do not fit in the memory of a device: give fewer beams,"
                " or a smaller max_new_tokens"
            ) from error

    def _written(
        self, readers: "Sequence[_Reader]", rows: Sequence[int], steps: int
    ) -> Iterator[None]:
        """As `_blocks`, whatever it raises."""
        prompts = [reader.prompt for reader in readers[:: self._writing.n_best]]
        count = len(prompts)
        missing = -len(prompts) % self._strategy.num_replicas_in_sync
        prompts = prompts + [prompts[0]] * missing
        ids, mask = padded_left(prompts, _rounded(max(map(len, prompts))))
        numbers = tf.constant([*rows, *[-1] * missing], tf.int64)
        self._interrupt()
        state, written, done = self._begin(ids, mask, numbers, self._key)
        stopped = np.arange(len(prompts)) >= count
        while True:
            self._read(readers, written)
            if self._writing.beams == 1:  # another hypothesis may become the best one
                stopped[:count] = [reader.stopped for reader in readers]
            yield
            if (stopped | self._joined(done)).all() or self._filled(state):
                return
            self._interrupt()
            state, written, done = self._advance(state, tf.constant(steps), tf.constant(stopped))

    def _read(self, readers: "Sequence[_Reader]", written: Any) -> None:
        """Gives readers their tokens."""
        ids, log_probs, lengths = map(self._joined, written)
        if not np.isfinite(log_probs[: len(readers)]).all():
            raise UserError("the model's logits are not finite: its weights are damaged")
        for i, reader in enumerate(readers):
            reader.read(ids[i, : lengths[i]].tolist(), log_probs[i, : lengths[i]].tolist())

    def _filled(self, state: Any) -> bool:
        """True if there is no room for more tokens; a replica whose rows ended is behind."""
        counts = self._strategy.experimental_local_results(state.count)
        return max(map(int, counts)) >= self._writing.max_new_tokens

    def _interrupt(self) -> None:
        if self._stop():
            raise Interrupted

    def _joined(self, value: Any) -> np.ndarray:
        """The rows of all replicas."""
        parts = self._strategy.experimental_local_results(value)
        return np.concatenate([part.numpy() for part in parts])

    def _begun(self, ids, mask, rows, key):
        def of_replica(ids, mask, rows, key):
            own = self._own(ids), self._own(mask), self._own(rows)
            return self._with_view(self._steps.begin(*own, key))

        return self._strategy.run(of_replica, args=(ids, mask, rows, key))

    def _advanced(self, state, steps, stopped):
        def of_replica(state, steps, stopped):
            return self._with_view(self._steps.advance(state, steps, self._own(stopped)))

        return self._strategy.run(of_replica, args=(state, steps, stopped))

    def _with_view(self, state):
        """The state, and what the host reads of it."""
        return state, self._steps.written(state), state.done_B

    def _own(self, tensor):
        """This replica's rows."""
        rows = tf.shape(tensor)[0] // local_replicas(self._strategy)
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        start = tf.cast(replica, tf.int32) * rows
        return tensor[start : start + rows]


class _Cut(NamedTuple):
    """The place at which a stop text ends a continuation: tokens with it, characters before it."""

    tokens: int
    characters: int


class _Reader:
    """The text of a row, as its tokens come.

    Args:
      tokenizer: gives the text of tokens.
      prompt: ids that the row is made of.
      before: ids that stand before the new ones in one text.
      stop: texts that end it.
      end_id: token that does.

    Attributes:
      prompt: its ids.
    """

    def __init__(
        self,
        tokenizer: Subwords,
        prompt: list[int],
        before: list[int],
        stop: Sequence[str],
        end_id: int,
    ):
        self.prompt, self._ids_before, self._end = prompt, before, end_id
        self._backend, self._stop = tokenizer.backend_tokenizer, stop
        self._before = self._backend.decode(before).rstrip(_REPLACED)
        self._ids: list[int] = []
        self._log_probs: list[float] = []
        self._searched = 0  # tokens whose text was searched for stop texts
        self._found: _Cut | None = None

    def read(self, ids: list[int], log_probs: list[float]) -> None:
        """Takes all new tokens so far."""
        self._ids, self._log_probs = ids, log_probs

    @property
    def there(self) -> bool:
        """True if it has a text: there may be fewer hypotheses than were asked for."""
        return bool(self._ids)

    @property
    def stopped(self) -> bool:
        """True once the text holds a stop text."""
        return self._cut() is not None

    def ready(self) -> str:
        """The text so far, without what may become another character, or part of a stop text."""
        if cut := self._cut():
            return self._text(cut.tokens)[: cut.characters]
        text = self._text(len(self._ids)).rstrip(_REPLACED)
        begun = [n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])]
        return text[: len(text) - max(begun, default=0)]

    def whole(self) -> Continuation:
        """The continuation, once all tokens were read."""
        count, ended = len(self._ids), "length"
        text = self._text(count)
        if self._ids and self._ids[-1] == self._end:
            ended = "end"
        if cut := self._cut():
            count, ended = cut.tokens, "stop"
            text = self._text(count)[: cut.characters]
        return Continuation(text, self._ids[:count], self._log_probs[:count], ended)

    def _cut(self) -> _Cut | None:
        """The first place where a stop text is whole, wherever blocks of tokens end; or None.

        What was searched before is not searched again.
        """
        before, count = self._searched, len(self._ids)
        if self._stop and not self._found and before < count:
            self._searched = count
            for each in range(before + 1, count + 1) if self._holds(count) else ():
                if found := self._holds(each):
                    self._found = _Cut(each, min(found))
                    break
        return self._found

    def _holds(self, count: int) -> list[int]:
        """Places of stop texts in the text of so many tokens."""
        text = self._text(count)
        return [at for stop in self._stop if (at := text.find(stop)) >= 0]

    def _text(self, count: int) -> str:
        """The text of so many new tokens, behind that of the prompt."""
        ids = self._ids[:count]
        if ids and ids[-1] == self._end:
            ids = ids[:-1]
        whole = self._backend.decode([*self._ids_before, *ids])
        if whole.startswith(self._before):  # so that a blank between the two is not lost
            return whole[len(self._before) :]
        return self._backend.decode(ids)


def padded_left(prompts: Sequence[Sequence[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, int32 [B, length], of prompts that are no longer, with 0 before them."""
    ids, mask = np.zeros([2, len(prompts), length], np.int32)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = 1
    return ids, mask


def _rounded(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE
