"""The scorer of the CoNLL shared tasks, as its program conlleval.pl takes tags one by one.

Written from the rules of that program alone, so that what it gives can be compared with ours.
"""

from collections import Counter
from collections.abc import Sequence


def _parts(tag: str) -> tuple[str, str]:
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def starts_chunk(before: str, tag: str) -> bool:
    """True if a chunk begins at `tag`."""
    (last, last_kind), (this, kind) = _parts(before), _parts(tag)
    if (last, this) in {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I")}:
        return True
    return this != "O" and last_kind != kind


def ends_chunk(before: str, tag: str) -> bool:
    """True if a chunk ended before `tag`."""
    (last, last_kind), (this, kind) = _parts(before), _parts(tag)
    if (last, this) in {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O")}:
        return True
    return last != "O" and last_kind != kind


def evaluate(
    gold: Sequence[Sequence[str]], guessed: Sequence[Sequence[str]]
) -> tuple[dict[str, tuple[float, float, float]], float]:
    """Precision, recall and F1 of chunks by type and of all (""), and the accuracy of tags."""
    right, there, found = Counter(), Counter(), Counter()
    tokens = equal = 0
    for ours, theirs in zip(gold, guessed, strict=True):
        in_correct, last_ours, last_theirs = False, "O", "O"
        for own, guess in zip([*ours, "O"], [*theirs, "O"], strict=True):  # a boundary at the end
            kind, guessed_kind = _parts(own)[1], _parts(guess)[1]
            if in_correct:
                ended = ends_chunk(last_ours, own), ends_chunk(last_theirs, guess)
                if all(ended) and _parts(last_ours)[1] == _parts(last_theirs)[1]:
                    in_correct = False
                    right[_parts(last_ours)[1]] += 1
                elif ended[0] != ended[1] or kind != guessed_kind:
                    in_correct = False
            began = starts_chunk(last_ours, own), starts_chunk(last_theirs, guess)
            if all(began) and kind == guessed_kind:
                in_correct = True
            there[kind] += began[0]
            found[guessed_kind] += began[1]
            last_ours, last_theirs = own, guess
        tokens += len(ours)
        equal += sum(own == guess for own, guess in zip(ours, theirs, strict=True))
    found_kinds = sorted((there | found).keys())
    scores = {k: _score(right[k], there[k], found[k]) for k in found_kinds if there[k] or found[k]}
    return {**scores, "": _score(*(c.total() for c in (right, there, found)))}, equal / tokens


def _score(right: int, there: int, found: int) -> tuple[float, float, float]:
    precision, recall = right / max(found, 1), right / max(there, 1)
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return precision, recall, f1
