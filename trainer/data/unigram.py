"""Training of a unigram language model of word pieces, as SentencePiece does it.

Kudo, 2018, arXiv:1804.10959. Frequent substrings are the first pieces; expectation-maximisation
estimates their probabilities; the pieces whose loss costs least are dropped, until as many as were
asked for are left. The `tokenizers` library has a trainer too, but its sums follow the order of a
hash map that changes from run to run, and so do its pieces: here the order is fixed.
"""

import collections
import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.errors import UserError

MAX_PIECE = 16  # characters
MAX_WORD = 48  # characters; the rest of a longer word is left out
SEEDS = 12  # first pieces for each piece asked for
KEEP = 0.75  # share of the pieces that stays after a round
ROUNDS_OF_EM = 2
SPARE = 1.1  # pieces kept until the last choice, which is by probability
SCALE = 3.0  # e^SCALE a character keeps the probability of a long word from underflow


def train(words: dict[str, int], vocab_size: int, alphabet: list[str]) -> list[tuple[str, float]]:
    """The `vocab_size` pieces (fewer if the words are few) and their log probabilities.

    Args:
      words: how often each word occurs.
      alphabet: characters that stay pieces whatever happens; a word is cut at any other character.

    Returns:
      (piece, log probability), the most probable first.

    Raises:
      UserError: the alphabet is empty.
    """
    if not alphabet:
        raise UserError(
            "no tokenizer can be trained: the texts of train are all empty: check the columns that"
            " config.task names"
        )
    known = re.compile("[" + re.escape("".join(alphabet)) + "]+")
    parts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for part in known.findall(word):
            parts[part[:MAX_WORD]] += count
    counts = np.array(list(parts.values()), np.float64)
    pieces, scores = _seeds(list(parts), counts, alphabet, SEEDS * vocab_size)
    corpus, own = _Lattice(list(parts), pieces), _Lattice(pieces, pieces)
    fixed = np.array([len(piece) == 1 for piece in pieces])
    while True:
        for _ in range(ROUNDS_OF_EM):
            expected = corpus.expected_counts(scores, counts)
            kept = np.nonzero(fixed | (expected >= 0.5))[0]
            pieces, fixed, expected = [pieces[i] for i in kept], fixed[kept], expected[kept]
            corpus.keep(kept)
            own.keep(kept, words_too=True)
            scores = _log_probabilities(expected)
        if len(pieces) <= SPARE * vocab_size:
            break
        target = max(int(SPARE * vocab_size), int(KEEP * len(pieces)))
        kept = _dearest(own.best_other_cuts(scores), expected, fixed, target)
        pieces, fixed, scores = [pieces[i] for i in kept], fixed[kept], scores[kept]
        corpus.keep(kept)
        own.keep(kept, words_too=True)
    order = np.lexsort((np.arange(len(pieces)), -scores, ~fixed))[:vocab_size]
    chosen = sorted((-round(float(scores[i]), 6), pieces[i]) for i in order)
    return [(piece, -score) for score, piece in chosen]


def _seeds(
    words: list[str], counts: np.ndarray, alphabet: list[str], limit: int
) -> tuple[list[str], np.ndarray]:
    """The alphabet, and the substrings that cover most characters; their first scores."""
    chars, ends = _as_array(words)
    at, starts = np.nonzero(np.arange(chars.shape[1]) < ends[:, None])
    same = np.zeros(len(at), np.int64)  # a number for the substring at each place
    found: list[tuple[float, str]] = []
    for length in range(1, MAX_PIECE + 1):
        inside = starts + length <= ends[at]
        at, starts, same = at[inside], starts[inside], same[inside]
        longer = _key(same, chars[at, starts + length - 1])
        _, first, same = np.unique(longer, return_index=True, return_inverse=True)
        often = np.bincount(same, counts[at], len(first))
        for i in np.nonzero((often >= 2) | (length == 1))[0]:
            start = starts[first[i]]
            found.append((-often[i] * length, words[at[first[i]]][start : start + length]))
        left = often[same] >= 2  # what occurs once has nothing longer that occurs twice
        at, starts, same = at[left], starts[left], same[left]
    singles = set(alphabet)
    chosen = sorted(each for each in found if each[1] in singles)
    chosen += sorted(each for each in found if len(each[1]) > 1)[: max(0, limit - len(chosen))]
    weights = np.array([-score for score, _ in chosen])
    return [piece for _, piece in chosen], np.log(weights) - np.log(weights.sum())


def _dearest(
    others: list[np.ndarray], expected: np.ndarray, fixed: np.ndarray, target: int
) -> np.ndarray:
    """The `target` pieces, ascending, whose loss would cost the likelihood most."""
    total = expected.sum()
    uses = np.maximum(expected, 1e-12)
    more = np.zeros(len(expected))  # how many pieces more if this one is cut into others
    cut = np.zeros(len(expected))  # log counts of those others, once this one's are theirs
    for column in others:
        there = column >= 0
        more += there
        cut[there] += np.log(uses[column[there]] + uses[there])
    old = np.log(uses) - np.log(total)
    new = cut - more * np.log(total + uses * (more - 1))
    loss = np.where(fixed | (more == 0), np.inf, uses * (old - new))
    order = np.lexsort((np.arange(len(loss)), -loss))
    return np.sort(order[: max(target, int(fixed.sum()))])


def _log_probabilities(expected: np.ndarray) -> np.ndarray:
    """The mean of log probability under a Dirichlet prior: rare pieces weigh less than counted."""
    return _digamma(np.maximum(expected, 1e-3)) - _digamma(expected.sum()[None])


def _digamma(x: np.ndarray) -> np.ndarray:
    """Bernardo, 1976 (AS 103): recurrence up to 7, then the asymptotic series."""
    result, x = np.zeros_like(x), x.copy()
    while (small := x < 7).any():
        result[small] -= 1 / x[small]
        x[small] += 1
    inverse = 1 / (x * x)
    series = inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse / 240)))
    return result + np.log(x) - 0.5 / x - series


def _as_array(words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points [W, longest word] and how many of them each word has [W]."""
    chars = np.array(words)
    width = max(map(len, words))
    ends = np.array([len(word) for word in words], np.int64)
    return chars.view(np.uint32).reshape(len(words), width).astype(np.int64), ends


class _Trie:
    """Pieces by their characters; node 0 is the beginning of all."""

    def __init__(self, pieces: list[str]):
        nodes: dict[str, int] = {"": 0}
        for piece in pieces:
            for length in range(1, len(piece) + 1):
                nodes.setdefault(piece[:length], len(nodes))
        self.piece_of = np.full(len(nodes), -1, np.int64)
        self.piece_of[[nodes[piece] for piece in pieces]] = np.arange(len(pieces))
        keys = np.array([_key(nodes[t[:-1]], ord(t[-1])) for t in nodes if t], np.int64)
        order = np.argsort(keys)
        self._keys, self._nodes = keys[order], 1 + order

    def step(self, nodes: np.ndarray, chars: np.ndarray) -> np.ndarray:
        """The nodes [E] reached by one more character each, -1 where there is none."""
        wanted = _key(nodes, chars)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[at] == wanted, self._nodes[at], -1)


def _key(node: Any, char: Any) -> Any:
    """One number, or [E] numbers, for a node and the code point that follows."""
    return node * (sys.maxunicode + 1) + char


@dataclass(frozen=True)
class _Edges:
    """Of all words, the pieces of one length that end at one place: E edges."""

    words: np.ndarray  # [E] int64, each word once
    pieces: np.ndarray  # [E] int64
    length: int
    end: int


class _Lattice:
    """All ways to cut each of W words into pieces, for all words at once."""

    def __init__(self, words: list[str], pieces: list[str]):
        chars, ends = _as_array(words)
        self.ends = ends  # [W] characters
        self.width = chars.shape[1]
        self._edges = self._find(chars, pieces)

    def _find(self, chars: np.ndarray, pieces: list[str]) -> list[_Edges]:
        """Follows a trie of the pieces from each place in each word."""
        trie = _Trie(pieces)
        words, starts = np.nonzero(np.arange(self.width) < self.ends[:, None])
        nodes = np.zeros(len(words), np.int64)
        edges = []
        for length in range(1, MAX_PIECE + 1):
            inside = starts + length <= self.ends[words]
            words, starts, nodes = words[inside], starts[inside], nodes[inside]
            nodes = trie.step(nodes, chars[words, starts + length - 1])
            found = nodes >= 0
            words, starts, nodes = words[found], starts[found], nodes[found]
            made = trie.piece_of[nodes]
            for end in range(length, self.width + 1):
                here = (starts + length == end) & (made >= 0)
                if here.any():
                    edges.append(_Edges(words[here], made[here], length, end))
        return sorted(edges, key=lambda edge: (edge.end, edge.length))

    def keep(self, kept: np.ndarray, words_too: bool = False) -> None:
        """Leaves the pieces, ascending, that are kept, and numbers them anew from 0.

        With `words_too`, word w is piece w and goes when its piece goes.
        """
        count = 1 + max(int(kept.max()), *(int(edge.pieces.max()) for edge in self._edges))
        new = np.full(count, -1, np.int64)
        new[kept] = np.arange(len(kept))
        edges = []
        for edge in self._edges:
            words = new[edge.words] if words_too else edge.words
            pieces = new[edge.pieces]
            left = (pieces >= 0) & (words >= 0)
            if left.any():
                edges.append(_Edges(words[left], pieces[left], edge.length, edge.end))
        self._edges = edges
        if words_too:
            self.ends = self.ends[kept]

    def expected_counts(self, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """How often each piece is expected to be used, in words that occur `counts` times."""
        shape = (self.width + 1, len(self.ends))  # the probability of all before, and all after
        before, after = np.zeros(shape), np.zeros(shape)
        before[0] = 1
        after[self.ends, np.arange(len(self.ends))] = 1
        powers = [np.exp(scores + SCALE * length) for length in range(MAX_PIECE + 1)]
        for edge in self._edges:
            weights = powers[edge.length][edge.pieces]
            before[edge.end, edge.words] += before[edge.end - edge.length, edge.words] * weights
        for edge in reversed(self._edges):
            weights = powers[edge.length][edge.pieces]
            after[edge.end - edge.length, edge.words] += after[edge.end, edge.words] * weights
        share = counts / np.maximum(after[0], 1e-300)  # a word without a path counts for nothing
        total = np.zeros(len(scores))
        for edge in self._edges:
            start = edge.end - edge.length
            used = before[start, edge.words] * after[edge.end, edge.words] * share[edge.words]
            used *= powers[edge.length][edge.pieces]
            total += np.bincount(edge.pieces, used, len(scores))
        return total

    def best_other_cuts(self, scores: np.ndarray) -> list[np.ndarray]:
        """Where word w is piece w: the pieces that would take its place, empty if none would."""
        count = len(self.ends)
        best = np.full((self.width + 1, count), -np.inf)
        best[0] = 0
        length_of = np.zeros((self.width + 1, count), np.int64)
        piece_of = np.full((self.width + 1, count), -1, np.int64)
        for edge in self._edges:
            other = edge.pieces != edge.words
            words, pieces = edge.words[other], edge.pieces[other]
            score = best[edge.end - edge.length, words] + scores[pieces]
            better = score > best[edge.end, words]
            words, pieces = words[better], pieces[better]
            best[edge.end, words] = score[better]
            length_of[edge.end, words], piece_of[edge.end, words] = edge.length, pieces
        place, columns = self.ends.copy(), []
        everyone = np.arange(count)
        while place.any():
            columns.append(piece_of[place, everyone])
            place = place - length_of[place, everyone]
            place[columns[-1] < 0] = 0
        return columns
