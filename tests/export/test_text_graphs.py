"""Unigram pieces and texts of ids, made in a graph, are those of the tokenizer in training."""

import gzip

import numpy as np
import odd_texts
import pytest
import sentencepiece
import tensorflow as tf
from programs import ROOT
from tokenizers import decoders, models

from tests.data.test_pretrained_tokenizers import t5_spiece
from trainer.config import Tokenizer
from trainer.data.encode import TextEncoder
from trainer.data.tokenizers import load_tokenizer, train_tokenizer
from trainer.export import decoding, tokenizing, unigram
from trainer.export.decoding import GraphDecoder
from trainer.export.unigram import UnigramTokenizer
from trainer.tasks.classification import Classification
from trainer.tasks.tagging import Tagging

KINDS = ("bpe", "unigram", "wordpiece", "words", "characters")
MULTI30K = ROOT.parent / "shared" / "data" / "multi30k"
SPECIAL = "[SEP] and [MASK][CLS] [sep] [PAD] [UNK]"  # in a text they are text


PLAIN = (
    "a fine film, which nobody saw",
    "größere Hunde liefen über die Straße.",
    *odd_texts.TEXTS[:2],
)


def trained(kind: str, texts=PLAIN, **changes):
    how = {"kind": kind, "vocab_size": 600, "lowercase": False, **changes}
    return train_tokenizer(Tokenizer(**how), list(texts))


def different(encoder: TextEncoder, graph: UnigramTokenizer, texts: list[str]) -> list[str]:
    found = graph(tf.constant([text.encode() for text in texts]))
    ids, lengths = found["input_ids"].numpy(), found["attention_mask"].numpy().sum(1)
    rows = zip(texts, encoder.encode(texts), ids, lengths, strict=True)
    return [text for text, each, row, n in rows if row[:n].tolist() != each.ids.tolist()]


@pytest.mark.parametrize("lowercase", [False, True])
def test_odd_texts_have_the_same_pieces_in_the_graph(lowercase):
    pytest.importorskip("tensorflow_text")
    tokenizer = trained("unigram", lowercase=lowercase)
    for cut, length in (("head", 24), ("head+tail", 7)):
        encoder = TextEncoder(tokenizer, length, cut)
        texts = [text for text in [*odd_texts.TEXTS, " a", "", " "] if text != SPECIAL]
        assert different(encoder, UnigramTokenizer(tokenizer, encoder), texts) == []


def test_the_pieces_of_t5_are_those_of_its_table(tmp_path):
    pytest.importorskip("tensorflow_text")
    t5 = load_tokenizer(t5_spiece(tmp_path / "t5"))
    encoder, texts = TextEncoder(t5, 24, "head"), [*odd_texts.TEXTS, " a", "", " "]
    (found,) = different(encoder, UnigramTokenizer(t5, encoder), texts)
    assert "\x85" in found  # a blank to transformers, and not to SentencePiece


@pytest.mark.parametrize("family", ["own", "own, lowercased", "t5"])
def test_the_model_that_is_kept_is_sentencepieces(tmp_path, family):
    own = family != "t5"
    if own:
        tokenizer = trained("unigram", lowercase=family != "own")
    else:
        tokenizer = load_tokenizer(t5_spiece(tmp_path / "t"))
    tokenizer.save_pretrained(tmp_path / "kept")
    kept = sentencepiece.SentencePieceProcessor(str(tmp_path / "kept" / "spiece.model"))
    encoder = TextEncoder(load_tokenizer(tmp_path / "kept"), 10**6, "head")
    texts = [text for text in [*odd_texts.TEXTS, " a", "", " "] if text != SPECIAL]
    # Every character of the lower planes, 16 a text, inside of words and between them.
    texts += [
        "".join(f"a{char}b {char}" for char in map(chr, range(first, first + 16)))
        for first in range(16, 0x30000, 16)
        if not 0xD800 <= first < 0xE000
    ]
    around = slice(1, -1) if own else slice(0, -1)
    pairs = zip(texts, encoder.encode(texts), strict=True)
    found = [text for text, made in pairs if made.ids[around].tolist() != kept.encode(text)]
    assert all("\x85" in text for text in found)  # see docs/use/tokenizers.md
    assert bool(found) != own


@pytest.mark.slow
@pytest.mark.skipif(not MULTI30K.is_dir(), reason="there is no Multi30k beside this checkout")
def test_sentences_of_multi30k_have_the_same_pieces():
    def lines(name: str) -> list[str]:
        with gzip.open(MULTI30K / name, "rt", encoding="utf-8") as file:
            return file.read().splitlines()

    texts = [*lines("train.en.gz")[:4000], *lines("train.de.gz")[:4000]]
    tokenizer = trained("unigram", texts, vocab_size=4000)
    encoder = TextEncoder(tokenizer, 96, "head")
    tests = [*lines("test_2016_flickr.en.gz"), *lines("test_2016_flickr.de.gz")]
    assert len(tests) == 2000
    assert different(encoder, UnigramTokenizer(tokenizer, encoder), tests) == []


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_ids_are_those_of_the_tokenizer(kind):
    tokenizer = trained(kind)
    backend, random = tokenizer.backend_tokenizer, np.random.default_rng(0)
    ids = random.integers(0, backend.get_vocab_size(), [300, 9]).astype(np.int32)
    lengths = random.integers(0, 10, 300)
    if kind == "bpe":  # bytes in any order are no texts
        real = [each.ids for each in backend.encode_batch([t for t in odd_texts.TEXTS if t])]
        lengths = np.array([len(each) for each in real])
        ids = np.zeros([len(real), lengths.max()], np.int32)
        for row, of in zip(ids, real, strict=True):
            row[: len(of)] = of
    found = GraphDecoder(tokenizer, end_id=3)(tf.constant(ids), tf.constant(lengths))
    rows = zip(ids.tolist(), lengths, strict=True)
    assert [text.decode() for text in found.numpy()] == [backend.decode(r[:n]) for r, n in rows]


def test_what_the_graph_cannot_do_is_named():
    plain, own, bpe = Classification(), trained("unigram"), trained("bpe")
    assert tokenizing.why_no_texts(plain, own) == ""
    said = tokenizing.why_no_texts(plain, bpe)
    assert "of the kind BPE" in said
    assert "config.tokenizer.kind='unigram'" in said
    assert "it answers words" in tokenizing.why_no_texts(Tagging(), own)
    other = trained("unigram")
    other.backend_tokenizer.model = models.Unigram([("[UNK]", 0.0), ("a\0", -1.0)], unk_id=0)
    assert "the character NUL" in unigram.why_not(other)
    other = trained("unigram")
    other.backend_tokenizer.normalizer = None
    assert "prepares texts otherwise" in unigram.why_not(other)
    other.backend_tokenizer.decoder = decoders.CTC()
    assert decoding.why_not(other) == "its tokenizer makes texts of tokens by CTC"
