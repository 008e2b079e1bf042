"""Explained predictions as an HTML page: the words coloured by what they speak for."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jinja2

from trainer.prediction.attribution import Attribution

MOST = 200  # predictions on a page


class Explained(NamedTuple):
    """A prediction and its explanation."""

    id: int | str
    text: str
    name: str
    probability: float
    attribution: Attribution


class Word(NamedTuple):
    """A run of the text: a word, or what lies between.

    Attributes:
      value: what it adds to the prediction; None where it was no part of what the model was given.
      strength: |value| as a share of the largest in the text, in [0, 1].
    """

    text: str
    value: float | None
    strength: float = 0.0


def render(rows: Sequence[Explained], title: str) -> str:
    """The page, self-contained."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.prediction"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [(row, words(row.text, row.attribution)) for row in rows]
    return environment.get_template("explained.html").render(title=title, rows=shown)


def words(text: str, attribution: Attribution) -> list[Word]:
    """The whole text in words, each with the sum of its tokens' values, and the gaps between."""
    found = []
    spans = [
        (span, float(value))
        for span, value in zip(attribution.spans, attribution.values, strict=True)
        if span
    ]
    end = at = 0
    for match in re.finditer(r"\S+", text):
        values = []
        while at < len(spans) and spans[at][0][0] < match.end():
            values.append(spans[at][1])
            at += 1
        found += [Word(text[end : match.start()], None)] if match.start() > end else []
        found.append(Word(match[0], sum(values) if values else None))
        end = match.end()
    found += [Word(text[end:], None)] if end < len(text) else []
    most = max((abs(word.value) for word in found if word.value is not None), default=0.0) or 1.0
    return [
        word if word.value is None else word._replace(strength=abs(word.value) / most)
        for word in found
    ]
