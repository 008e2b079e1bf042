"""A network that writes: with keys and values kept as without, in a batch as alone."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from trainer.models.architecture import from_scratch
from trainer.models.cached import CachedNetwork
from trainer.models.generate import Generation, generate
from trainer.models.heads import WordHead
from trainer.models.network import Network
from trainer.models.random import draw_key
from trainer.models.writing import Writing
from trainer.prediction.writer import padded_left

TEXTS = [[7], [5, 9, 6, 30], [11, 12]]


def language_model(**changes) -> Network:
    """A causal network whose weights are large enough to have an opinion."""
    settings = tiny.no_dropout(**{"causal": True, "norm": "pre", "depth": 2, **changes})
    shape = from_scratch(settings, tiny.VOCAB, 24, False, "tokens")
    with tiny.precision("float64"):
        model = Network(shape, tiny.VOCAB, WordHead(shape, transforms=False))
        model.build()
    for i, weight in enumerate(model.encoder.weights):
        weight.assign(np.random.default_rng(i).normal(size=weight.shape))
    return model


class Whole:
    """A language model without a cache: all tokens are encoded again for each, each row alone."""

    continues = True

    def __init__(self, network: Network, text: list[int]):
        self.network, self.start = network, tf.constant([text])

    def prefill(self, ids_RT, mask_RT, room):
        return self._of(self.start), (), self.start

    def step(self, tokens_R, positions_R, memory, cache):
        ids = tf.concat([cache, tokens_R[:, None]], 1)
        return self._of(ids), ids

    def _of(self, ids):
        x = self.network.encoder(ids, tf.ones_like(ids))
        table = self.network.encoder.embeddings.tokens.embeddings
        return self.network.head(x, {}, table=table)[:, -1]


@pytest.mark.parametrize(
    "way",
    [
        {"repetition_penalty": 3.0},  # or it would repeat itself
        pytest.param({"temperature": 1.5, "top_p": 0.9}, marks=pytest.mark.long),
        pytest.param({"repetition_penalty": 3.0, "beams": 2}, marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize(
    "changes",
    [{"positions": "learned"}, pytest.param({"attention_window": 3}, marks=pytest.mark.long)],
)
def test_cached_is_uncached_and_a_batch_is_each_alone(way, changes):
    network, writing = language_model(**changes), Writing(max_new_tokens=6, **way)
    ids, mask = padded_left(TEXTS, 5)
    rows = tf.constant([4, 0, 9], tf.int64)
    run = tf.function(generate, autograph=False)
    found = run(CachedNetwork(network), ids, mask, writing, 3, rows, 1)
    if way.get("beams"):  # the plain model cannot change the order of its rows
        alone = [
            run(CachedNetwork(network), *padded_left([text], len(text)), writing, 3, row, 1)
            for text, row in zip(TEXTS, tf.split(rows, 3), strict=True)
        ]
    else:
        alone = [
            uncached(network, text, writing, row)
            for text, row in zip(TEXTS, tf.split(rows, 3), strict=True)
        ]
    for row, each in enumerate(alone):
        np.testing.assert_array_equal(found.ids_BN[row], each.ids_BN[0])
        np.testing.assert_allclose(found.log_probs_BN[row], each.log_probs_BN[0], atol=1e-10)
    assert len(np.unique(found.ids_BN)) > 3


def uncached(network, text, writing, row):
    """Writes a token at a time, in Python, from the whole text."""
    steps = Generation(Whole(network, text), writing, 1)
    state = steps.begin(*padded_left([text], len(text)), row, draw_key(3))
    while not state.done_B[0] and state.count < writing.max_new_tokens:
        last = state.tokens_RN[:, state.count - 1]
        logits, cache = steps.model.step(last, None, state.memory, state.cache)
        state = steps._extended(state._replace(cache=cache), logits)
    return steps.written(state)
