"""WordPiece tokenisation inside a TensorFlow graph, as BERT's tokenizers do it outside.

What BertNormalizer, BertPreTokenizer and WordPiece of the `tokenizers` library do (Devlin et al.,
2019), with TensorFlow's own string ops and tensorflow-text. docs/use/export.md names what differs.
"""

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from trainer.batch import IDS, MASK, TYPES
from trainer.data.encode import TextEncoder, plain_backend
from trainer.data.subwords import Subwords
from trainer.data.tokenizers import vocabulary_size
from trainer.errors import UserError

_CHINESE = (
    r"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}])"
)
# A character of this private block stands for a special token; in a text itself it counts for none.
_FIRST, _LAST = 0xF0000, 0xFFFFD
_MARKS = rf"[\x{{{_FIRST:X}}}-\x{{{_LAST:X}}}]"
# Control and format characters, private ones, and what stands for a character that is none.
_OTHERS = (
    r"[\x{0}-\x{8}\x{B}\x{C}\x{E}-\x{1F}\x{7F}-\x{9F}\x{FFFD}\p{Cf}"
    r"\x{E000}-\x{F8FF}\x{100000}-\x{10FFFD}]"
)
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
_SPACES = r"[\t\n\v\f\r\x{85}\p{Z}]+"
_UNKNOWN_PREFIX = "\n"  # a made-up piece for an id that has none: no word holds a line's end


def why_not(tokenizer: Subwords) -> str:
    """Why the graph cannot do what a tokenizer does; empty if it can."""
    made = json.loads(plain_backend(tokenizer).to_str())
    model, kinds = made["model"], [(made[k] or {}).get("type") for k in _STEPS]
    if model["type"] != "WordPiece":
        return f"its tokenizer is of the kind {model['type']}, not BERT's WordPiece"
    if kinds != ["BertNormalizer", "BertPreTokenizer"]:
        return f"its tokenizer prepares texts by {kinds[0]} and {kinds[1]}, not as BERT's does"
    odd = [t["content"] for t in made["added_tokens"] if t["normalized"] or t["single_word"]]
    if odd:
        return f"its tokenizer has the added token {odd[0]!r}, which is no special one"
    if tokenizer.split_special_tokens and made["added_tokens"]:
        return "its tokenizer has split_special_tokens set"
    return ""


_STEPS = ("normalizer", "pre_tokenizer")


class InGraph(tf.Module):
    """Raw texts to what a model takes, cut and padded as in training.

    Args:
      encoder: says how texts are cut, and what stands around them.

    Raises:
      UserError: tensorflow-text is not installed.
    """

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        try:
            import tensorflow_text
        except ImportError as error:
            raise UserError(
                "texts in a SavedModel need tensorflow-text: pip install 'thaw[text]'"
            ) from error
        self._text, self._encoder = tensorflow_text, encoder

    def __call__(self, texts):
        """string [N] -> input_ids, attention_mask, token_type_ids, int32 [N, L] each.

        Bytes that are no UTF-8 count for nothing.
        """
        return self._padded(self._cut(self.pieces(texts)))

    def pieces(self, texts):
        """string [N] -> ids of all pieces, ragged int32 [N, (L)], without those around a text."""
        raise NotImplementedError

    def _padded(self, ids):
        """Ragged ids int32 [N, (L)] as inputs, with the special tokens around them."""
        template = self._encoder.template
        before, after = (tf.constant(part, tf.int32)[None] for part in template)
        ones = tf.ones([ids.nrows(), 1], tf.int32)
        ids = tf.concat([ones * before, ids, ones * after], axis=1)
        lengths = ids.row_lengths()
        whole = ids.to_tensor(self._encoder.pad_id)
        whole = tf.cond(  # a model takes at least one token
            tf.shape(whole)[1] > 0, lambda: whole, lambda: self._encoder.pad_id * ones
        )
        lengths = tf.maximum(lengths, 1)
        mask = tf.sequence_mask(lengths, tf.shape(whole)[1], tf.int32)
        return {
            IDS: whole,
            MASK: mask,
            TYPES: tf.zeros_like(whole),
        }

    def _cut(self, ids):
        """Rows of at most the room between what stands around a text."""
        head, room = self._encoder.head_and_room
        lengths = ids.row_lengths()
        places = tf.ragged.range(lengths).flat_values
        long = tf.gather(lengths, ids.value_rowids())
        kept = (long <= room) | (places < head) | (places >= long - (room - head))
        return tf.ragged.boolean_mask(ids, ids.with_flat_values(kept))


class GraphTokenizer(InGraph):
    """Raw texts to what a model takes, cut and padded as in training.

    Args:
      tokenizer: of BERT's kind, see `why_not`.
      encoder: of the same tokenizer; it says how texts are cut, and what stands around them.

    Raises:
      UserError: tensorflow-text is not installed.
    """

    def __init__(self, tokenizer: Subwords, encoder: TextEncoder):
        super().__init__(encoder)
        made = json.loads(plain_backend(tokenizer).to_str())
        self._normalizer: Mapping[str, Any] = made["normalizer"]
        model = made["model"]
        special = {t["content"]: t["id"] for t in made["added_tokens"]}
        self._marks = {token: chr(_FIRST + i) for i, token in enumerate(special)}
        unknown = model["unk_token"]
        self._unknown_id: int = model["vocab"].get(unknown, special.get(unknown, 0))
        self._unknown = self._marks.get(unknown, unknown)
        self._longest: int = model["max_input_chars_per_word"]
        by_id = {i: piece for piece, i in model["vocab"].items()}
        size = vocabulary_size(tokenizer)
        pieces = [by_id.get(i, f"{_UNKNOWN_PREFIX}{i}") for i in range(size)]
        # A mark is a piece of its own, whose id is then that of its token.
        self._ids = tf.constant([*range(size), *special.values()], tf.int32)
        self._wordpiece = self._text.FastWordpieceTokenizer(
            [*pieces, *self._marks.values()],
            suffix_indicator=model["continuing_subword_prefix"],
            max_bytes_per_word=4 * self._longest,
            token_out_type=tf.int32,
            unknown_token=unknown,
            no_pretokenization=True,
        )

    def of_words(
        self, texts: tf.Tensor, pattern: str
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """Texts cut into words: what a model takes, and where the words are in it.

        A text that is too long loses its end.

        Args:
          texts: string [N].
          pattern: of a word, for RE2. Between words there is white space only.

        Returns:
          Inputs as `__call__` gives them; words string [N, W], "" behind a text's end; the place
          of each word's first token, int32 [N, W], -1 where there is none.
        """
        # White space as Python has it, and so `pattern`.
        between = rf"[\x{{1c}}-\x{{1f}}]+|{_SPACES}"
        words = self._text.regex_split(texts, f"{between}|{pattern}", pattern)
        pieces = self.pieces(words.flat_values)
        empty = pieces.row_lengths() == 0  # words of which nothing is left are unknown
        unknown = tf.fill([tf.math.count_nonzero(empty)], self._unknown_id)
        filling = tf.RaggedTensor.from_row_lengths(unknown, tf.cast(empty, tf.int64))
        pieces = tf.concat([pieces, filling], axis=1)
        lengths = pieces.row_lengths()
        starts = tf.cumsum(lengths, exclusive=True)
        total = tf.concat([starts, [tf.reduce_sum(lengths)]], 0)
        starts -= tf.repeat(tf.gather(total, words.row_starts()), words.row_lengths())
        room = self._encoder.room
        before = len(self._encoder.template[0])
        places = tf.where(starts < room, starts + before, -1)
        at = words.with_flat_values(tf.cast(places, tf.int32)).to_tensor(-1)
        ids = words.with_values(pieces).merge_dims(1, 2)[:, :room]
        return self._padded(ids), words.to_tensor(""), at

    def pieces(self, texts):
        words = self._words(self._normalised(texts))
        long = tf.strings.length(words.flat_values, "UTF8_CHAR") > self._longest
        flat = tf.where(long, self._unknown, words.flat_values)
        pieces = self._wordpiece.tokenize(words.with_flat_values(flat)).merge_dims(1, 2)
        return pieces.with_flat_values(tf.gather(self._ids, pieces.flat_values))

    def _normalised(self, texts):
        """Normalises texts as BertNormalizer does; a special token in a text becomes its mark."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        texts = tf.strings.regex_replace(texts, _MARKS, "")
        for token, mark in self._marks.items():
            texts = tf.strings.regex_replace(texts, _literal(token), mark)
        if self._normalizer["clean_text"]:
            texts = tf.strings.regex_replace(texts, _OTHERS, "")
            texts = tf.strings.regex_replace(texts, r"[\t\n\r\p{Z}]", " ")
        if self._normalizer["handle_chinese_chars"]:
            texts = tf.strings.regex_replace(texts, _CHINESE, r" \1 ")
        lowercase, strips = self._normalizer["lowercase"], self._normalizer["strip_accents"]
        if lowercase if strips is None else strips:
            texts = self._text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, r"\p{Mn}", "")
        if not lowercase:
            return texts
        # Character by character: TensorFlow would make another sigma of the last one of a word.
        texts = tf.strings.regex_replace(texts, "Σ", "σ")
        return tf.strings.lower(texts, "utf-8")

    def _words(self, texts):
        """Words, and each punctuation character or mark as a word: ragged string [N, (W)]."""
        alone = f"{_PUNCTUATION}|{_MARKS}"
        return self._text.regex_split(texts, f"{_SPACES}|{alone}", alone)


def _literal(token: str) -> str:
    """A regular expression for a text as it stands."""
    return "".join(rf"\x{{{ord(character):X}}}" for character in token)
