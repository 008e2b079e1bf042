"""Texts to token ids: cut to a length, special tokens around them, for any fast tokenizer."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from tokenizers import Tokenizer

from trainer.data.subwords import Subwords
from trainer.errors import UserError

HEAD = 128  # tokens kept of the beginning by "head+tail" (Sun et al., 2019, arXiv:1905.05583)
PROBES = ("a", "1", "the", ".")
_Made = TypeVar("_Made")


class Encoded(NamedTuple):
    """The tokens of one text or pair."""

    ids: np.ndarray  # [length] int64, special tokens included; at least one
    second_start: int  # first place with token type 1; = length where there is none
    cut: bool  # were tokens left out?


class Words(NamedTuple):
    """The tokens of a sentence: ids int64 [n], and the number of the word that each is of."""

    ids: np.ndarray
    of: np.ndarray


class _Template(NamedTuple):
    """The special tokens around one text, or around two."""

    parts: list[np.ndarray]  # before, (between,) after
    has_ones: bool = False  # is the second text of token type 1?
    zeros_between: int = 0  # how many tokens between have type 0 still


class TextEncoder:
    """Encodes texts in one way for training, evaluation and prediction.

    Attributes:
      max_length: of a row, in tokens, special ones included.
      pad_id: the token at padding.

    A text that is too long keeps its head, its tail, or both: "head+tail" keeps the first 128
    tokens and the rest from the end, or half and half where there is room for no more than 128.
    A pair is trimmed longest text first, each text then cut in the same way.
    """

    def __init__(self, tokenizer: Subwords, max_length: int, cut: str):
        """Takes `cut` "head", "tail" or "head+tail"; `max_length` counts special tokens too."""
        self._backend = plain_backend(tokenizer)
        self.max_length, self._cut = max_length, cut
        self._single = self._template(pair=False)
        self._pair = self._template(pair=True)
        self.pad_id = _pad_id(tokenizer)
        for template in (self._single, self._pair):
            if sum(map(len, template.parts)) >= max_length:
                raise UserError(
                    f"config.data.max_length={max_length} leaves no room beside the tokenizer's"
                    f" {sum(map(len, template.parts))} special tokens: make it larger"
                )

    def encode(self, texts: list[str], pairs: list[str] | None = None) -> list[Encoded]:
        """Encodes a batch of texts, each with its second text where `pairs` is given."""
        firsts = self.contents(texts)
        if pairs is None:
            return [self._join_one(first) for first in firsts]
        seconds = self.contents(pairs)
        return [self.join_pair(one, two) for one, two in zip(firsts, seconds, strict=True)]

    @property
    def template(self) -> tuple[np.ndarray, np.ndarray]:
        """The special tokens before and after a single text."""
        before, after = self._single.parts
        return before, after

    @property
    def head_and_room(self) -> tuple[int, int]:
        """The first tokens that are kept of a text that is too long, and all that are kept.

        What is missing of them is kept from the end.
        """
        room = self.max_length - sum(map(len, self.template))
        return self._head(room), room

    def spans(self, text: str) -> list[tuple[int, int] | None]:
        """The place in a text of each token of `encode([text])`: characters [first, end).

        None for a special token, or where it stands for no character.
        """
        encoding = told(lambda: self._backend.encode(text, add_special_tokens=False))
        before, after = self.template
        kept = self._trim(np.arange(len(encoding.ids)), self.head_and_room[1])
        found = [encoding.offsets[i] for i in kept]
        inner = [(first, end) if end > first else None for first, end in found]
        return [*[None] * len(before), *inner, *[None] * len(after)] or [None]

    def of_words(self, sentences: Sequence[Sequence[str]]) -> list[Words]:
        """The tokens of sentences given as words, without special tokens and whatever their length.

        The words are taken as a text with blanks between them, so that ids are those of a text.
        """
        texts = [" ".join(words) for words in sentences]
        encodings = told(lambda: self._backend.encode_batch(texts, add_special_tokens=False))
        found = []
        for words, encoding in zip(sentences, encodings, strict=True):
            ends = np.cumsum([len(word) + 1 for word in words]) - 1  # of each, in characters
            last = np.array([end - 1 for _, end in encoding.offsets], np.int64)
            of = np.minimum(np.searchsorted(ends, last, "right"), max(len(words) - 1, 0))
            found.append(Words(np.array(encoding.ids, np.int64), of.astype(np.int64)))
        return found

    def join(self, content: np.ndarray) -> Encoded:
        """Puts the special tokens of a single text around ids, int64 [at most `room`]."""
        before, after = self.template
        ids = np.concatenate([before, content, after])
        return self._made(ids, len(ids), cut=False)

    @property
    def room(self) -> int:
        """The number of tokens of a single text beside the special ones."""
        return self.head_and_room[1]

    def check_prefix(self, prefix: str, field: str) -> None:
        """Checks that a source keeps a prefix, and has room behind it.

        Args:
          prefix: before each source.
          field: its path, for messages.

        Raises:
          UserError: it fills the length, or would be cut off.
        """
        kept, room = self.head_and_room
        (ids,) = self.contents([prefix])
        if len(ids) >= room:
            raise UserError(
                f"{field} has {len(ids):,} tokens, which leave no room for a source in"
                f" config.data.max_length={self.max_length}: shorten it"
            )
        if len(ids) > kept:
            raise UserError(
                f"config.data.cut={self._cut!r} would cut {field} off a long source: set"
                " config.data.cut='head'"
            )

    def contents(self, texts: list[str]) -> list[np.ndarray]:
        """The tokens of texts, int64 [n] each, without special ones and whatever their length."""
        encode = self._backend.encode_batch_fast
        encodings = told(lambda: encode(texts, add_special_tokens=False))
        return [np.array(encoding.ids, np.int64) for encoding in encodings]

    def contents_from(
        self, texts: list[str], starts: Sequence[Sequence[int]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The tokens of texts, as of `contents`, and which of them are the first from some places.

        Args:
          texts: N.
          starts: of each, places of characters, ascending.

        Returns:
          Of each ids int64 [n], and int64 [at most as many as its starts] below n, ascending.
        """
        encodings = told(lambda: self._backend.encode_batch(texts, add_special_tokens=False))
        found = []
        for encoding, places in zip(encodings, starts, strict=True):
            ids = np.array(encoding.ids, np.int64)
            begins = np.array([first for first, _ in encoding.offsets], np.int64)
            at = np.unique(np.searchsorted(np.maximum.accumulate(begins), places))
            found.append((ids, at[at < len(ids)]))
        return found

    def _join_one(self, content: np.ndarray) -> Encoded:
        before, after = self.template
        room = self.head_and_room[1]
        ids = np.concatenate([before, self._trim(content, room), after])
        return self._made(ids, len(ids), len(content) > room)

    @property
    def room_of_pairs(self) -> int:
        """The number of tokens of two texts beside the special ones."""
        return self.max_length - sum(map(len, self._pair.parts))

    def join_pair(self, first: np.ndarray, second: np.ndarray) -> Encoded:
        """Puts the special tokens of a pair around ids, int64, cut where there are too many."""
        before, between, after = self._pair.parts
        room = self.room_of_pairs
        room_first = min(len(first), max(room - len(second), -(-room // 2)))
        one = self._trim(first, room_first)
        two = self._trim(second, room - len(one))
        ids = np.concatenate([before, one, between, two, after])
        start = len(before) + len(one) + self._pair.zeros_between
        second_start = start if self._pair.has_ones else len(ids)
        return self._made(ids, second_start, len(first) + len(second) > room)

    def _made(self, ids: np.ndarray, second_start: int, cut: bool) -> Encoded:
        if not len(ids):  # an empty text, and no special tokens: a row needs one real token
            return Encoded(np.array([self.pad_id], np.int64), 1, cut)
        return Encoded(ids, second_start, cut)

    def _trim(self, content: np.ndarray, room: int) -> np.ndarray:
        if len(content) <= room:
            return content
        head = self._head(room)
        return np.concatenate([content[:head], content[len(content) - (room - head) :]])

    def _head(self, room: int) -> int:
        """The number of first tokens that are kept of a text for which there is no more room."""
        if self._cut == "head":
            return room
        return 0 if self._cut == "tail" else HEAD if room > HEAD else room // 2

    def _template(self, pair: bool) -> _Template:
        """Finds the special tokens by encoding a probe: a tokenizer tells them in no other way."""
        for probe in PROBES:
            count = len(self._backend.encode(probe, add_special_tokens=False).ids)
            encoding = self._backend.encode(probe, probe if pair else None)
            sides, types, ids = encoding.sequence_ids, encoding.type_ids, np.array(encoding.ids)
            if not count:
                continue
            runs = [(side, len([*run])) for side, run in itertools.groupby(sides)]
            if [run for run in runs if run[0] is not None] != [(0, count), (1, count)][: 1 + pair]:
                raise UserError("the tokenizer's template does not hold each text once, in order")
            starts = [sides.index(side) for side in range(1 + pair)]
            ends = [start + count for start in starts]
            parts = [ids[i:j] for i, j in zip([0, *ends], [*starts, len(ids)], strict=True)]
            zeros = types.count(0)
            between = range(ends[0], starts[-1] + 1)  # none where there is no pair
            if types != [0] * zeros + [1] * (len(ids) - zeros) or (
                zeros < len(ids) and zeros not in between
            ):
                raise UserError("the tokenizer's template gives token types that no model here has")
            return _Template(parts, zeros < len(ids), zeros - ends[0])
        raise UserError(f"the tokenizer makes no token of {PROBES[0]!r}: it cannot be used")


def told(encode: Callable[[], _Made]) -> _Made:
    """The result of a call into the `tokenizers` library, whose failure is a UserError."""
    try:
        return encode()
    except BaseException as error:
        if is_native(error):
            raise UserError(f"the tokenizer fails at a text: {in_words(error)}") from error
        raise


def is_native(error: BaseException) -> bool:
    """True for what the `tokenizers` library raises: plain Exceptions, and panics, which are none.

    A panic is a BaseException, as KeyboardInterrupt is.
    """
    return type(error) is Exception or type(error).__name__ == "PanicException"


def in_words(error: BaseException) -> str:
    """The message of an error in a short line."""
    text = " ".join(str(error).split())[:200]
    return "".join(c if c.isprintable() else "?" for c in text) or type(error).__name__


def lengths_of(texts: Sequence[Sequence[str]], tokenizer: Subwords) -> list[int]:
    """The lengths of rows of so many texts each, special tokens included, if none is cut."""
    backend = plain_backend(tokenizer)
    flat = [text for row in texts for text in row]
    encoded = told(lambda: backend.encode_batch_fast(flat, add_special_tokens=False))
    lengths = iter([len(encoding.ids) for encoding in encoded])
    return [sum(itertools.islice(lengths, len(row))) + len(row) + 1 for row in texts]


def plain_backend(tokenizer: Subwords) -> Tokenizer:
    """A copy of the tokenizer inside that neither cuts nor pads, whatever its file says."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens  # to_str() lacks it
    return backend


def _pad_id(tokenizer: Subwords) -> int:
    """The padding token; the end token, or 0, where there is none: padding is masked anyway."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
