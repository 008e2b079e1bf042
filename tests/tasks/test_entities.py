"""Schemes, spans and scores of entities, against the rules of the shared task of CoNLL."""

import random

import conlleval
import pytest

from trainer.tasks.entities import Entity, WrongTag, entities, scheme_of, scores, tagged

WORDS = ["B-PER", "I-PER", "O", "B-PER", "B-LOC", "I-LOC", "I-LOC", "O"]
SPANS = [Entity(0, 2, "PER"), Entity(3, 4, "PER"), Entity(4, 7, "LOC")]
IN = {
    "BIO": WORDS,
    "IOB1": ["I-PER", "I-PER", "O", "I-PER", "I-LOC", "I-LOC", "I-LOC", "O"],
    "BIOES": ["B-PER", "E-PER", "O", "S-PER", "B-LOC", "I-LOC", "E-LOC", "O"],
}


@pytest.mark.parametrize("scheme", IN)
def test_each_scheme_says_the_same(scheme):
    assert entities(IN[scheme], scheme) == SPANS
    assert scheme_of([IN[scheme]]) == scheme
    assert tagged(SPANS, 8) == WORDS


def test_two_of_a_type_side_by_side():
    assert entities(["I-PER", "B-PER", "I-PER"], "IOB1") == [(0, 1, "PER"), (1, 3, "PER")]
    assert scheme_of([["I-PER", "B-PER", "I-PER"]]) == "IOB1"
    assert entities(["B-PER", "B-PER", "I-PER"], "BIO") == [(0, 1, "PER"), (1, 3, "PER")]
    assert scheme_of([["B-PER", "B-PER", "I-PER"]]) == "BIO"


def test_where_nothing_tells():
    assert scheme_of([]) == scheme_of([["O", "O"]]) == scheme_of([["B-A", "I-A"]]) == "BIO"
    assert entities([]) == entities(["O"]) == []


def test_types_may_hold_dashes_and_anything():
    assert entities(["B-creative-work", "I-creative-work"]) == [(0, 2, "creative-work")]


@pytest.mark.parametrize("tag", ["", "o", "PER", "B_PER", "B-", "B- ", "X-PER", "I", "b-PER", " O"])
def test_a_tag_of_no_scheme(tag):
    with pytest.raises(WrongTag, match="neither 'O' nor"):
        scheme_of([[tag]])


@pytest.mark.parametrize(
    ("tags", "scheme", "said"),
    [
        ("O I-PER", "BIO", "'I-PER' stands where"),
        ("B-LOC I-PER", "BIO", "'I-PER' stands where"),
        ("O E-PER", "BIOES", "'E-PER' stands where"),
        ("B-PER E-PER", "BIO", "'E-PER' belongs to BIOES, and these are in BIO"),
        ("S-PER S-PER", "BIO", "'S-PER' belongs to BIOES, and these are in BIO"),
        ("I-PER E-PER", "IOB1", "'E-PER' belongs to BIOES, and these are in IOB1"),
        ("S-PER", "IOB1", "'S-PER' belongs to BIOES, and these are in IOB1"),
        ("B-PER O", "BIOES", "'O' follows an entity of 'PER' without"),
        ("B-PER B-PER", "BIOES", "'B-PER' follows an entity"),
        ("B-PER", "BIOES", "'O' follows an entity"),
    ],
)
def test_a_tag_out_of_place(tags, scheme, said):
    with pytest.raises(WrongTag, match=said):
        entities(tags.split(), scheme)


def test_tags_of_two_schemes():
    with pytest.raises(
        WrongTag, match=r"'I-PER' in sentence 1 begins an entity.*'B-LOC' in sentence 2"
    ):
        scheme_of([["O", "I-PER"], ["B-LOC"]])


@pytest.mark.parametrize(
    "sentences",
    [
        [["B-LOC"], ["O", "E-PER"]],
        [["O", "E-PER"], ["B-LOC", "O"]],
        [["B-LOC", "I-LOC", "B-PER", "E-PER"]],
        [["B-LOC", "E-PER"]],
    ],
)
def test_one_tag_of_bioes_among_others_is_named(sentences):
    with pytest.raises(
        WrongTag, match=r"'E-PER' in sentence \d belongs to BIOES, and '[BI]-LOC' in"
    ):
        scheme_of(sentences)


def _random_sentence(random_: random.Random, words: int) -> list[Entity]:
    found, at = [], 0
    while at < words:
        length = random_.randint(1, 3)
        if random_.random() < 0.5 and at + length <= words:
            found.append(Entity(at, at + length, random_.choice("AB")))
        at += length
    return found


def test_scores_are_those_of_the_shared_task():
    random_ = random.Random(0)
    for _ in range(50):
        lengths = [random_.randint(1, 9) for _ in range(5)]
        gold, predicted = (
            [_random_sentence(random_, length) for length in lengths] for _ in range(2)
        )
        tags = [
            [tagged(each, length) for each, length in zip(side, lengths, strict=True)]
            for side in (gold, predicted)
        ]
        total, by_type = scores(gold, predicted)
        expected, _ = conlleval.evaluate(*tags)
        ours = {"": total, **by_type}
        assert ours.keys() == expected.keys()
        for kind, each in ours.items():
            assert each[:3] == pytest.approx(expected[kind], abs=1e-12)


def test_scores_by_type():
    gold = [[Entity(0, 1, "A"), Entity(2, 4, "B")], []]
    predicted = [[Entity(0, 1, "A"), Entity(2, 3, "B")], [Entity(0, 1, "C")]]
    total, by_type = scores(gold, predicted)
    assert total == pytest.approx((1 / 3, 1 / 2, 0.4, 2))
    assert by_type["A"] == (1, 1, 1, 1)
    assert by_type["B"] == (0, 0, 0, 1)
    assert by_type["C"] == (0, 0, 0, 0)
    assert scores([], [])[0] == (0, 0, 0, 0)
