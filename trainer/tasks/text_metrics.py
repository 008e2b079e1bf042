"""Metrics of written texts against references: BLEU, chrF, exact matches, ROUGE, SQuAD's, spans.

A text may have several references, and not each as many; a text without one has the empty one. An
empty hypothesis scores 0.

BLEU (Papineni et al., 2002) and chrF (Popović, 2015) are sacrebleu's (Post, 2018), of a whole set,
from 0 to 100. They take texts as people write them: sacrebleu cuts them into words itself.

ROUGE-1, -2 and -L (Lin, 2004) are F1 scores from 0 to 1: of a text the highest over its references,
of a set the mean over its texts. Words are those of google-research's rouge_score without stemming:
runs of a-z and 0-9 in small letters, so an accented letter parts a word. ROUGE-L takes a text as
one sequence; ROUGE-Lsum, which takes each line by itself, is not given.
"""

import collections
import itertools
import re
import string
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

NAMES = ("bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL")
ANSWERS, SPANS = ("squad_exact", "squad_f1"), ("spans_f1",)
_WORD = re.compile("[a-z0-9]+")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_SPAN = "none"  # the target of a text without spans


class Slice(NamedTuple):
    """The texts of a set whose sources are of certain lengths.

    Attributes:
      least, most: the lengths, both included; most is None where there is no limit.
      texts: how many they are, at least 1.
      bleu: of these texts.
    """

    least: int
    most: int | None
    texts: int
    bleu: float


def score(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Every metric of NAMES.

    An exact match is equal to a reference but for white space at both ends.

    Args:
      hypotheses: the N texts that were written.
      references: of each.

    Raises:
      ValueError: there are no texts, or not as many of both.
    """
    references = _checked(hypotheses, references)
    each = [_of_one(text, of_one) for text, of_one in zip(hypotheses, references, strict=True)]
    values = (
        _corpus_score(_bleu(), hypotheses, references),
        _corpus_score(_chrf(), hypotheses, references),
        *map(float, np.mean(each, axis=0)),
    )
    return dict(zip(NAMES, values, strict=True))


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU alone; args and errors: see `score`."""
    return _corpus_score(_bleu(), hypotheses, _checked(hypotheses, references))


def bleu_signature(references: Sequence[Sequence[str]]) -> str:
    """sacrebleu's signature of how BLEU was computed, to be given with it.

    For example "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0".
    """
    return _signature(_bleu(), references)


def chrf_signature(references: Sequence[Sequence[str]]) -> str:
    """The signature of chrF, see `bleu_signature`."""
    return _signature(_chrf(), references)


def score_answers(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """The metrics of SQuAD (Rajpurkar et al., 2016): equal answers, and F1 of their words.

    Small letters, punctuation and articles make no difference. Of a text the highest over its
    references counts, of a set the mean over its texts; from 0 to 1. Args and errors: see `score`.
    """
    found = []
    for text, wanted in zip(hypotheses, _checked(hypotheses, references), strict=True):
        words = _answer(text)
        pairs = [(words == other, _f1_of(words, other)) for other in map(_answer, wanted)]
        found.append([max(each) for each in zip(*pairs, strict=True)])
    return dict(zip(ANSWERS, map(float, np.mean(found, axis=0)), strict=True))


def score_spans(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1 of spans over a whole set: a text lists its own with ";" between them, in any order.

    So "person: Ada; place: Paris" are two. A text without any is "none". Of several references the
    first counts. Args and errors: see `score`.
    """
    pairs = [
        (_spans(text), _spans(wanted[0]))
        for text, wanted in zip(hypotheses, _checked(hypotheses, references), strict=True)
    ]
    hits = sum(_shared(one, other) for one, other in pairs)
    found, wanted = (sum(map(len, side)) for side in zip(*pairs, strict=True))
    return {SPANS[0]: _f1(hits, found, wanted)}


def _answer(text: str) -> list[str]:
    bare = "".join(char for char in text.lower() if char not in string.punctuation)
    return _ARTICLE.sub(" ", bare).split()


def _f1_of(words: list[str], wanted: list[str]) -> float:
    """F1 of the words of an answer; two without a word agree."""
    if not words or not wanted:
        return float(words == wanted)
    return _f1(_shared(words, wanted), len(words), len(wanted))


def _spans(text: str) -> list[str]:
    items = [" ".join(item.split()) for item in text.split(";")]
    return [item for item in items if item and item != _NO_SPAN]


def by_length(
    lengths: Sequence[int],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    edges: Sequence[int],
) -> list[Slice]:
    """BLEU of the texts with short sources, longer ones and so on; slices without a text are left
    out.

    Args:
      lengths: int [N], of the sources, in any unit.
      hypotheses, references: see `score`.
      edges: the largest length of each slice but the last, ascending.

    Raises:
      ValueError: see `score`.
    """
    references = _checked(hypotheses, references)
    places = np.searchsorted(edges, lengths)  # of the first edge that is no smaller
    slices = []
    for place in np.unique(places).tolist():
        at = np.flatnonzero(places == place).tolist()
        value = bleu([hypotheses[i] for i in at], [references[i] for i in at])
        least = edges[place - 1] + 1 if place else 0
        most = edges[place] if place < len(edges) else None
        slices.append(Slice(least, most, len(at), value))
    return slices


def _checked(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The references, at least one of each text."""
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} texts and {len(references)} lists of references")
    return [of_one or [""] for of_one in references]


# sacrebleu's. It is imported here, as few runs write texts.


def _bleu() -> "Metric":
    """13a's words, case kept, exponential smoothing; these defaults are in the signature."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(force=True)  # without a warning that the texts may be tokenized


def _chrf() -> "Metric":
    """Characters up to order 6, no words."""
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _corpus_score(
    metric: "Metric", hypotheses: Sequence[str], references: list[Sequence[str]]
) -> float:
    """The metric of a set; sacrebleu wants the first reference of all texts, then the second."""
    most = max(map(len, references))
    # None is no reference; an empty one would be one of no words, and change BLEU's lengths.
    streams = [[(*of_one, *[None] * most)[i] for of_one in references] for i in range(most)]
    return float(metric.corpus_score(hypotheses, streams).score)  # type: ignore[arg-type]


def _signature(metric: "Metric", references: Sequence[Sequence[str]]) -> str:
    counts = {len(of_one) or 1 for of_one in references}
    vars(metric)["num_refs"] = counts.pop() if len(counts) == 1 else -1  # "var"
    return metric.get_signature().format()


# The metrics that are means over texts.


def _of_one(text: str, references: Sequence[str]) -> list[float]:
    """exact_match, rouge1, rouge2 and rougeL of one text: the highest over its references."""
    equal = text.strip() in [reference.strip() for reference in references]
    words = _words(text)
    found = [_rouge(words, _words(reference)) for reference in references]
    return [float(equal and bool(text.strip())), *map(max, zip(*found, strict=True))]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _rouge(words: list[str], wanted: list[str]) -> tuple[float, float, float]:
    """F1 of ROUGE-1, -2 and -L."""
    pairs, wanted_pairs = [*itertools.pairwise(words)], [*itertools.pairwise(wanted)]
    return (
        _f1(_shared(words, wanted), len(words), len(wanted)),
        _f1(_shared(pairs, wanted_pairs), len(pairs), len(wanted_pairs)),
        _f1(_common(words, wanted), len(words), len(wanted)),
    )


def _f1(hits: int, found: int, wanted: int) -> float:
    """F1 of a precision hits / found and a recall hits / wanted; 0 where there are no hits."""
    return 2 * hits / (found + wanted) if hits else 0.0


def _shared(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The number of items that both have; repeated ones count as often as in both."""
    return (collections.Counter(one) & collections.Counter(other)).total()


def _common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence, a row of the table in one number's bits.

    Hyyrö, "Bit-parallel LCS-length computation revisited" (2004).
    """
    places: dict[Hashable, int] = collections.defaultdict(int)
    for i, item in enumerate(one):
        places[item] |= 1 << i
    whole = row = (1 << len(one)) - 1
    for item in other:
        matches = row & places.get(item, 0)
        row = (row + matches | row - matches) & whole
    return len(one) - row.bit_count()
