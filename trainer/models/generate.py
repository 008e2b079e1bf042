"""Generation in the graph: a language model continues a batch of prompts.

Prompts are padded on the left, so that all rows take their new tokens at the same slot; positions
count a row's own tokens. A draw is a function of (seed, row, position), so a row's continuation
depends neither on the rows beside it nor on the devices, and going on from half of it gives the
other half.

Shape suffixes: B rows, K beams of a row, R = B x K rows of the model, T tokens of the longest
prompt, N new tokens, V vocabulary.
"""

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from trainer.models import beams
from trainer.models.random import draw_key, gumbel
from trainer.models.writing import Writing

NO_END = -1  # the id of the end token where there is none


class LanguageModel(Protocol):
    """Gives the logits of the next token.

    A memory and a cache are nests of tensors, () where there is nothing; each tensor that has axes
    has a row of the batch for each entry of the first. A memory is fixed by the prompt, so it is
    that of all beams of a row; a cache grows with what is written.

    Attributes:
      continues: its new tokens stand behind a prompt; else they are a text of their own.
    """

    continues: bool

    def prefill(self, ids_RT, mask_RT, room) -> tuple[tf.Tensor, Any, Any]:
        """Reads prompts.

        Args:
          ids_RT: int32, padded on the left.
          mask_RT: int32, 1 at real tokens, of which the last column is one in each row.
          room: int32, number of tokens that the cache must have room for besides.

        Returns:
          Logits [R, V] of the first new token, the memory, and the cache.
        """

    def step(self, tokens_R, positions_R, memory, cache) -> tuple[tf.Tensor, Any]:
        """Reads the next token of each row, int32: its logits [R, V], and the cache with it."""


class State(NamedTuple):
    """Continuations so far.

    Attributes:
      count: int32, columns of new tokens that are filled; rows that ended have fewer.
      tokens_RN: int32, 0 behind the end.
      log_probs_RN: of each token, given those before it, 0 behind the end.
      written_B: int32, new tokens of a row, its end token included.
      done_B: bool, rows that ended.
      lengths_R: int32, tokens of each prompt.
      rows_B: int64, the number of each text among all texts.
      key: of `trainer.models.random.draw_key`.
      seen_RV: bool, tokens that stand in the text; () where nothing asks for it.
      memory, cache: the model's.
      beams: hypotheses of beam search; () without.
    """

    count: Any
    tokens_RN: Any
    log_probs_RN: Any
    written_B: Any
    done_B: Any
    lengths_R: Any
    rows_B: Any
    key: Any
    seen_RV: Any
    memory: Any
    cache: Any
    beams: Any = ()


class Written(NamedTuple):
    """Continuations; with `n_best` the axis B is one of B x S, the best of each row first.

    Attributes:
      ids_BN: int32, 0 behind the end.
      log_probs_BN: the log-probability of each token under the model, after the repetition penalty
        and before temperature, top_k and top_p; 0 behind the end.
      lengths_B: int32, new tokens of each row, its end token included; 0 where a row has fewer
        hypotheses than S.
    """

    ids_BN: Any
    log_probs_BN: Any
    lengths_B: Any


class Generation:
    """The steps of generation, for use inside a graph.

    Args:
      model: what gives the logits.
      writing: the settings.
      end_id: token that ends a row; NO_END: none does.
    """

    def __init__(self, model: LanguageModel, writing: Writing, end_id: int = NO_END):
        self.model, self.writing, self.end_id = model, writing, end_id

    def begin(self, ids_BT, mask_BT, rows_B, key) -> State:
        """The state with the first new token of each row.

        Args:
          ids_BT, mask_BT: see `LanguageModel.prefill`.
          rows_B, key: see `State`; the key is not used without sampling.
        """
        writing = self.writing
        logits_RV, memory, cache = self.model.prefill(ids_BT, mask_BT, writing.max_new_tokens)
        logits_RV = _wide(logits_RV)
        seen_RV: Any = ()
        if writing.repetition_penalty != 1:
            mask_RT = mask_BT if self.model.continues else tf.zeros_like(mask_BT)
            seen_RV = _seen(ids_BT, mask_RT, logits_RV.shape[-1])
        rows = tf.shape(ids_BT)[0]
        state = State(
            count=tf.constant(0),
            tokens_RN=tf.zeros([rows, writing.max_new_tokens], tf.int32),
            log_probs_RN=tf.zeros([rows, writing.max_new_tokens], logits_RV.dtype),
            written_B=tf.zeros([rows], tf.int32),
            done_B=tf.zeros([rows], tf.bool),
            lengths_R=tf.reduce_sum(mask_BT, 1),
            rows_B=rows_B,
            key=key,
            seen_RV=seen_RV,
            memory=memory,
            cache=cache,
        )
        if writing.beams > 1:
            state, logits_RV = beams.begin(state, logits_RV, writing)
        return self._extended(state, logits_RV)

    def advance(self, state: State, steps, stopped_B=None) -> State:
        """The state after so many more tokens, or fewer where all rows end.

        Args:
          state: of `begin` or `advance`.
          steps: int32 scalar.
          stopped_B: bool, rows that end here; None: none.
        """
        if stopped_B is not None:
            state = state._replace(done_B=state.done_B | stopped_B)
        last = tf.minimum(state.count + steps, self.writing.max_new_tokens)

        def body(state: State) -> tuple[State]:
            tokens_R = tf.gather(state.tokens_RN, state.count - 1, axis=1)
            positions_R = state.lengths_R + state.count - 1
            logits_RV, cache = self.model.step(tokens_R, positions_R, state.memory, state.cache)
            new = self._extended(state._replace(cache=cache), _wide(logits_RV))
            return (
                tf.nest.map_structure(lambda x, old: tf.ensure_shape(x, old.shape), new, state),
            )

        (state,) = tf.while_loop(
            lambda state: (state.count < last) & ~tf.reduce_all(state.done_B),
            body,
            (state,),
            parallel_iterations=1,
        )
        return state

    def written(self, state: State) -> Written:
        """The continuations of a state; of beams the best hypotheses so far."""
        if self.writing.beams > 1:
            found, most = beams.best(state, self.writing), self.writing.max_new_tokens
            there_BS = found.scores_BS > -float("inf")
            return Written(
                tf.reshape(found.tokens_BSN, [-1, most]),
                tf.reshape(found.log_probs_BSN, [-1, most]),
                tf.reshape(tf.where(there_BS, found.lengths_BS, 0), [-1]),
            )
        return Written(state.tokens_RN, state.log_probs_RN, state.written_B)

    def whole(self, ids_BT, mask_BT, rows_B, key, stopped_B=None) -> Written:
        """Prompts to continuations, in one loop; see `begin` and `advance`."""
        state = self.begin(ids_BT, mask_BT, rows_B, key)
        return self.written(self.advance(state, self.writing.max_new_tokens, stopped_B))

    def _extended(self, state: State, logits_RV) -> State:
        """The state with one more token of each row, given its logits."""
        writing = self.writing
        if writing.repetition_penalty != 1:
            penalty = tf.constant(writing.repetition_penalty, logits_RV.dtype)
            penalised = tf.where(logits_RV > 0, logits_RV / penalty, logits_RV * penalty)
            logits_RV = tf.where(state.seen_RV, penalised, logits_RV)
        log_probs_RV = tf.nn.log_softmax(logits_RV)
        if writing.beams > 1:
            state = beams.extended(state, log_probs_RV, self.end_id, writing)
        else:
            state = self._with(state, self._chosen(state, logits_RV), log_probs_RV)
        if writing.repetition_penalty != 1:
            tokens_R = tf.gather(state.tokens_RN, state.count - 1, axis=1)
            now_RV = tf.one_hot(tokens_R, log_probs_RV.shape[-1], True, False, dtype=tf.bool)
            state = state._replace(seen_RV=state.seen_RV | now_RV)
        return state

    def _chosen(self, state: State, logits_BV):
        """The next token of each row, int32 [B]."""
        writing = self.writing
        if writing.samples:
            dtype = logits_BV.dtype
            logits_BV = logits_BV / tf.constant(writing.temperature or 1.0, dtype)
            logits_BV = kept(logits_BV, writing.top_k, writing.top_p)
            positions_B = state.lengths_R + state.count
            noise_BV = gumbel(state.key, state.rows_B, positions_B, logits_BV.shape[-1])
            logits_BV += tf.cast(noise_BV, dtype)
        return tf.argmax(logits_BV, -1, tf.int32)

    def _with(self, state: State, tokens_B, log_probs_BV) -> State:
        going_B = ~state.done_B
        tokens_B = tf.where(going_B, tokens_B, 0)
        log_probs_B = tf.gather(log_probs_BV, tokens_B, batch_dims=1)
        log_probs_B = tf.where(going_B, log_probs_B, tf.zeros_like(log_probs_B))
        return state._replace(
            count=state.count + 1,
            tokens_RN=beams.put(state.tokens_RN, state.count, tokens_B),
            log_probs_RN=beams.put(state.log_probs_RN, state.count, log_probs_B),
            written_B=state.written_B + tf.cast(going_B, tf.int32),
            done_B=state.done_B | (tokens_B == self.end_id),
        )


def kept(logits_BV, top_k: int | None, top_p: float | None):
    """The logits, with -inf where top_k, and then top_p of what is left, leave a token out.

    Tokens as probable as the last one that is kept are kept too.
    """
    if top_k is None and (top_p is None or top_p == 1):
        return logits_BV
    sorted_BV = tf.math.top_k(logits_BV, top_k or tf.shape(logits_BV)[-1]).values
    lowest_B1 = sorted_BV[:, -1:]
    if top_p is not None:
        probabilities_BV = tf.nn.softmax(sorted_BV)
        before_BV = tf.cumsum(probabilities_BV, axis=1, exclusive=True)
        # The most probable token always: 0 < top_p.
        inside_BV = before_BV < tf.constant(top_p, before_BV.dtype)
        infinite = tf.constant(float("inf"), sorted_BV.dtype)
        lowest_B1 = tf.reduce_min(tf.where(inside_BV, sorted_BV, infinite), 1, keepdims=True)
    return tf.where(logits_BV >= lowest_B1, logits_BV, -float("inf"))


def generate(
    model: LanguageModel,
    ids_BT,
    mask_BT,
    writing: Writing,
    seed: int,
    rows_B,
    end_id: int = NO_END,
) -> Written:
    """Continues prompts; in the graph, one loop. See `Generation` and `LanguageModel.prefill`.

    Args:
      seed: of the draws.
      rows_B: int64, the number of each text among all texts: it stands for the text in the draws.
    """
    return Generation(model, writing, end_id).whole(ids_BT, mask_BT, rows_B, draw_key(seed))


def _seen(ids_BT, mask_BT, values: int):
    """Bool [B, V]: tokens of the prompts, padding left out."""
    shape = tf.shape(ids_BT)
    rows_BT = tf.broadcast_to(tf.range(shape[0])[:, None], shape)
    counts_BV = tf.zeros([shape[0], values], tf.int32)
    places = tf.stack([rows_BT, ids_BT], -1)
    return tf.tensor_scatter_nd_add(counts_BV, places, mask_BT) > 0


def _wide(logits):
    """In float32, or wider: log-probabilities are sums over a vocabulary."""
    return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)
