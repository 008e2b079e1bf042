"""Beam search, as in transformers: `num_beams` with `early_stopping="never"`, its best hypotheses.

Each row follows the K most probable continuations of those that it followed before. One that ends
is a hypothesis, scored by its log-probability over a function of its length, `divisor`; what is
followed is compared by log-probabilities as they are. A row keeps its S best hypotheses, and is
done when nothing that it follows can become better than the worst of them.

Shape suffixes: see trainer.models.generate; S hypotheses that are kept.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from trainer.models.writing import Writing


class Beams(NamedTuple):
    """Hypotheses of each row.

    Attributes:
      totals_BK: log-probabilities of those that go on, the largest first; -inf: there is none.
      scores_BS: of those that ended, the best first; -inf: there is none.
      tokens_BSN, log_probs_BSN, lengths_BS: of these, as in `trainer.models.generate.State`.
    """

    totals_BK: Any
    scores_BS: Any
    tokens_BSN: Any
    log_probs_BSN: Any
    lengths_BS: Any


def begin(state, logits_BV, writing: Writing):
    """A state of B rows as one of B x K, and its logits; the first beam alone is there so far."""
    dtype, beams = logits_BV.dtype, writing.beams
    names = ("tokens_RN", "log_probs_RN", "lengths_R", "seen_RV", "memory", "cache")
    repeated = tf.nest.map_structure(
        lambda x: tf.repeat(x, beams, axis=0) if x.shape.rank else x,
        {name: getattr(state, name) for name in names},
    )
    first_K = tf.constant([0.0] + [-float("inf")] * (beams - 1), dtype)
    rows = tf.shape(logits_BV)[0]
    none_S = tf.constant([-float("inf")] * writing.n_best, dtype)
    made = Beams(
        totals_BK=tf.repeat(first_K[None], rows, axis=0),
        scores_BS=tf.repeat(none_S[None], rows, axis=0),
        tokens_BSN=tf.repeat(state.tokens_RN[:, None], writing.n_best, axis=1),
        log_probs_BSN=tf.repeat(state.log_probs_RN[:, None], writing.n_best, axis=1),
        lengths_BS=tf.zeros([rows, writing.n_best], tf.int32),
    )
    state = state._replace(**repeated, beams=made)
    return state, tf.repeat(logits_BV, beams, axis=0)


def extended(state, log_probs_RV, end_id: int, writing: Writing):
    """The state with one more token of each beam, given the log-probabilities of all tokens."""
    old, count = state.beams, state.count + 1
    beams, values = old.totals_BK.shape[1], log_probs_RV.shape[-1]
    rows, most = tf.shape(state.done_B)[0], state.tokens_RN.shape[1]
    totals_BKV = old.totals_BK[:, :, None] + tf.reshape(log_probs_RV, [rows, beams, values])
    # Twice as many as go on: at most one of each beam ends.
    candidates = tf.math.top_k(tf.reshape(totals_BKV, [rows, -1]), 2 * beams)
    tokens_BC = candidates.indices % values
    parents_BC = candidates.indices // values + tf.range(rows)[:, None] * beams
    ends_BC = tokens_BC == end_id

    def followed(places_B, tokens_B):
        """Tokens and log-probabilities [., N] of these parents and a token more of each."""
        of_new = tf.gather_nd(log_probs_RV, tf.stack([places_B, tokens_B], -1))
        return (
            put(tf.gather(state.tokens_RN, places_B), state.count, tokens_B),
            put(tf.gather(state.log_probs_RN, places_B), state.count, of_new),
        )

    dtype = log_probs_RV.dtype
    infinite = tf.constant(-float("inf"), dtype)
    # As in transformers, one that ends is a hypothesis if it is among the first K.
    ended_BK = tf.where(ends_BC, candidates.values, infinite)[:, :beams]
    ended = tf.math.top_k(ended_BK, writing.n_best)
    parents_R = tf.reshape(tf.gather(parents_BC, ended.indices, batch_dims=1), [-1])
    # Where nothing ends the score is -inf, whatever these tokens are.
    tokens_RN, log_probs_RN = followed(parents_R, tf.fill(tf.shape(parents_R), max(end_id, 0)))
    kept = best_of(
        old,
        tf.where(state.done_B[:, None], infinite, ended.values / divisor(count, dtype, writing)),
        tf.reshape(tokens_RN, [rows, writing.n_best, most]),
        tf.reshape(log_probs_RN, [rows, writing.n_best, most]),
        count,
    )

    going = tf.math.top_k(tf.where(ends_BC, infinite, candidates.values), beams)
    parents_R = tf.reshape(tf.gather(parents_BC, going.indices, batch_dims=1), [-1])
    tokens_R = tf.reshape(tf.gather(tokens_BC, going.indices, batch_dims=1), [-1])
    tokens_RN, log_probs_RN = followed(parents_R, tokens_R)
    # Log-probabilities are not above 0, so these are the best scores that can still come.
    longest = most if writing.length_penalty > 0 else tf.minimum(count + 1, most)
    bound_B = going.values[:, 0] / divisor(longest, dtype, writing)
    return state._replace(
        count=count,
        tokens_RN=tokens_RN,
        log_probs_RN=log_probs_RN,
        written_B=tf.where(state.done_B, state.written_B, count),
        done_B=state.done_B | (kept.scores_BS[:, -1] >= bound_B),
        seen_RV=_of(state.seen_RV, parents_R),
        cache=_of(state.cache, parents_R),
        beams=kept._replace(totals_BK=going.values),
    )


def best(state, writing: Writing) -> Beams:
    """The best hypotheses.

    Those that go on still are some too, as if they ended here, where their row is not done.
    """
    found = state.beams
    rows, beams = tf.shape(found.totals_BK)[0], found.totals_BK.shape[1]
    scores_BK = found.totals_BK / divisor(state.count, found.totals_BK.dtype, writing)
    infinite = tf.constant(-float("inf"), scores_BK.dtype)
    tokens_BKN, log_probs_BKN = (
        tf.reshape(x, [rows, beams, x.shape[1]]) for x in (state.tokens_RN, state.log_probs_RN)
    )
    scores_BK = tf.where(state.done_B[:, None], infinite, scores_BK)
    return best_of(found, scores_BK, tokens_BKN, log_probs_BKN, state.count)


def best_of(old: Beams, scores_BK, tokens_BKN, log_probs_BKN, count) -> Beams:
    """The best of those that were kept and of others, which have `count` tokens."""
    lengths_BK = tf.fill(tf.shape(scores_BK), count)
    # Of equal ones those that were there: they stand before the others.
    scores, places_BS = tf.math.top_k(
        tf.concat([old.scores_BS, scores_BK], 1), old.scores_BS.shape[1]
    )

    def chosen(kept, new):
        return tf.gather(tf.concat([kept, new], 1), places_BS, batch_dims=1)

    return old._replace(
        scores_BS=scores,
        tokens_BSN=chosen(old.tokens_BSN, tokens_BKN),
        log_probs_BSN=chosen(old.log_probs_BSN, log_probs_BKN),
        lengths_BS=chosen(old.lengths_BS, lengths_BK),
    )


def divisor(length, dtype, writing: Writing):
    """The divisor of log-probabilities of hypotheses with a number of tokens, see `Writing`."""
    length = tf.cast(length, dtype)
    if writing.length_norm == "gnmt":
        length = (5 + length) / 6
    return length ** tf.constant(writing.length_penalty, dtype)


def put(x_RN, at, values_R):
    """x with other values in a column."""
    return tf.where(tf.range(x_RN.shape[1]) == at, values_R[:, None], x_RN)


def _of(nest, rows_R):
    """The rows of each tensor of a nest that has any."""
    return tf.nest.map_structure(lambda x: tf.gather(x, rows_R) if x.shape.rank else x, nest)
