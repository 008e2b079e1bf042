"""Tokenizers: trained the same way each time, with the special tokens that batches rely on."""

import collections
import hashlib
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from tests.data.conftest import ROWS, opened
from trainer import config
from trainer.data import spiece, tokenizers
from trainer.data.progress import quiet
from trainer.data.subwords import Subwords
from trainer.data.tokenizer_training import SPECIAL
from trainer.errors import UserError

KINDS = ("wordpiece", "bpe", "unigram", "words", "characters")
TEXTS = [text for text, _ in ROWS]
TRAIN = """
import hashlib, sys
from tests.data.test_tokenizers import *
settings = config.Tokenizer(kind=sys.argv[1], vocab_size=330)
made = tokenizers.train_tokenizer(settings, LONG_TEXTS).backend_tokenizer.to_str()
print(hashlib.sha256(made.encode()).hexdigest())
"""
# Many words with equal counts, so that any order by chance shows.
RANDOM = np.random.default_rng(0)
LONG_TEXTS = [
    " ".join(
        "".join(chr(97 + c) for c in RANDOM.integers(0, 26, RANDOM.integers(1, 9)))
        for _ in range(40)
    )
    for _ in range(60)
]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_training_gives_the_same_bytes_in_another_process(kind):
    settings = config.Tokenizer(kind=kind, vocab_size=330)
    made = tokenizers.train_tokenizer(settings, LONG_TEXTS)
    command = [sys.executable, "-c", TRAIN, kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = hashlib.sha256(made.backend_tokenizer.to_str().encode()).hexdigest()
    assert done.stdout.strip() == expected
    assert len(made.get_vocab()) == {"characters": 32}.get(kind, 330)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [True, False])
def test_special_tokens_templates_and_round_trip(kind, lowercase, tmp_path):
    settings = config.Tokenizer(kind=kind, vocab_size=300, lowercase=lowercase)
    made = tokenizers.train_tokenizer(settings, [*TEXTS, "Good MAN"])
    made.save_pretrained(tmp_path)
    kept = tokenizers.load_tokenizer(tmp_path)
    read = kept.for_transformers()
    assert read.convert_tokens_to_ids(SPECIAL) == [0, 1, 2, 3, 4]
    assert (read.pad_token_id, read.unk_token_id, read.mask_token_id) == (0, 1, 4)
    one, two = read("good film"), read("good film", "bad man")
    assert one["input_ids"][0] == two["input_ids"][0] == read.cls_token_id
    assert one["input_ids"][-1] == two["input_ids"][-1] == read.sep_token_id
    assert set(one["token_type_ids"]) == {0}
    second = two["token_type_ids"].index(1)
    assert two["input_ids"][:second] == one["input_ids"]
    assert read.backend_tokenizer.to_str() == made.backend_tokenizer.to_str()
    assert kept.decode(one["input_ids"], skip_special_tokens=True).strip() == "good film"
    same = read("Good MAN")["input_ids"] == read("good man")["input_ids"]
    assert same == lowercase
    assert 1 not in one["input_ids"]


def corpus(source) -> tokenizers.Corpus:
    return tokenizers.Corpus(
        source.fingerprint("train"), lambda: (row["text"] for row in source.rows("train"))
    )


def test_it_is_trained_on_train_alone_and_cached(make_files, tmp_path, monkeypatch):
    source = opened(make_files())
    seen = []
    rows = source.rows
    monkeypatch.setattr(source, "rows", lambda split: seen.append(split) or rows(split))
    texts = corpus(source)
    settings = config.Tokenizer(vocab_size=100)
    one, two = (
        tokenizers.make_tokenizer(settings, texts, tmp_path / "cache", quiet) for _ in range(2)
    )
    assert seen == ["train"]
    assert one.get_vocab() == two.get_vocab()
    tokenizers.make_tokenizer(config.Tokenizer("bpe", 280), texts, tmp_path / "cache", quiet)
    assert seen == ["train", "train"]


def test_a_pretrained_tokenizer_is_read_from_a_folder(tokenizer, source, tmp_path):
    tokenizer.save_pretrained(tmp_path / "own")
    settings = config.Tokenizer(pretrained=str(tmp_path / "own"))
    read = tokenizers.make_tokenizer(settings, corpus(source), tmp_path, quiet)
    assert read.get_vocab() == tokenizer.get_vocab()
    (tmp_path / "none").mkdir()
    settings.pretrained = str(tmp_path / "none")
    with pytest.raises(UserError, match=r"cannot load tokenizer .*none") as caught:
        tokenizers.make_tokenizer(settings, corpus(source), tmp_path, quiet)
    assert "\n" not in str(caught.value)


ODD = (  # with every character that Python or Unicode takes for a blank
    *(
        "",
        " ",
        "\n",
        "  two  blanks\n\n end ",
        "a\r\nb\tc",
        " first",
        "Ünï 日本 🙂 ½ ﬁne İ",
        "e\u0301",
    ),
    *(
        "[SEP] a [MASK]",
        "it's  don't, 2,500!",
        "".join(filter(str.isspace, map(chr, range(0x3001)))),
    ),
)


def test_bytes_give_every_text_back():
    made = tokenizers.train_tokenizer(config.Tokenizer("bpe", 300, lowercase=False), TEXTS)
    backend = made.backend_tokenizer
    for text in (*ODD, *TEXTS, "".join(map(chr, range(0x250))), "\U0010ffff\ufeff"):
        assert made.decode(backend.encode(text, add_special_tokens=False).ids) == text
    odd = tokenizers.train_tokenizer(config.Tokenizer("bpe", 300), TEXTS)
    ids = odd.backend_tokenizer.encode(" Good ", add_special_tokens=False).ids
    assert odd.decode(ids) == " good "


def test_characters_give_back_every_text_of_known_ones(tmp_path):
    settings = config.Tokenizer("characters", 500, lowercase=False)
    made = tokenizers.train_tokenizer(settings, [*ODD, *TEXTS])
    made.save_pretrained(tmp_path)
    kept = tokenizers.load_tokenizer(tmp_path)
    different = {char for text in [*ODD, *TEXTS] for char in text}
    assert len(made.get_vocab()) == len(different) + len(SPECIAL)
    for text in (*ODD, *TEXTS):
        ids = kept.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert kept.decode(ids) == text
        if "[" not in text:
            assert len(ids) == len(text)
    lower = tokenizers.train_tokenizer(config.Tokenizer("characters", 500), ["Ab\n"])
    ids = lower.backend_tokenizer.encode("aB\n", add_special_tokens=False).ids
    assert lower.decode(ids) == "ab\n"
    few = tokenizers.train_tokenizer(config.Tokenizer("characters", 32), ["aab" + "c" * 40])
    assert [few.get_vocab()[char] for char in "cab"] == [5, 6, 7]
    assert few.backend_tokenizer.encode("ax", add_special_tokens=False).ids == [6, 1]


def test_words_are_what_blanks_part_and_line_ends():
    texts = ["b a\nb a <unk>,\n", "B  c\tb", *ODD]
    made = tokenizers.train_tokenizer(config.Tokenizer("words", 500, lowercase=False), texts)
    words = collections.Counter(word for text in texts for word in text.split())
    words["\n"] = sum(text.count("\n") for text in texts)
    for name in SPECIAL:
        del words[name]
    ordered = sorted(words, key=lambda word: (-words[word], word))
    assert made.convert_ids_to_tokens(range(5, 5 + len(ordered))) == ordered
    assert len(made.get_vocab()) == 5 + len(ordered)
    for text in texts:
        ids = made.backend_tokenizer.encode(text, add_special_tokens=False).ids
        cut = [word for line in text.split("\n") for word in [*line.split(), "\n"]][:-1]
        assert made.convert_ids_to_tokens(ids) == cut
    lower = tokenizers.train_tokenizer(config.Tokenizer("words", 32), ["B b a x" + "y" * 3000])
    assert lower.convert_ids_to_tokens(range(5, 8)) == ["b", "a", ""]
    assert lower.backend_tokenizer.encode("B z", add_special_tokens=False).ids == [5, 1]


def test_small_vocabularies():
    with pytest.raises(UserError, match=r"vocab_size=100 is too small for byte-level BPE: .* 261"):
        tokenizers.train_tokenizer(config.Tokenizer("bpe", 100), TEXTS)
    for kind in ("wordpiece", "unigram"):
        made = tokenizers.train_tokenizer(config.Tokenizer(kind, 32), TEXTS)
        assert len(made.get_vocab()) <= 32


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_without_room_says_how_large_it_must_be(kind):
    with pytest.raises(UserError, match="vocab_size=9 has no room beside 5 special tokens and 3"):
        tokenizers.train_tokenizer(config.Tokenizer(kind, 9, sentinels=3), TEXTS)
    if kind != "bpe":
        assert len(tokenizers.train_tokenizer(config.Tokenizer(kind, 7), TEXTS).get_vocab()) <= 7


def test_unigram_learns_from_all_of_a_long_word():
    words = {"▁" + 1500 * "ab" + 1500 * "xy": 2}
    pieces = dict(spiece.train(words, 30, sorted(set("".join(words)))))
    assert max(len(piece) for piece in pieces if "x" in piece) > 4


def test_unigram_of_empty_texts_is_refused():
    with pytest.raises(UserError, match="texts of train are all empty"):
        tokenizers.train_tokenizer(config.Tokenizer("unigram", 32), ["", " "])


def test_ids_with_gaps_have_room(tokenizer):
    vocab = {"[UNK]": 0, "good": 7, "film": 70_000}
    backend = Backend(models.WordPiece(vocab, unk_token="[UNK]"))
    gaps = Subwords(backend, {"unk_token": "[UNK]"}, {})
    assert tokenizers.vocabulary_size(gaps) == 70_001
    assert tokenizers.vocabulary_size(tokenizer) == len(tokenizer.get_vocab())


def test_unigram_finds_the_words_of_a_text():
    words = {"▁the": 50, "▁then": 20, "▁lather": 15, "▁other": 30, "▁t": 3}
    pieces = dict(spiece.train(words, 20, sorted(set("".join(words)))))
    assert {"▁the", "other"} & set(pieces)
    assert set("".join(words)) <= set(pieces)
    assert len(pieces) <= 20
    assert list(pieces.values()) == sorted(pieces.values(), reverse=True)
