"""Words of several tokens: where they begin in each kind of tokenizer, and which are chosen."""

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from trainer.config import Tokenizer as Settings
from trainer.data.subwords import Subwords
from trainer.data.tokenizer_training import train_tokenizer
from trainer.tasks.whole_words import chosen, extents, word_marks

TEXT = "the cat\nsat on the mat,\r\n\tthe catty cats sat"


def words_of(tokenizer: Subwords, text: str) -> list[list[str]]:
    """The tokens of a text, word by word."""
    begins, ends = word_marks(tokenizer)
    made: list[list[str]] = []
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    for before, id_ in zip([-1, *ids], ids, strict=False):
        if before < 0 or begins[id_] or ends[before]:
            made.append([])
        made[-1] += tokenizer.convert_ids_to_tokens([id_])
    return made


def trained(kind: str, size: int, *more: str) -> Subwords:
    settings = Settings(kind=kind, vocab_size=size, lowercase=False)
    return train_tokenizer(settings, [TEXT, "the cat sat on the mat", *more] * 3)


def test_words_of_byte_level_bpe_end_at_white_space_of_any_kind():
    found = words_of(trained("bpe", 264), TEXT)
    bare = [decoders.ByteLevel().decode(tokens).strip() for tokens in found]
    assert [word for word in bare if word] == TEXT.split()
    assert max(map(len, found)) > 1


def test_a_token_behind_white_space_of_several_bytes_begins_a_word():
    backend = Tokenizer(models.BPE({"a": 0, "ãĢĢ": 1, "ĠĠ": 2, "!ĊĊ": 3, "ãĢ": 4, "Ģa": 5}, []))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel()])
    begins, ends = word_marks(Subwords(backend, {}, {}))
    assert begins.tolist() == [False, True, True, False, False, False]
    assert ends.tolist() == [False, True, True, True, False, False]


def test_words_of_sentencepiece_begin_with_its_mark():
    tokenizer = trained("unigram", 48)
    found = words_of(tokenizer, TEXT)
    bare = ["".join(tokens).replace("▁", "") for tokens in found]
    assert [word for word in bare if word] == TEXT.split()
    assert ["▁"] not in found


def test_words_of_a_model_that_falls_back_on_bytes_end_at_a_line_end():
    vocabulary = {"▁the": 0, "cat": 1, "<0x0A>": 2, "<0xE2>": 3, "▁": 4}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    begins, ends = word_marks(Subwords(backend, {}, {}))
    assert begins.tolist() == [True, False, True, False, True]
    assert ends.tolist() == [False, False, True, False, False]


def test_words_end_with_the_mark_of_an_end():
    backend = Tokenizer(models.BPE({"a": 0, "a</w>": 1}, [], end_of_word_suffix="</w>"))
    begins, ends = word_marks(Subwords(backend, {}, {}))
    assert not begins.any()
    assert ends.tolist() == [False, True]


@pytest.mark.parametrize("kind", ["words", "characters"])
def test_each_token_is_a_word_where_the_kind_has_no_marks(kind):
    tokenizer = trained(kind, 60, "Ġ ▁ ##a Ġa ▁a")
    assert {"Ġ", "▁"} <= tokenizer.get_vocab().keys()
    begins, ends = word_marks(tokenizer)
    assert begins.all()
    assert not ends.any()


def test_a_blank_of_another_kind_in_wordpiece_is_a_token():
    tokenizer = trained("wordpiece", 60, "Ġa ▁a")
    begins, _ = word_marks(tokenizer)
    vocabulary = tokenizer.get_vocab()
    assert all(begins[i] != token.startswith("##") for token, i in vocabulary.items())


def greedy(sizes, order, count):
    """Words in order while tokens are left, those too long passed over; the first as it fits."""
    taken, left = {}, count
    for i, word in enumerate(order):
        if not i or sizes[word] <= left:
            taken[word] = min(sizes[word], left)
            left -= taken[word]
    return taken


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.long)])
def test_words_are_passed_over_until_the_share_is_full(compiled):
    drawn = np.random.default_rng(0)
    rows, length = 24, 40
    sizes = [drawn.choice([1, 1, 1, 2, 3, 9], 40) for _ in range(rows)]
    sizes = [each[: np.searchsorted(np.cumsum(each), length, "right")] for each in sizes]
    begins, order = np.ones((rows, length), bool), np.full((rows, length), 2.0, np.float32)
    counts = drawn.integers(1, 12, rows)
    expected, orders = np.zeros((rows, length), bool), []
    for row, each in enumerate(sizes):
        orders.append(drawn.permutation(len(each)))
        first = np.cumsum(each) - each
        for place, word in enumerate(orders[-1]):
            begins[row, first[word] + 1 : first[word] + each[word]] = False
            order[row, first[word] : first[word] + each[word]] = place / 100
        for word, many in greedy(each, orders[-1], counts[row]).items():
            expected[row, first[word] : first[word] + many] = True

    @tf.function(jit_compile=compiled)
    def found(order_BT, begins_BT, count_B):
        return chosen(order_BT, *extents(begins_BT), count_B)

    count = tf.constant(counts, tf.int32)
    np.testing.assert_array_equal(found(tf.constant(order), tf.constant(begins), count), expected)
    np.testing.assert_array_equal(expected.sum(1) <= counts, True)
    assert expected.any(1).all()
    # Words that draw the same number stay whole.
    same = tf.constant(np.where(order < 2, np.float32(0.5), np.float32(2)))
    for row, each in enumerate(found(same, tf.constant(begins), count).numpy()):
        first = np.cumsum(sizes[row]) - sizes[row]
        held = greedy(sizes[row], range(len(sizes[row])), counts[row])
        assert [each[i : i + n].sum() for i, n in zip(first, sizes[row], strict=True)] == [
            held.get(word, 0) for word in range(len(first))
        ]
