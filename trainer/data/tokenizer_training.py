"""Training of tokenizers: WordPiece, byte-level BPE, Unigram, whole words, characters.

It is deterministic, so that two workers, or a rebuilt cache, number the tokens alike. The trainers
of the `tokenizers` library walk hash maps in an order that changes from run to run, which numbers
WordPiece's continuations by chance: their order is fixed here beforehand.
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from trainer import config
from trainer.batch import IDS, MASK, TYPES
from trainer.data import spiece
from trainer.data.progress import Advance, Progress, quiet
from trainer.data.subwords import Subwords
from trainer.data.tokenizer_folder import MAX_TOKEN
from trainer.errors import UserError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 4
LEAST = 2  # tokens besides: a character, inside of a word and at its beginning
MAX_ALPHABET = 1000  # characters with a token of their own; rarer ones become [UNK]


def train_tokenizer(
    settings: config.Tokenizer, texts: Iterable[str], progress: Progress = quiet
) -> Subwords:
    """Trains a tokenizer of the kind and vocabulary size in the settings.

    All kinds make `[CLS] A [SEP]` of a text, and of a pair `[CLS] A [SEP] B [SEP]` with token types
    0 and 1.
    """
    train = {
        "wordpiece": _wordpiece,
        "bpe": _byte_level_bpe,
        "unigram": _unigram,
        "words": _words,
        "characters": _characters,
    }[settings.kind]
    sentinels = [sentinel(i) for i in range(settings.sentinels)]
    room = settings.vocab_size - len(sentinels)
    if room < len(SPECIAL) + LEAST:
        also = f" and {len(sentinels):,} sentinels" if sentinels else ""
        raise UserError(
            f"config.tokenizer.vocab_size={settings.vocab_size} has no room beside"
            f" {len(SPECIAL)} special tokens{also}: make it"
            f" {len(SPECIAL) + len(sentinels) + LEAST} or more"
        )
    with progress(f"Training the {settings.kind} tokenizer", None) as advance:
        backend = train(dataclasses.replace(settings, vocab_size=room), _counted(texts, advance))
    backend.add_special_tokens([*SPECIAL, *sentinels])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    roles = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}
    more = {"extra_special_tokens": sentinels} if sentinels else {}
    return Subwords(backend, roles, {"model_input_names": [IDS, TYPES, MASK], **more})


def sentinel(number: int) -> str:
    """The token that stands for the span of this number, from 0, as T5 names it."""
    return f"<extra_id_{number}>"


def _counted(texts: Iterable[str], advance: Advance) -> Iterator[str]:
    for text in texts:
        yield text
        advance(1)


def _wordpiece(settings: config.Tokenizer, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """WordPiece as BERT uses it (Devlin et al., 2019, arXiv:1810.04805)."""
    normalizer = normalizers.BertNormalizer(lowercase=settings.lowercase)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = count_words(texts, normalizer, pre_tokenizer)
    # Each character may need two tokens, at the start of a word and inside it.
    alphabet = _alphabet(words, min(MAX_ALPHABET, (settings.vocab_size - len(SPECIAL)) // 2))
    inside = sorted({char for word in words for char in word[1:]} & set(alphabet))
    trainer = trainers.WordPieceTrainer(
        vocab_size=settings.vocab_size,
        # Named as special only to fix their numbers: the trainer would find them in any order.
        special_tokens=SPECIAL + ["##" + char for char in inside],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    draft = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    draft.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    draft.train_from_iterator(_repeated(words), trainer)
    vocab = draft.get_vocab(with_added_tokens=False)
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizer
    backend.decoder = decoders.WordPiece()
    return backend


def _byte_level_bpe(settings: config.Tokenizer, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """Byte-pair encoding of UTF-8 bytes, as GPT-2 does: no text has an unknown token.

    Unless it lowercases, decoding gives every text back.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if settings.vocab_size < len(alphabet) + len(SPECIAL):
        raise UserError(
            f"config.tokenizer.vocab_size={settings.vocab_size} is too small for byte-level BPE:"
            f" it needs {len(alphabet) + len(SPECIAL)} for the bytes and special tokens"
        )
    backend = tokenizers.Tokenizer(models.BPE())
    if settings.lowercase:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _unigram(settings: config.Tokenizer, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """A unigram language model of pieces, trained by the sentencepiece library (Kudo, 2018)."""
    table = normalizers.Precompiled(spiece.table(settings.lowercase))
    blanks = [(" {2,}", " "), ("^ | $", "")]  # as SentencePiece does
    replaced = (normalizers.Replace(Regex(pattern), put) for pattern, put in blanks)
    normalizer = normalizers.Sequence([table, *replaced])
    pre_tokenizer = pre_tokenizers.Metaspace()
    words = count_words(texts, normalizer, pre_tokenizer)
    alphabet = _alphabet(words, min(MAX_ALPHABET, (settings.vocab_size - len(SPECIAL)) // 2))
    pieces = spiece.train(words, settings.vocab_size - len(SPECIAL), alphabet)
    special = [(token, 0.0) for token in SPECIAL]
    backend = tokenizers.Tokenizer(models.Unigram([*special, *pieces], unk_id=1))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizer
    backend.decoder = decoders.Metaspace()
    return backend


def _words(settings: config.Tokenizer, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The most frequent words, as blanks part them; a line end is a word too.

    Decoding puts a blank between words.
    """
    # All that str.split takes for a blank, but for the line end.
    blanks, line_end = Regex(r"(?:[^\S\n]|[\x1c-\x1f])+"), Regex(r"\n")
    split = [
        pre_tokenizers.Split(line_end, "isolated"),
        pre_tokenizers.Split(blanks, "removed"),
    ]
    backend = _untrained(settings, pre_tokenizers.Sequence(split))
    counts: collections.Counter[str] = collections.Counter()
    for text in _normalized(backend, texts):
        counts.update(text.split())
        counts["\n"] += text.count("\n")
    for word in [word for word, count in counts.items() if len(word) > MAX_TOKEN or not count]:
        del counts[word]
    return _numbered(backend, counts, settings.vocab_size)


def _characters(settings: config.Tokenizer, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The most frequent characters: decoding gives back every text that has no other."""
    backend = _untrained(settings, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
    backend.decoder = decoders.Fuse()
    counts: collections.Counter[str] = collections.Counter()
    for text in _normalized(backend, texts):
        counts.update(text)
    return _numbered(backend, counts, settings.vocab_size)


def _untrained(
    settings: config.Tokenizer, pre_tokenizer: pre_tokenizers.PreTokenizer
) -> tokenizers.Tokenizer:
    """A tokenizer of whole words, of which it knows none yet."""
    backend = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 1}, unk_token="[UNK]"))
    if settings.lowercase:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizer
    return backend


def _normalized(backend: tokenizers.Tokenizer, texts: Iterable[str]) -> Iterator[str]:
    lower = backend.normalizer
    return (lower.normalize_str(text) if lower else text for text in texts)


def _numbered(
    backend: tokenizers.Tokenizer, counts: collections.Counter[str], vocab_size: int
) -> tokenizers.Tokenizer:
    """Gives it the most frequent words, numbered by frequency and then alphabetically."""
    ordered = sorted(counts.keys() - set(SPECIAL), key=lambda word: (-counts[word], word))
    known = [*SPECIAL, *ordered[: vocab_size - len(SPECIAL)]]
    vocabulary = {word: number for number, word in enumerate(known)}
    backend.model = models.WordLevel(vocabulary, unk_token="[UNK]")
    return backend


def count_words(
    texts: Iterable[str],
    normalizer: normalizers.Normalizer,
    pre_tokenizer: pre_tokenizers.PreTokenizer,
) -> dict[str, int]:
    """Counts of each word in the texts, in alphabetical order.

    For a pre-tokenizer that makes of "a b" what it makes of "a" and of "b".
    """
    chunks: collections.Counter[str] = collections.Counter()
    for text in texts:
        chunks.update(normalizer.normalize_str(text).split())
    words: collections.Counter[str] = collections.Counter()
    for chunk, count in chunks.items():
        for word, _ in pre_tokenizer.pre_tokenize_str(chunk):
            words[word] += count
    return dict(sorted(words.items()))


def _alphabet(words: dict[str, int], limit: int) -> list[str]:
    """The most frequent characters, in their own order; of equally frequent ones the first."""
    counts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for char in word:
            counts[char] += count
    return sorted(sorted(counts, key=lambda char: (-counts[char], char))[:limit])


def _repeated(words: dict[str, int]) -> Iterator[str]:
    """Each word as often as it was counted: the trainers take texts, not counts."""
    for word, count in words.items():
        for start in range(0, count, 1000):
            yield " ".join([word] * min(1000, count - start))
