"""Subword tokenizers: trained on the training split, or pretrained.

Training is deterministic, so that two workers, or a rebuilt cache, number the tokens alike. The
trainers of the `tokenizers` library walk hash maps in an order that changes from run to run, which
numbers WordPiece's continuations by chance: their order is fixed here beforehand.
"""

import collections
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trainer import config, hub
from trainer.data import store, unigram
from trainer.data.progress import Advance, Progress, quiet
from trainer.data.sources import Source
from trainer.errors import UserError

FORMAT = 1  # raise it when training changes
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 4
MAX_ALPHABET = 1000  # characters with a token of their own; rarer ones become [UNK]
# The files of a pretrained tokenizer.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
_SETTINGS = ("tokenizer_config.json", "config.json", "special_tokens_map.json", "added_tokens.json")


def make_tokenizer(
    settings: config.Tokenizer, source: Source, cache_dir: Path, progress: Progress
) -> PreTrainedTokenizerFast:
    """The pretrained tokenizer that the settings name, or one trained on the split "train".

    Raises:
      UserError: no such pretrained tokenizer, or a vocabulary that is too small.
    """
    if settings.pretrained:
        return load_tokenizer(settings.pretrained)
    made_by = [settings.kind, settings.vocab_size, settings.lowercase, tokenizers.__version__]
    key = store.key_of(FORMAT, source.fingerprint("train"), made_by)

    def build(folder: Path) -> dict[str, object]:
        texts = (
            text
            for example in source.examples("train")
            for text in (example.text, example.pair)
            if text is not None
        )
        train_tokenizer(settings, texts, progress).save_pretrained(folder)
        return {}

    folder, _ = store.open_or_build(cache_dir, f"tokenizer-{key}", "tokenizer", build)
    return load_tokenizer(folder)


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerFast:
    """A tokenizer from a folder, or by its name on the hub.

    A folder holds tokenizer.json or, as the families publish them, vocab.txt (BERT), vocab.json and
    merges.txt (RoBERTa, GPT-2), or a SentencePiece model (ALBERT, T5).

    Raises:
      UserError: there is none, it needs code of its own, or it has no fast version.
    """
    folder = hub.folder_of(str(name), [*_VOCABULARIES, *_SETTINGS], "cannot load tokenizer")
    where = f"cannot load tokenizer {str(name)!r}"
    there = [file for file in _VOCABULARIES if (folder / file).is_file()]
    if not there or there == ["vocab.json"] or there == ["merges.txt"]:
        raise UserError(
            f"{where}: it has no vocabulary: the folder must hold tokenizer.json, vocab.txt,"
            " vocab.json and merges.txt, or spiece.model"
        )
    converted = there[0] == "spiece.model"
    if converted and not importlib.util.find_spec("sentencepiece"):
        raise UserError(f"{where}: `pip install sentencepiece` to read its spiece.model")
    try:
        options = _options(folder, there)
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, **options)
    except Exception as error:  # the parser and each tokenizer raise their own kinds
        reason = " ".join(str(error).split())[:200]
        if "trust_remote_code" in str(error):
            reason = "it needs code that comes with it, which is never run"
        raise UserError(f"{where}: {reason}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{where}: it has no fast version (tokenizer.json)")
    needed = {key: file for key, file in tokenizer.vocab_files_names.items() if file not in there}
    if "tokenizer_file" in needed and len(needed) > 1:  # transformers makes up a vocabulary then
        raise UserError(
            f"{where}: it is a {type(tokenizer).__name__} by its configuration, and lacks"
            f" {' and '.join(needed.values())}"
        )
    return _without_symbols(tokenizer) if converted else tokenizer


def _options(folder: Path, there: list[str]) -> dict[str, object]:
    """What the files leave unsaid, and transformers would not guess, or guess wrongly.

    Args:
      there: the files of _VOCABULARIES in the folder.
    """
    model, settings, whole = (
        json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for path in (folder / file for file in ("config.json", _SETTINGS[0], "tokenizer.json"))
    )
    options: dict[str, object] = {}
    first = folder / there[0]
    if not whole and not ({"model_type", "tokenizer_class"} & {*model, *settings}):
        if there[0] == "vocab.txt":
            options["tokenizer_type"] = "bert"
        elif there[0] == "vocab.json":
            options["tokenizer_type"] = "roberta" if b'"<s>"' in first.read_bytes() else "gpt2"
        else:
            options["tokenizer_type"] = "albert" if b"[CLS]" in first.read_bytes() else "t5"
    if "do_lower_case" not in settings:  # transformers would lowercase
        normalizer = whole.get("normalizer") or {}
        if normalizer.get("type") == "BertNormalizer":
            options["do_lower_case"] = normalizer["lowercase"]
        elif there[0] == "vocab.txt":
            options["do_lower_case"] = not _has_capitals(first.read_text(encoding="utf-8"))
    return options


def _has_capitals(vocabulary: str) -> bool:
    """Whether lowercasing would change a line, but for special ones such as [CLS] and <S>."""
    special = re.compile(r"\[.*\]|<.*>")
    return any(t != t.lower() for t in vocabulary.split("\n") if not special.fullmatch(t.strip()))


def _without_symbols(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Makes a SentencePiece model's own symbols, such as ALBERT's "-", ordinary pieces again.

    transformers cuts a text at them first, so that "well-known" becomes "▁well", "-", "▁known";
    SentencePiece itself makes "known" of the last.
    """
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    made["added_tokens"] = [token for token in made["added_tokens"] if token["special"]]
    special = {token["content"] for token in made["added_tokens"]}
    tokenizer._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(made))
    tokenizer.extra_special_tokens = [t for t in tokenizer.extra_special_tokens if t in special]
    return tokenizer


def vocabulary_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """How many ids there must be room for; more than there are tokens where the ids have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def train_tokenizer(
    settings: config.Tokenizer, texts: Iterable[str], progress: Progress = quiet
) -> PreTrainedTokenizerFast:
    """Trains a tokenizer of the kind and vocabulary size in the settings.

    All kinds make `[CLS] A [SEP]` of a text, and of a pair `[CLS] A [SEP] B [SEP]` with token types
    0 and 1.
    """
    train = {"wordpiece": _wordpiece, "bpe": _byte_level_bpe, "unigram": _unigram}[settings.kind]
    with progress(f"Training the {settings.kind} tokenizer", None) as advance:
        backend = train(settings, _counted(texts, advance))
    backend.add_special_tokens(SPECIAL)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIAL},
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


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
    """Byte-pair encoding of UTF-8 bytes, as GPT-2 does: no text has an unknown token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if settings.vocab_size < len(alphabet) + len(SPECIAL):
        raise UserError(
            f"config.tokenizer.vocab_size={settings.vocab_size} is too small for byte-level BPE:"
            f" it needs {len(alphabet) + len(SPECIAL)} for the bytes and special tokens"
        )
    backend = tokenizers.Tokenizer(models.BPE())
    if settings.lowercase:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
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
    """A unigram language model of pieces, as SentencePiece makes it (Kudo, 2018)."""
    steps = [normalizers.Nmt(), normalizers.NFKC()]
    if settings.lowercase:
        steps.append(normalizers.Lowercase())
    normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    pre_tokenizer = pre_tokenizers.Metaspace()
    words = count_words(texts, normalizer, pre_tokenizer)
    alphabet = _alphabet(words, min(MAX_ALPHABET, (settings.vocab_size - len(SPECIAL)) // 2))
    pieces = unigram.train(words, settings.vocab_size - len(SPECIAL), alphabet)
    special = [(token, 0.0) for token in SPECIAL]
    backend = tokenizers.Tokenizer(models.Unigram([*special, *pieces], unk_id=1))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizer
    backend.decoder = decoders.Metaspace()
    return backend


def count_words(
    texts: Iterable[str],
    normalizer: normalizers.Normalizer,
    pre_tokenizer: pre_tokenizers.PreTokenizer,
) -> dict[str, int]:
    """How often each word stands in the texts, in alphabetical order.

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
