"""Causal language models: rows, targets and perplexities."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
import words

from trainer.batch import IDS, MASK, WEIGHT
from trainer.config import Tokenizer
from trainer.data.columns import Row
from trainer.data.encode import TextEncoder
from trainer.data.tokenizer_training import train_tokenizer
from trainer.errors import UserError
from trainer.tasks.causal import Causal
from trainer.tasks.task import Scores

ROWS = [Row({"text": text}, i, "file t") for i, text in enumerate(words.texts(50))]


def task(**settings) -> Causal:
    return Causal(**settings).bound({}, words.TOKENIZER)


def learned(pieces):
    """The tokens that are predicted, in order."""
    return [id_ for piece in pieces for id_ in piece.tokens.ids[1:]]


@pytest.mark.parametrize("length", [8, 9, 40])
def test_each_token_and_each_end_is_predicted_once(length):
    encoder = words.encoder(length)
    wanted = [id_ for row in ROWS for id_ in [*words.ids_of(row["text"]), words.END]]
    pieces = task().pieces(ROWS, encoder)
    assert learned(pieces) == wanted
    blocks = task(blocks=True)
    joined = [*blocks.joined(iter(blocks.pieces(ROWS, encoder)), encoder)]
    assert learned(joined) == wanted
    for made in (pieces, joined):
        assert max(len(piece.tokens.ids) for piece in made) <= length
        for before, piece in itertools.pairwise(made):
            if piece.tokens.ids[0] != words.BEGIN:  # goes on where the one before ended
                assert piece.tokens.ids[0] == before.tokens.ids[-1]
        assert sum(p.values["words"] for p in made) == sum(
            len(row["text"].split()) + 1 for row in ROWS
        )
    assert {len(piece.tokens.ids) for piece in joined[:-1]} == {length}
    assert sum(piece.tokens.ids[0] == words.BEGIN for piece in joined) == 1
    rows = [piece.row for piece in joined]
    assert rows == sorted(rows)


def test_an_empty_text_ends_all_the_same():
    (piece,) = task().pieces([Row({"text": ""}, 0, "file t")], words.encoder(8))
    assert piece.tokens.ids.tolist() == [words.BEGIN, words.END]
    assert piece.values == {"words": 1, "bytes": 1}


def test_a_line_end_is_a_word_where_the_tokenizer_tells_it_from_a_blank():
    rows = [Row({"text": "a b\nc"}, 0, "file t")]
    (piece,) = task().pieces(rows, words.encoder(8))
    assert piece.values == {"words": 4, "bytes": 6}
    told = train_tokenizer(Tokenizer(kind="characters", vocab_size=64), ["a b\nc"] * 9)
    (piece,) = task().pieces(rows, TextEncoder(told, 20, "head"))
    assert piece.values == {"words": 5, "bytes": 6}


def test_the_loss_is_of_the_next_token():
    ids = tf.constant([[2, 7, 8, 3, 0], [2, 9, 3, 0, 0]])
    batch = {IDS: ids, MASK: tf.cast(ids > 0, tf.int32), WEIGHT: tf.constant([1.0, 1.0])}
    next_ids = tf.concat([ids[:, 1:], [[0], [0]]], 1)
    sure = 30.0 * tf.one_hot(next_ids, 40)
    losses, weights = task().losses(batch, sure)["words"], task().weights(batch)["words"]
    np.testing.assert_array_equal(weights, [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    assert float(tf.reduce_max(losses * weights)) < 1e-8
    np.testing.assert_allclose(task().losses(batch, tf.zeros([2, 5, 40]))["words"], math.log(40))


def test_perplexities_are_of_the_whole_set():
    gold = {"words": np.array([3, 5]), "bytes": np.array([9, 7]), "rows": np.array([0, 4])}
    losses, weights = {"words": np.array([6.0, 2.0])}, {"words": np.array([1.0, 15.0])}
    found = task().judge(gold, Scores(losses, weights, {}))
    assert found["loss"] == 0.5
    assert found["perplexity"] == math.exp(0.5)
    assert found["word_perplexity"] == math.e
    assert found["bits_per_byte"] == 0.5 / math.log(2)
    assert (found["tokens"], found["examples"]) == (16, 2)


def test_a_tokenizer_without_an_end_is_refused():
    with pytest.raises(UserError, match="the tokenizer has no end token, which a language model"):
        Causal().bound({}, words.tokenizer(without="sep_token"))
