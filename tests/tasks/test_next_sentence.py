"""Pairs of parts of texts, and the second loss of masked words that they give."""

import itertools
import time
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import words

from trainer.batch import IDS, MASK, TYPES, WEIGHT
from trainer.config import Data, Tokenizer
from trainer.data.cache import load_or_build
from trainer.data.columns import Row
from trainer.data.encode import TextEncoder
from trainer.data.progress import quiet
from trainer.data.tokenizer_training import train_tokenizer
from trainer.errors import UserError
from trainer.models.random import random_scope
from trainer.tasks.masked import MaskedWords
from trainer.tasks.next_sentence import LEAST_ROOM, Text, pairs, sentence_starts

ROOM = 12


def texts(count=200, seed=0, sentences=8, longest=6):
    """Texts of 1 to so many sentences of 1 to so many tokens, all of them different numbers."""
    drawn, made, first = np.random.default_rng(seed), [], 0
    for _ in range(count):
        lengths = drawn.integers(1, longest + 1, drawn.integers(1, sentences + 1))
        ends = first + np.cumsum(lengths)
        made.append(Text(np.arange(first, ends[-1]), ends - lengths - first))
        first = ends[-1]
    return made


def tokens_of(made):
    return sorted(int(id_) for pair in made for part in pair[1:3] for id_ in part)


def lengths(pair):
    return len(pair.first), len(pair.second)


def test_sentences_end_with_a_mark_or_a_line_and_begin_with_the_blanks_between():
    said = " It rained.  So what? Dr. No!\n\nend \n . \n"
    at = [*sentence_starts(said), len(said)]
    parts = [said[i:j] for i, j in itertools.pairwise(at)]
    assert parts == [" It rained.", "  So what?", " Dr.", " No!", "\n\nend", " \n . \n"]
    assert sentence_starts("") == sentence_starts(" \n ") == [0]


def test_half_of_the_second_parts_are_of_another_text_and_the_others_follow():
    given = texts()
    of = {int(id_): number for number, text in enumerate(given) for id_ in text.ids}
    starts = {int(text.ids[i]) for text in given for i in text.starts}
    made = [*pairs(given, ROOM, 7)]
    assert 0.45 < np.mean([pair.random for pair in made]) < 0.55
    assert {pair.random for pair in made if len(given[pair.text].starts) == 1} == {True, False}
    whole = 0
    for pair in made:
        one, two = lengths(pair)
        assert min(one, two) >= 1
        assert one + two <= ROOM
        assert {of[int(id_)] for id_ in pair.first} == {pair.text}
        assert len({of[int(id_)] for id_ in pair.second}) == 1
        assert (of[int(pair.second[0])] == pair.text) != pair.random
        assert (pair.second[0] == pair.first[-1] + 1) != pair.random
        whole += int(pair.second[0]) in starts
    assert whole > 0.8 * len(made)
    assert [pair.text for pair in made] == sorted(pair.text for pair in made)


@pytest.mark.parametrize(
    ("room", "longest"), [(LEAST_ROOM, 1), (LEAST_ROOM, 6), (4, 3), (5, 30), (ROOM, 40), (500, 6)]
)
def test_each_token_stands_in_one_pair(room, longest):
    given = texts(longest=longest)
    made = [*pairs(given, room, 7)]
    expected = [int(id_) for text in given for id_ in text.ids if len(text.ids) > 1]
    assert tokens_of(made) == expected
    assert max(sum(lengths(pair)) for pair in made) <= room
    assert {pair.text for pair in made} == {i for i, t in enumerate(given) if len(t.ids) > 1}


@pytest.mark.parametrize("sentences", [1, 3, 40])
def test_lengths_do_not_tell_the_label(sentences):
    made = []
    for seed in range(4):
        made += pairs(texts(400, seed, sentences=sentences, longest=20), 50, seed)
    order = np.random.default_rng(0).permutation(len(made))
    learned, held = ([made[i] for i in part] for part in np.array_split(order, 2))
    for of_lengths in (lengths, lambda pair: sum(lengths(pair)), lambda pair: len(pair.first)):
        table = defaultdict(Counter)
        for pair in learned:
            table[of_lengths(pair)][pair.random] += 1
        said = [table[of_lengths(p)][True] > table[of_lengths(p)][False] for p in held]
        right = np.mean([one == pair.random for one, pair in zip(said, held, strict=True)])
        assert right < 0.5 + 1.5 / np.sqrt(len(held))


@pytest.mark.parametrize("small", [0, 5])
def test_in_one_long_text_other_places_are_far_from_the_next_one(small):
    (long,) = texts(1, sentences=1, longest=1)
    long = Text(np.arange(6000), np.arange(0, 6000, 4))
    others = [
        Text(np.arange(10**6 + 9 * i, 10**6 + 9 * i + 9), np.array([0, 5])) for i in range(small)
    ]
    made = [*pairs([long, *others], 21, 0)]
    assert 0.45 < np.mean([pair.random for pair in made]) < 0.55
    ends = {int(pair.first[0]): int(pair.first[-1]) for pair in made}
    apart = [int(p.second[0]) - ends[int(p.first[0])] for p in made if p.random]
    assert min(abs(each) for each in apart) > 21
    assert tokens_of(made)[:6000] == [*range(6000)]


def test_the_same_seed_gives_the_same_pairs_for_ever():
    one, two, other = ([*map(str, pairs(texts(), ROOM, seed))] for seed in (1, 1, 2))
    assert one == two
    assert one != other
    # Pairs are kept in caches: numbers that NumPy may not change.
    given = [Text(np.arange(10 * i, 10 * i + 9), np.array([0, 2, 5])) for i in range(6)]
    made = [(int(p.first[0]), int(p.second[0])) for p in pairs(given, 9, 3)]
    assert made == [(0, 5), (10, 45), (20, 25), (30, 32), (40, 15), (50, 55)]


def test_a_text_without_two_tokens_makes_no_pair_and_one_without_company_follows():
    none = Text(np.zeros(0, np.int64), np.zeros(1, np.int64))
    one = Text(np.array([1]), np.array([0]))
    assert [*pairs([none, one, none], ROOM, 0)] == []
    (pair,) = pairs([one, Text(np.array([1, 2, 3]), np.array([0, 2]))], ROOM, 0)
    assert (pair.text, pair.first.tolist(), pair.second.tolist(), pair.random) == (
        1,
        [1, 2],
        [3],
        False,
    )


def test_the_time_is_a_line_in_the_number_of_sentences():
    def seconds(count):
        given = [Text(np.arange(5 * count), np.arange(0, 5 * count, 5))] * 2
        start = time.process_time()
        assert sum(1 for _ in pairs(given, 20, 0)) > count / 4
        return time.process_time() - start

    seconds(100)
    assert seconds(40_000) < 40 * max(seconds(4_000), 0.01)


def task(**settings):
    return MaskedWords(next_sentence=True, **settings).bound({}, words.TOKENIZER)


def rows_of(texts):
    return [Row({"text": text}, i, "file t") for i, text in enumerate(texts)]


def test_rows_and_losses():
    rows = rows_of(". ".join(words.texts(4, i)) for i in range(20))
    made = task()
    pieces = made.pieces(rows, words.encoder(16))
    assert {piece.values["random"] for piece in pieces} == {0, 1}
    inner = []
    for piece in pieces:
        ids, second = piece.tokens.ids, piece.tokens.second_start
        assert (ids[0], ids[second - 1], ids[-1]) == (words.BEGIN, words.END, words.END)
        assert not piece.tokens.cut
        inner += [*ids[1 : second - 1], *ids[second:-1]]
    assert sorted(inner) == sorted(id_ for row in rows for id_ in words.ids_of(row["text"]))
    total = sum(piece.values["words"] for piece in pieces)
    assert total == sum(len(row["text"].split()) + 1 for row in rows)

    ids = tf.constant([[2, 7, 8, 3, 9, 3], [2, 9, 3, 5, 3, 0]])
    batch = {IDS: ids, MASK: tf.cast(ids > 0, tf.int32), TYPES: tf.zeros_like(ids)}
    batch |= {WEIGHT: tf.constant([1.0, 0.0]), "random": tf.constant([1, 0])}
    with random_scope(0, tf.constant(0), tf.constant(0)):
        batch = made.prepare(batch, training=True)
    outputs = {
        "words": 50.0 * tf.one_hot(batch["targets"], 40),
        "next": tf.constant([[0.0, 50.0], [0.0, 50.0]]),
    }
    losses, weights = made.losses(batch, outputs), made.weights(batch)
    assert losses.keys() == weights.keys() == {"words", "next"}
    assert float(tf.reduce_max(losses["words"])) < 1e-6
    np.testing.assert_allclose(losses["next"], [0, 50], atol=1e-6)
    np.testing.assert_array_equal(weights["next"], [1, 0])
    np.testing.assert_array_equal(made.measures(batch, outputs)["right_next"], [1, 0])


def test_tokens_of_byte_level_bpe_are_those_of_the_text():
    given = ["The cat sat.  It\tran!\n\nAway\n it went. So.\n", "One. Two. Three", " a\n", "b"]
    tokenizer = train_tokenizer(Tokenizer(kind="bpe", vocab_size=290), given * 3)
    encoder = TextEncoder(tokenizer, 12, "head")
    bound = MaskedWords(next_sentence=True).bound({}, tokenizer)
    inner = [
        id_
        for piece in bound.pieces(rows_of(given), encoder)
        for id_ in piece.tokens.ids
        if id_ not in tokenizer.all_special_ids
    ]
    expected = [id_ for ids in encoder.contents(given) for id_ in ids if len(ids) > 1]
    assert sorted(inner) == sorted(expected)


def gold(*labels):
    count = len(labels)
    return {
        "random": np.array(labels, np.int32),
        **{name: np.ones(count, np.int32) for name in ("words", "bytes", "lengths")},
    }


def test_labels_of_one_kind_are_refused_or_said():
    made = task()
    lines, notes = made.about({"train": gold(0, 1, 0), "test": gold(0, 0)}, cut=[])
    assert "train: 3 pairs, of which 1 do not follow one another" in lines
    (note,) = notes
    assert note.startswith("test: all pairs follow one another, as there are too few texts")
    for labels, said in (((0, 0), "all pairs follow"), ((1, 1), "none of the pairs follows")):
        with pytest.raises(UserError, match=f"^train: {said}.*next_sentence=False$"):
            made.about({"train": gold(*labels)}, cut=[])
        assert made.about({"train": gold(*labels)}, cut=[], fresh=False)[1]


def test_texts_that_are_too_short_are_counted(tmp_path):
    given = rows_of(["a b. c", "a", " ", "b c", "c"])
    source = SimpleNamespace(
        fingerprint=lambda _: "", rows=lambda _: iter(given), remarks=lambda _: ""
    )
    split = load_or_build(
        source,
        "train",
        task(),
        tokenizer=words.TOKENIZER,
        data=Data(max_length=12),
        cache_dir=tmp_path,
        progress=quiet,
    )
    assert (split.empty_count, split.rowless_count, len(split)) == (1, 2, 2)


def test_a_row_without_room_for_a_pair_is_refused():
    rows = rows_of(["a b c. d e f"])
    assert task().pieces(rows, words.encoder(3 + LEAST_ROOM))
    with pytest.raises(UserError, match=r"max_length=5 has no room for pairs: make it 6 or more"):
        task().pieces(rows, words.encoder(5))


def test_pairs_are_not_made_of_a_stream():
    with pytest.raises(UserError, match=r"config\.task\.blocks=False"):
        MaskedWords(next_sentence=True, blocks=True).validate()
