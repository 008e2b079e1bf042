"""Subword tokenizers: trained on the training split, or read from a folder or the hub.

Where a folder has tokenizer.json, ids are what that file alone gives. transformers would rebuild
the tokenizer of most families from its vocabulary, and lose what else stands in the file: here its
classes read only folders without one. Each tokenizer becomes a `Subwords`, and is saved so that the
folder opens with transformers.AutoTokenizer with the same ids.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tokenizers
from tokenizers import Tokenizer

from trainer import config, hub
from trainer.batch import INPUTS, TYPES
from trainer.data import probe, store
from trainer.data.encode import in_words, is_native
from trainer.data.progress import Progress
from trainer.data.subwords import Subwords
from trainer.data.tokenizer_folder import (
    MAX_IDS,
    MAX_TOKEN,
    SETTINGS,
    VOCABULARIES,
    WHOLE,
    Folder,
)
from trainer.data.tokenizer_training import train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = 3  # raise it when training changes
GAPS = 2**17  # ids without a token that are borne; an embedding has a row for each
COMPARED = (  # texts that two tokenizers are compared by
    *("Film café", "It's a FILM,  number 3 (of 10): don't!", " The\tend \n", "日本 🙂 ½ ﬁne İ ﷺ"),
    *("", "``quoted'' well-known_words", "a [SEP] the </s> b <|endoftext|> c <mask>"),
)
Say = Callable[[str], None]


class Corpus(NamedTuple):
    """Texts to train a tokenizer on.

    Attributes:
      fingerprint: sha256 in hex of everything that determines them.
      texts: reads them, always in the same order.
    """

    fingerprint: str
    texts: Callable[[], Iterator[str]]


def make_tokenizer(
    settings: config.Tokenizer,
    corpus: Corpus,
    cache_dir: Path,
    progress: Progress,
    say: Say | None = None,
) -> Subwords:
    """The pretrained tokenizer that the settings name, or one trained on the corpus.

    Raises:
      UserError: no such pretrained tokenizer, or a vocabulary that is too small.
    """
    if settings.pretrained:
        return load_tokenizer(settings.pretrained, say)
    made_by = [settings.kind, settings.vocab_size, settings.lowercase, tokenizers.__version__]
    made_by += [settings.sentinels] if settings.sentinels else []
    key = store.key_of(FORMAT, corpus.fingerprint, made_by)

    def build(folder: Path) -> dict[str, object]:
        train_tokenizer(settings, corpus.texts(), progress).save_pretrained(folder)
        return {}

    folder, _ = store.open_or_build(cache_dir, f"tokenizer-{key}", "tokenizer", build)
    return load_tokenizer(folder, own=True)


def load_tokenizer(name: str | Path, say: Say | None = None, own: bool = False) -> Subwords:
    """A tokenizer from a folder, or by its name on the hub.

    A folder holds tokenizer.json or, as the families publish them, vocab.txt (BERT), vocab.json and
    merges.txt (RoBERTa, GPT-2), or a SentencePiece model (ALBERT, T5).

    Args:
      say: told where transformers would make other ids of the same folder, and what is left out.
      own: made by this library a moment ago; any other is tried in a process of its own.

    Raises:
      UserError: there is none, it is damaged, fails or takes too much, or needs code of its own.
    """
    path = hub.folder_of(str(name), [*VOCABULARIES, *SETTINGS], "cannot load tokenizer")
    where = f"cannot load tokenizer {str(name)!r}"
    folder = Folder(path, where)
    if not folder.there or folder.there in (["vocab.json"], ["merges.txt"]):
        folder.refuse(
            "it has no vocabulary: the folder must hold tokenizer.json, vocab.txt, vocab.json and"
            " merges.txt, or spiece.model"
        )
    if folder.needs_code:
        folder.refuse("it needs code that comes with it, which is never run")
    roles: Mapping[str, str | None]
    if folder.text:
        text, roles = folder.text, _roles(folder)
    else:
        converted = _convert(folder)
        text, roles = converted.backend_tokenizer.to_str(), converted.special_tokens_map
    patterns = folder.patterns()
    fault = "" if own else probe.fault_of(text, patterns)
    if fault:
        folder.refuse(f"{fault}; mend it, or take another tokenizer")
    backend = Tokenizer.from_str(text)
    backend.no_truncation()  # this library cuts and pads, whatever the file says
    backend.no_padding()
    _check_ids(backend, folder)
    tokenizer = _assembled(backend, roles, folder)
    if say:
        for note in _notes(tokenizer, folder):
            say(f"Note: tokenizer {str(name)!r}: {note}")
    return tokenizer


def vocabulary_size(tokenizer: Subwords) -> int:
    """The number of ids that need room; more than there are tokens where the ids have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def _roles(folder: Folder) -> dict[str, str | None]:
    """The special tokens by their roles: those that the files name, else those of the family."""
    padding = folder.content.get("padding")
    roles: dict[str, str | None] = {}
    if isinstance(padding, dict) and isinstance(padding.get("pad_token"), str):
        roles["pad_token"] = padding["pad_token"]
    if folder.family:
        roles |= folder.family().special_tokens_map
    return roles | folder.roles


def _check_ids(backend: Tokenizer, folder: Folder) -> None:
    """Refuses a vocabulary that no embedding should be made for."""
    vocab = backend.get_vocab()
    if not vocab:
        folder.refuse("its vocabulary is empty")
    last = max(vocab.values())
    if last >= MAX_IDS:
        folder.refuse(f"it has the id {last:,}: an embedding may have {MAX_IDS:,} rows")
    if last > len(vocab) + GAPS:
        folder.refuse(f"its {len(vocab):,} tokens have ids up to {last:,}: number them anew")
    by_id: dict[int, str] = {}
    for token, i in vocab.items():
        if len(token) > MAX_TOKEN:
            folder.refuse(
                f"its token {i} has {len(token):,} characters: {MAX_TOKEN:,} are the most"
            )
        other = by_id.setdefault(i, token)
        if other != token:
            one, two = sorted([other[:40], token[:40]])
            folder.refuse(f"its tokens {one!r} and {two!r} have the same id {i}")


def _assembled(backend: Tokenizer, roles: Mapping[str, str | None], folder: Folder) -> Subwords:
    """The backend as it stands, with the roles that its vocabulary has a token for."""
    vocab = backend.get_vocab()
    named = {role: token for role, token in roles.items() if token and token in vocab}
    special = [t.content for t in backend.get_added_tokens_decoder().values() if t.special]
    settings = {"model_input_names": _input_names(backend, folder), **folder.kept}
    if not special and named:
        # AutoTokenizer would mark the tokens of the roles, and cut texts at them.
        settings.setdefault("split_special_tokens", True)
    extra = [token for token in special if token not in named.values()]
    return Subwords(backend, named, {"extra_special_tokens": extra, **settings})


def _input_names(backend: Tokenizer, folder: Folder) -> list[str]:
    """Names of the model's inputs: token types where the template numbers the texts of a pair."""
    ones = 1 in backend.encode("a", "a").type_ids and backend.num_special_tokens_to_add(True) > 0
    types = ones and folder.family_name != "DistilBertTokenizer"
    return [name for name in INPUTS if types or name != TYPES]


def _notes(tokenizer: Subwords, folder: Folder) -> list[str]:
    """Notes on settings of the folder that are not followed."""
    made = tokenizer.special_tokens_map
    lost = [
        f"{role} {token!r}" for role, token in folder.roles.items() if token and role not in made
    ]
    notes = [f"its vocabulary lacks {', '.join(lost)[:200]}: left out"] if lost else []
    family = folder.family
    if folder.text and family:
        kind = type(tokenizer.backend_tokenizer.model).__name__
        if family.model.__name__ != kind:
            what = f"is for {kind}, its settings for a {family.__name__}"
            notes.append(f"{WHOLE} {what}: the ids are those of {WHOLE}")
        else:
            notes += _overruled(tokenizer, family, folder)
    return notes


def _overruled(
    tokenizer: Subwords, family: type["PreTrainedTokenizerFast"], folder: Folder
) -> list[str]:
    """An example of other ids from the family's class of transformers than from tokenizer.json."""
    roles = {role: token for role, token in folder.roles.items() if token}
    try:
        options = family.convert_to_native_format(tokenizer_file=str(folder.path / WHOLE))
        other = family(**{**options, **roles, **folder.of_class}).backend_tokenizer
        other.no_truncation()
        other.no_padding()
        other.encode_special_tokens = folder.kept.get("split_special_tokens", False)
        for one, two in [*((text, None) for text in COMPARED), ("Film", "café")]:
            ours, theirs = (each.encode(one, two) for each in (tokenizer.backend_tokenizer, other))
            if (ours.ids, ours.type_ids) != (theirs.ids, theirs.type_ids):
                text = f"{one!r}, {two!r}" if two else repr(one)
                cut = [" ".join(made.tokens)[:80] for made in (ours, theirs)]
                how = f"{text} is {cut[0]!r} (a {family.__name__} of transformers: {cut[1]!r})"
                return [f"the ids are those of {WHOLE}: {how}"]
    except BaseException as error:
        if not (is_native(error) or isinstance(error, Exception)):
            raise
    return []  # they agree, or transformers makes nothing of it


def _convert(folder: Folder) -> "PreTrainedTokenizerFast":
    """Makes a tokenizer, with transformers, from a folder without tokenizer.json."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    spiece = folder.there[0] == "spiece.model"
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder.path), trust_remote_code=False, **_options(folder)
        )
    except BaseException as error:  # the parser and each tokenizer raise their own kinds
        if not (is_native(error) or isinstance(error, Exception)):
            raise
        reason = in_words(error)
        if "trust_remote_code" in str(error):
            reason = "it needs code that comes with it, which is never run"
        elif spiece and "tiktoken" in str(error):  # transformers' guess at what else it may be
            reason = "its spiece.model is damaged"
        folder.refuse(reason)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        folder.refuse("it has no fast version (tokenizer.json)")
    files = tokenizer.vocab_files_names
    needed = {key: file for key, file in files.items() if file not in folder.there}
    if "tokenizer_file" in needed and len(needed) > 1:  # transformers makes up a vocabulary then
        folder.refuse(
            f"it is a {type(tokenizer).__name__} by its configuration, and lacks"
            f" {' and '.join(needed.values())}"
        )
    return _without_symbols(tokenizer) if spiece else tokenizer


def _options(folder: Folder) -> dict[str, object]:
    """Options that the files do not state, and transformers would not guess, or guess wrong."""
    options: dict[str, object] = {}
    first = folder.there[0]
    content = (folder.path / first).read_bytes()
    if not folder.says_kind:
        if first == "vocab.txt":
            options["tokenizer_type"] = "bert"
        elif first == "vocab.json":
            options["tokenizer_type"] = "roberta" if b'"<s>"' in content else "gpt2"
        else:
            options["tokenizer_type"] = "albert" if b"[CLS]" in content else "t5"
    if "do_lower_case" not in folder.of_class and first == "vocab.txt":
        options["do_lower_case"] = not _has_capitals(content.decode())  # else it lowercases
    return options


def _has_capitals(vocabulary: str) -> bool:
    """True if lowercasing would change a line, special ones such as [CLS] and <S> left out."""
    special = re.compile(r"\[.*\]|<.*>")
    return any(t != t.lower() for t in vocabulary.split("\n") if not special.fullmatch(t.strip()))


def _without_symbols(tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedTokenizerFast":
    """Makes a SentencePiece model's own symbols, such as ALBERT's "-", ordinary pieces again.

    transformers cuts a text at them first, so that "well-known" becomes "▁well", "-", "▁known";
    SentencePiece itself makes "known" of the last.
    """
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    made["added_tokens"] = [token for token in made["added_tokens"] if token["special"]]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(made))
    return tokenizer
