"""BLEU, chrF, exact matches and ROUGE, against sacrebleu and numbers worked out by hand."""

import math
import random
import subprocess
import sys

import pytest
import sacrebleu
from programs import ROOT, environment

from trainer.tasks.text_metrics import (
    NAMES,
    Slice,
    bleu,
    bleu_signature,
    by_length,
    chrf_signature,
    score,
    score_answers,
    score_spans,
)


def rouge(hypothesis: str, *references: str) -> tuple[float, ...]:
    """ROUGE-1, -2 and -L of one text."""
    found = score([hypothesis], [references])
    return tuple(found[name] for name in ("rouge1", "rouge2", "rougeL"))


@pytest.mark.parametrize(
    ("hypothesis", "reference", "wanted"),
    [
        # google-research, rouge/rouge_scorer_test.py.
        ("testing", "testing one two", (1 / 2, 0, 1 / 2)),
        ("testing one", "testing one two", (4 / 5, 2 / 3, 4 / 5)),
        ("testing two", "testing one two", (4 / 5, 0, 4 / 5)),
        ("", "testing one two", (0, 0, 0)),
        ("/", "w1 w2 w3 w4 w5", (0, 0, 0)),
        ("w1", "", (0, 0, 0)),
        # Lin (2004), section 3.1: S2, S3 and S4 against S1.
        ("police kill the gunman", "police killed the gunman", (3 / 4, 1 / 3, 3 / 4)),
        ("the gunman kill police", "police killed the gunman", (3 / 4, 1 / 3, 2 / 4)),
        ("the gunman police killed", "police killed the gunman", (1, 2 / 3, 2 / 4)),
        # By hand. 2 x 2 of 3 + 2 words, a word counted as often as both have it.
        ("a a a", "a a", (4 / 5, 2 / 3, 4 / 5)),
        ("It's NEW-ish: 3.5", "it s new ish 3 5", (1, 1, 1)),
        ("für", "fur", (0, 0, 0)),  # f and r
    ],
)
def test_rouge(hypothesis, reference, wanted):
    assert rouge(hypothesis, reference) == pytest.approx(wanted, abs=1e-12)


def test_rouge_is_of_the_best_reference_of_each_text_and_its_mean():
    # Of one reference the words, of another their order.
    assert rouge("a b c", "c b a", "a x c") == pytest.approx((1, 0, 2 / 3))
    found = score(["a b", "x"], [["a b"], ["y", "z"]])
    assert (found["rouge1"], found["rouge2"], found["rougeL"]) == (1 / 2, 1 / 2, 1 / 2)


def test_the_longest_common_subsequence_is_that_of_the_textbook():
    def table(one: list[str], other: list[str]) -> int:
        row = [0] * (len(other) + 1)
        for x in one:
            new = [0]
            for j, y in enumerate(other):
                new.append(row[j] + 1 if x == y else max(row[j + 1], new[j]))
            row = new
        return row[-1]

    draw = random.Random(0)
    for _ in range(200):
        one, other = (draw.choices("abcde", k=draw.randrange(1, 90)) for _ in range(2))
        wanted = 2 * table(one, other) / (len(one) + len(other))
        assert rouge(" ".join(one), " ".join(other))[2] == pytest.approx(wanted)


def test_exact_matches_are_equal_to_one_reference_but_for_outer_blanks():
    texts = ["positive", " positive\n", "Positive", "pos itive", "b"]
    references = [["positive"]] * 4 + [["a", "b"]]
    assert score(texts, references)["exact_match"] == 3 / 5


def test_bleu_by_hand():
    # 6 of 7 words, 5 of 6 pairs, 4 of 5 triples, 3 of 4 fours; no shorter than the reference.
    found = bleu(["The cat sat on the mat today"], [["The cat sat on the mat"]])
    assert found == pytest.approx(100 * (6 / 7 * 5 / 6 * 4 / 5 * 3 / 4) ** 0.25)
    # Two of two words and one of one pair are smoothed: nothing is counted of more, so BLEU is 0.
    assert bleu(["The cat"], [["The cat sat"]]) == 0
    # 4 words of 5, all found: the brevity penalty alone.
    found = bleu(["A cat sat here"], [["A cat sat here too"]])
    assert found == pytest.approx(100 * math.exp(1 - 5 / 4))
    # A case, and a full stop that sacrebleu cuts off itself: 3 of 5, 1 of 4, then 1/2 and 1/4.
    found = bleu(["the cat sat here."], [["The cat was here."]])
    assert found == pytest.approx(100 * (3 / 5 * 1 / 4 * 1 / 2 / 3 * 1 / 4 / 2) ** 0.25)


def test_bleu_and_chrf_of_several_references_are_those_of_sacrebleu():
    texts = ["a dog runs on the grass", "two men are cooking", ""]
    references = [
        ["a dog is running on grass", "the dog runs on the grass"],
        ["two men cook a meal", "two men are cooking food"],
        ["nobody", "no one"],
    ]
    streams = [[of_one[i] for of_one in references] for i in range(2)]
    found = score(texts, references)
    assert [*found] == [*NAMES]
    assert found["bleu"] == bleu(texts, references) == sacrebleu.corpus_bleu(texts, streams).score
    assert found["chrf"] == sacrebleu.corpus_chrf(texts, streams).score
    assert 0 < found["bleu"] < found["chrf"] < 100


def test_unequal_numbers_of_references():
    """One that is not there is not one of no words, which would be nearest to a short text."""
    texts, references = ["a b c d", "e"], [["a b c d"], ["e f g h", "e f g h i"]]
    doubled = [["a b c d"] * 2, references[1]]  # the same reference again changes nothing
    empty = [["a b c d", ""], references[1]]
    short = [["a b c d"], ["e f g h", ""]]
    assert score(texts, references) == score(texts, doubled)
    assert bleu(texts, empty) == bleu(texts, references) < bleu(texts, short)
    assert score(texts[::-1], references[::-1]) == score(texts, references)


def test_nothing_written_or_nothing_to_compare_with_scores_0():
    nothing = dict.fromkeys(NAMES, 0.0)
    assert score([""], [["a b c d"]]) == nothing
    assert score([""], [[""]]) == score([""], [[]]) == score([" \n"], [[" "]]) == nothing
    assert score(["a b c d"], [[]]) == score(["a b c d"], [[""]]) == nothing
    # Beside others: their words are found, and the text of none is missing from the length.
    found = score(["a b c d", ""], [["a b c d"], ["e f g h"]])
    assert found["bleu"] == pytest.approx(100 * math.exp(1 - 8 / 4))
    assert found["exact_match"] == found["rouge1"] == found["rougeL"] == 1 / 2


def test_signatures_name_the_references_and_the_version():
    of_bleu = "|case:mixed|eff:no|tok:13a|smooth:exp|version:"
    one, two = [["a"], []], [["a", "b"], ["c", "d"]]
    assert bleu_signature(one) == f"nrefs:1{of_bleu}{sacrebleu.__version__}"
    assert bleu_signature(two).startswith(f"nrefs:2{of_bleu}")
    assert bleu_signature([*one, *two]).startswith(f"nrefs:var{of_bleu}")
    assert chrf_signature(one).startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    scorer = sacrebleu.BLEU()
    scorer.corpus_score(["a", "b"], [["a", "b"], ["a", None]])
    assert bleu_signature([["a", "a"], ["b"]]) == str(scorer.get_signature())


def test_by_length_of_the_source():
    texts = ["a b c d", "a b c d x", "z z z z", "a b c d"]
    references = [["a b c d"], ["a b c d", "q"], ["a b c d"], ["a b c d"]]
    slices = by_length([3, 10, 11, 99], texts, references, [2, 10, 20, 30])
    assert slices[:2] == [Slice(3, 10, 2, bleu(texts[:2], references[:2])), Slice(11, 20, 1, 0.0)]
    assert slices[2:] == [Slice(31, None, 1, pytest.approx(100))]
    assert [each[:3] for each in by_length([0], texts[:1], references[:1], [])] == [(0, None, 1)]
    assert [each[:3] for each in by_length([5], texts[:1], references[:1], [5])] == [(0, 5, 1)]


@pytest.mark.parametrize("judge", [score, bleu, lambda *of: by_length([1], *of, [5])])
@pytest.mark.parametrize(("texts", "references"), [([], []), (["a"], []), ([], [["a"]])])
def test_as_many_references_as_texts_and_some(judge, texts, references):
    with pytest.raises(ValueError, match="texts and"):
        judge(texts, references)


def test_sacrebleu_is_imported_where_it_is_used():
    code = "import sys, trainer.tasks.text_metrics; print('sacrebleu' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


@pytest.mark.parametrize(
    ("text", "references", "exact", "f1"),
    [
        ("The Eiffel Tower.", ["eiffel tower"], 1, 1),
        ("Paris", ["in Paris", "France"], 0, 2 / 3),
        ("a red, red car", ["red car"], 0, 0.8),
        ("", ["x"], 0, 0),
        ("the", ["an"], 1, 1),  # nothing is left of either
    ],
)
def test_answers_as_squad_scores_them(text, references, exact, f1):
    """By hand, after the rules of evaluate-v2.0.py."""
    found = score_answers([text], [references])
    assert found == {"squad_exact": exact, "squad_f1": pytest.approx(f1)}


def test_spans_of_a_set():
    """Two of the four that were written, of three that were wanted."""
    written = ["person: Ada; place: Paris", "person: Bob; person: Bob", "none"]
    wanted = [["place:  Paris;person: Ada ;"], ["none"], ["place: Rome"]]
    assert score_spans(written, wanted) == {"spans_f1": pytest.approx(4 / 7)}
    assert score_spans(["none"], [["none"]]) == {"spans_f1": 0}
