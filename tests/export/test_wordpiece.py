"""Token ids made in a TensorFlow graph are those of the tokenizer in training."""

import collections
import importlib.util
import itertools
import os
import sys
import unicodedata

import odd_texts
import pytest
import tensorflow as tf
from programs import ROOT
from tokenizers import normalizers

from trainer.config import Data, Tokenizer
from trainer.data.encode import TextEncoder
from trainer.data.sources import open_source
from trainer.data.tokenizers import load_tokenizer, train_tokenizer
from trainer.export import tokenizing
from trainer.export.wordpiece import GraphTokenizer, why_not
from trainer.tasks.classification import Classification

MINILM = ROOT / "data" / "minilm"
SAMPLE = Data(name="imdb_sample", data_dir=str(ROOT / "data"))


def trained(**changes):
    """A small tokenizer of this library's own."""
    texts = list(itertools.islice(reviews(), 200))
    return train_tokenizer(Tokenizer(vocab_size=500, **changes), [*texts, *odd_texts.TEXTS[:-2]])


def reviews():
    return (row["text"] for row in open_source(SAMPLE, Classification()).rows("test"))


def different(encoder: TextEncoder, graph: GraphTokenizer, texts: list[str]) -> list[str]:
    """The texts whose ids are not equal."""
    features = graph(tf.constant([text.encode() for text in texts]))
    ids = features["input_ids"].numpy()
    lengths = features["attention_mask"].numpy().sum(1)
    found = []
    for text, encoded, row, length in zip(texts, encoder.encode(texts), ids, lengths, strict=True):
        if row[:length].tolist() != encoded.ids.tolist():
            found.append(text)
    return found


@pytest.mark.long
@pytest.mark.parametrize(("cut", "length"), [("head+tail", 384), ("head", 32), ("tail", 7)])
def test_odd_texts_and_reviews(cut, length):
    texts = [*odd_texts.TEXTS, *itertools.islice(reviews(), 200)]
    tokenizers = [trained(), trained(lowercase=False)]
    if MINILM.is_dir():
        tokenizers.append(load_tokenizer(MINILM))
    for tokenizer in tokenizers:
        encoder = TextEncoder(tokenizer, length, cut)
        assert different(encoder, GraphTokenizer(tokenizer, encoder), texts) == []


def test_bytes_that_are_no_text_and_no_texts_at_all():
    tokenizer = trained()
    graph = GraphTokenizer(tokenizer, TextEncoder(tokenizer, 16, "head"))
    with_junk = graph(tf.constant([b"\xffa fine\xfe film"]))["input_ids"].numpy()
    assert with_junk.tolist() == graph(tf.constant([b"a fine film"]))["input_ids"].numpy().tolist()
    assert graph(tf.constant([], tf.string))["input_ids"].shape[0] == 0


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_another_kind_is_named(kind):
    assert "not BERT's WordPiece" in why_not(trained(kind=kind))
    assert why_not(trained()) == ""
    task = Classification()
    assert ("kind BPE" in tokenizing.why_no_texts(task, trained(kind=kind))) == (kind == "bpe")


def test_tensorflow_text_is_needed_for_texts_only(monkeypatch):
    plain, pairs = Classification(), Classification(text_pair="more")
    own, other = trained(), trained(kind="bpe")
    asked = ((plain, own), (pairs, own), (plain, other))
    assert [tokenizing.can_write(*each) for each in asked] == [True, True, True]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [tokenizing.can_write(*each) for each in asked] == [False, True, True]


def test_other_steps_than_berts_are_named():
    tokenizer = trained()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert why_not(tokenizer) == (
        "its tokenizer prepares texts by Lowercase and BertPreTokenizer, not as BERT's does"
    )


@pytest.mark.slow
@pytest.mark.skipif("IMDB" not in os.environ, reason="IMDB= names no TFDS folder with imdb_reviews")
@pytest.mark.parametrize("kind", ["own", "minilm"])
def test_the_official_test_reviews(kind, finished):
    folder = finished / "tokenizer" if kind == "own" else MINILM
    tokenizer = load_tokenizer(folder)
    encoder = TextEncoder(tokenizer, 512, "head+tail")
    graph = GraphTokenizer(tokenizer, encoder)
    data = Data(name="imdb_reviews", data_dir=os.environ["IMDB"])
    texts = [row["text"] for row in open_source(data, Classification()).rows("test")]
    assert len(texts) == 25_000
    found = [different(encoder, graph, texts[i : i + 500]) for i in range(0, 25_000, 500)]
    equal = 1 - sum(map(len, found)) / len(texts)
    print(f"{kind}: ids are equal on {equal:.4%} of {len(texts):,} reviews")
    assert equal >= 0.999


@pytest.mark.slow
def test_every_character():
    """Alone in a word. What differs is newer than one library's tables of Unicode, or rare."""
    tokenizer = load_tokenizer(MINILM)
    encoder = TextEncoder(tokenizer, 512, "head+tail")
    graph = GraphTokenizer(tokenizer, encoder)
    every = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    found = []
    for part in (every[i : i + 20_000] for i in range(0, len(every), 20_000)):
        found += [text[1] for text in different(encoder, graph, [f"a{c}b" for c in part])]
    categories = collections.Counter(map(unicodedata.category, found)).most_common()
    print(f"{len(found)} of {len(every):,} characters differ, by category: {categories}")
    for category, _ in categories:
        some = [f"U+{ord(c):04X}" for c in found if unicodedata.category(c) == category]
        print(f"{category}: {' '.join(some[:8])} …")
    assert len(found) <= 600
