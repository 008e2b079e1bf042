"""Masked words: which are selected, what becomes of them, and what is learned."""

import numpy as np
import pytest
import tensorflow as tf
import words

from trainer.batch import IDS, MASK, POSITIONS, WEIGHT
from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.models.random import random_scope
from trainer.tasks.masked import MaskedWords
from trainer.tasks.task import Scores
from trainer.tasks.whole_words import word_marks

LENGTH = 24


def task(**settings) -> MaskedWords:
    return MaskedWords(**settings).bound({}, words.TOKENIZER)


def batch(texts, length=LENGTH):
    rows = [[words.BEGIN, *words.ids_of(text), words.END] for text in texts]
    ids = np.array([[*row, *[words.PAD] * (length - len(row))] for row in rows], np.int32)
    mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int32)
    return {IDS: tf.constant(ids), MASK: tf.constant(mask), WEIGHT: tf.ones(len(rows))}


def prepared(task, given, *, step=0, places=0, seed=3):
    with random_scope(seed, tf.constant(step, tf.int64), tf.constant(places, tf.int64)):
        made = task.prepare(given, training=True)
    return {name: value.numpy() for name, value in made.items()}


def selected(given, made):
    """True where a token is selected, [B, T]."""
    found = np.zeros(given[IDS].shape, bool)
    for row, (places, counts) in enumerate(zip(made[POSITIONS], made["selected"], strict=True)):
        found[row, places[counts > 0]] = True
    return found


TEXTS = [text for text in words.texts(400) if len(words.ids_of(text)) <= LENGTH - 2]


@pytest.mark.parametrize("whole", [False, True])
def test_a_share_of_each_row_and_nothing_special_is_selected(whole):
    given = batch(TEXTS)
    made = prepared(task(mask_share=0.3, whole_words=whole), given)
    found = selected(given, made)
    ids = given[IDS].numpy()
    assert (ids[found] > words.MASK).all()
    real = (ids > words.MASK).sum(1)
    wanted = np.maximum(np.round(real.astype(np.float32) * np.float32(0.3)), 1)
    if whole:
        assert (found.sum(1) <= wanted).all()
        assert 0.8 < found.sum() / wanted.sum() <= 1
    else:
        np.testing.assert_array_equal(found.sum(1), wanted)
    assert found.any(1).all()
    np.testing.assert_array_equal(made["targets"], np.take_along_axis(ids, made[POSITIONS], 1))
    assert (made[IDS][~found] == ids[~found]).all()


def test_80_10_and_10_of_a_hundred():
    given = batch(TEXTS * 20)
    made = prepared(task(mask_share=0.5), given)
    found, ids = selected(given, made), given[IDS].numpy()
    assert found.sum() > 25_000
    masked = made[IDS] == words.MASK
    same = made[IDS] == ids
    assert 0.79 < masked[found].mean() < 0.81
    # A random token is the old one in 1 of 35 cases.
    assert 0.095 < same[found].mean() - 0.1 / 35 < 0.105
    other = made[IDS][found & ~masked & ~same]
    assert set(other.tolist()) == set(range(5, 40))
    assert np.bincount(other)[5:].min() > 0.7 * len(other) / 35


def test_whole_words_are_selected_and_share_a_fate():
    given = batch(TEXTS * 5)
    made = prepared(task(mask_share=0.4, whole_words=True), given)
    found, ids = selected(given, made), given[IDS].numpy()
    inside = np.isin(ids, np.flatnonzero(~word_marks(words.TOKENIZER)[0]))
    assert inside.sum() > 1000
    before = np.roll(found, 1, 1)
    # A part of a word is the first tokens of one that is longer than the row's share.
    in_part = (inside & (found != before)).any(1)
    assert not (inside & found & ~before).any()
    bound = np.maximum(np.round(0.4 * (ids > words.MASK).sum(1)), 1)
    assert (found.sum(1) == bound)[in_part].all()
    assert all((np.diff(np.flatnonzero(row)) == 1).all() for row in found[in_part])
    assert 0 < in_part.mean() < 0.2
    masked = made[IDS] == words.MASK
    both = inside & found
    assert (masked[both] == np.roll(masked, 1, 1)[both]).all()


def test_the_share_of_long_rows_is_the_one_that_was_asked_for():
    long = [" ".join(words.texts(12, seed)) for seed in range(64)]
    given = batch(long, 256)
    made = prepared(task(whole_words=True), given)
    found, real = selected(given, made), (given[IDS].numpy() > words.MASK).sum(1)
    assert 0.97 * 0.15 < (found.sum(1) / real).mean() < 1.03 * 0.15
    assert found.any(1).all()


def test_a_row_of_special_tokens_alone_selects_nothing():
    given = batch(["a", "?"])  # the second is unknown
    found = selected(given, prepared(task(whole_words=True), given))
    np.testing.assert_array_equal(found.sum(1), [1, 0])


@pytest.mark.parametrize("whole", [False, True])
def test_new_masks_in_each_step_and_the_same_in_any_company(whole):
    given, drawn = batch(TEXTS[:8]), task(mask_share=0.3, whole_words=whole)
    first = prepared(drawn, given)
    np.testing.assert_equal(prepared(drawn, given), first)
    assert (prepared(drawn, given, step=1)[IDS] != first[IDS]).any()
    later = prepared(drawn, {name: value[3:] for name, value in given.items()}, places=3)
    np.testing.assert_array_equal(later[IDS], first[IDS][3:])
    # Rows of a set: by their number, beside others and at another length.
    places = [5, 0, 9, 2, 7, 1, 3, 4]
    of_set = prepared(drawn, given, places=places)
    assert (of_set[IDS] != first[IDS]).any()
    kept = [2, 6]
    short = batch([TEXTS[i] for i in kept], 2 * LENGTH)
    other = prepared(drawn, short, places=[places[i] for i in kept])
    np.testing.assert_array_equal(other[IDS][:, :LENGTH], of_set[IDS][kept])


def test_texts_are_cut_into_windows_and_no_token_is_lost():
    rows = [Row({"text": text}, i, "file t") for i, text in enumerate(words.texts(50))]
    encoder = words.encoder(8)
    pieces = task().pieces(rows, encoder)
    for row in rows:
        of_row = [piece for piece in pieces if piece.row == row.id]
        ids = [id_ for piece in of_row for id_ in piece.tokens.ids[1:-1]]
        assert ids == words.ids_of(row["text"])
        assert all(piece.tokens.ids[0] == words.BEGIN for piece in of_row)
        assert sum(piece.values["words"] for piece in of_row) == len(row["text"].split()) + 1
        assert sum(piece.values["bytes"] for piece in of_row) == len(row["text"]) + 1
    assert max(len(piece.tokens.ids) for piece in pieces) == 8
    blocks = task(blocks=True)
    joined = [*blocks.joined(iter(blocks.pieces(rows, encoder)), encoder)]
    stream = [id_ for row in rows for id_ in [*words.ids_of(row["text"]), words.END]]
    assert [id_ for piece in joined for id_ in piece.tokens.ids[1:-1]] == stream
    assert {len(piece.tokens.ids) for piece in joined[:-1]} == {8}
    assert sum(p.values["words"] for p in joined) == sum(p.values["words"] for p in pieces)


def test_an_empty_text_makes_no_row():
    assert task().pieces([Row({"text": " "}, 0, "file t")], words.encoder(8)) == []


def test_accuracy_and_perplexity_of_a_set():
    gold = {"words": np.array([3, 4]), "bytes": np.array([9, 9]), "rows": np.array([0, 1])}
    losses, weights = {"words": np.array([6.0, 1.0])}, {"words": np.array([3.0, 4.0])}
    scores = Scores(losses, weights, {}, {"right": np.array([1.0, 3.0])})
    found = task().judge(gold, scores)
    assert found == {
        "loss": 1.0,
        "perplexity": np.exp(1.0),
        "accuracy": 4 / 7,
        "tokens": 7,
        "examples": 2,
    }


def test_a_tokenizer_without_a_mask_token_is_refused():
    with pytest.raises(UserError, match="the tokenizer has no mask token, which"):
        MaskedWords().bound({}, words.tokenizer(without="mask_token"))
