"""Entities in tagged words: schemes of tags, spans, and exact scores.

An entity is a run of words with a type. Three schemes write it as a tag a word, "O" outside:

- BIO (IOB2): B- at the first word of an entity, I- at the others.
- IOB1: I- at all words; B- only at the first word of one that follows another of the same type
  (Ramshaw & Marcus, 1995; CoNLL-2003 is published so).
- BIOES: S- for an entity of one word; else B-, I- ... and E- at the last.
"""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

OUTSIDE = "O"
_TAG = re.compile(r"([BIES])-(.+)", re.DOTALL)


class Entity(NamedTuple):
    """The words [first, end) of a sentence, and their type."""

    first: int
    end: int
    type: str


class Score(NamedTuple):
    """Precision, recall and F1 of entities, each in [0, 1]; 0 where nothing is to be divided by.

    Attributes:
      support: how many entities there are.
    """

    precision: float
    recall: float
    f1: float
    support: int


class WrongTag(ValueError):
    """A tag that its scheme does not know at its place; the message quotes it."""


def scheme_of(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme that tags are written in: "BIO", "IOB1" or "BIOES"; "BIO" where nothing tells.

    Raises:
      WrongTag: a tag that no scheme has, or two that belong to different schemes.
    """
    seen: dict[str, str] = {}  # an example of a tag that only this scheme has, and where it stands
    unended = ""  # one that ends an entity and would be E- or S- in BIOES
    for number, tags in enumerate(sentences, start=1):
        before: tuple[str, str] = ("", "")
        for tag in [*tags, OUTSIDE]:
            prefix, kind = split(tag)
            if before[0] in ("B", "I") and not (prefix in ("I", "E") and kind == before[1]):
                unended = unended or _at("-".join(before), number)
            continues = before[1] == kind and before[0] in ("B", "I")
            if prefix in ("E", "S"):
                seen.setdefault("BIOES", _at(tag, number))
            elif prefix == "I" and not continues:
                seen.setdefault("IOB1", _at(tag, number))
            elif prefix == "B" and before[1] != kind:
                seen.setdefault("BIO", _at(tag, number))
            before = prefix, kind
    if "IOB1" in seen and len(seen) > 1:
        other = next(name for name in seen if name != "IOB1")
        raise WrongTag(
            f"{seen['IOB1']} begins an entity, as in IOB1, and {seen[other]} belongs to {other}"
        )
    if "BIOES" in seen and unended:
        raise WrongTag(f"{seen['BIOES']} belongs to BIOES, and {unended} ends an entity, as in BIO")
    return next((name for name in ("BIOES", "IOB1") if name in seen), "BIO")


def _at(tag: str, sentence: int) -> str:
    return f"{tag[:40]!r} in sentence {sentence:,}"


def split(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag; ("", "") for "O".

    Raises:
      WrongTag: it is written in no scheme.
    """
    if tag == OUTSIDE:
        return "", ""
    found = _TAG.fullmatch(tag)
    if not found or not found[2].strip():
        raise WrongTag(f"the tag {tag[:40]!r} is neither 'O' nor such as 'B-PER' or 'I-PER'")
    return found[1], found[2]


def entities(tags: Sequence[str], scheme: str = "BIO") -> list[Entity]:
    """The entities of a sentence.

    Raises:
      WrongTag: a tag that does not follow from the one before it in this scheme.
    """
    made: list[Entity] = []
    first: int | None = None  # of the entity that is open
    kind = ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        prefix, this = split(tag)
        if prefix in ("E", "S") and scheme != "BIOES":
            raise WrongTag(f"the tag {tag[:40]!r} belongs to BIOES, and these are in {scheme}")
        goes_on = first is not None and prefix in ("I", "E") and this == kind
        if first is not None and not goes_on:
            if scheme == "BIOES":
                raise WrongTag(f"{tag[:40]!r} follows an entity of {kind[:40]!r} without its E-")
            made.append(Entity(first, i, kind))
            first = None
        if prefix and not goes_on:
            if prefix == "E" or (prefix == "I" and scheme != "IOB1"):
                raise WrongTag(f"{tag[:40]!r} stands where no entity of that type has begun")
            first, kind = i, this
        if prefix in ("E", "S") and first is not None:
            made.append(Entity(first, i + 1, kind))
            first = None
    return made


def tagged(found: Iterable[Entity], words: int) -> list[str]:
    """Tags in BIO of a sentence of so many words; the inverse of `entities`."""
    tags = [OUTSIDE] * words
    for first, end, kind in found:
        tags[first:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - first - 1)
    return tags


def scores(
    gold: Sequence[Iterable[Entity]],
    predicted: Sequence[Iterable[Entity]],
    types: Iterable[str] = (),
) -> tuple[Score, Mapping[str, Score]]:
    """The score of all entities, and of each type that occurs or is in `types`, over sentences.

    An entity counts as found if words and type are exactly right, as in the shared task of CoNLL
    (Tjong Kim Sang & De Meulder, 2003).
    """
    right: collections.Counter[str] = collections.Counter()
    there: collections.Counter[str] = collections.Counter()
    found: collections.Counter[str] = collections.Counter()
    for real, guessed in zip(gold, predicted, strict=True):
        real, guessed = set(real), set(guessed)
        there.update(each.type for each in real)
        found.update(each.type for each in guessed)
        right.update(each.type for each in real & guessed)
    kinds = sorted({*there, *found, *types})
    return (
        _score(right.total(), there.total(), found.total()),
        {kind: _score(right[kind], there[kind], found[kind]) for kind in kinds},
    )


def _score(right: int, there: int, found: int) -> Score:
    precision, recall = right / max(found, 1), right / max(there, 1)
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return Score(precision, recall, f1, there)
