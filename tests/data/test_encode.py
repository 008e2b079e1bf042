"""Encoding: special tokens of any tokenizer, and which part of a long text is kept."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from trainer.data.encode import TextEncoder
from trainer.errors import UserError

VOCAB = {f"w{i}": i for i in range(600)} | {"<s>": 600, "</s>": 601, "<pad>": 602}


def words(first, last):
    return " ".join(f"w{i}" for i in range(first, last))


def make(template=None, **special):
    backend = Tokenizer(models.WordLevel(VOCAB, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template:
        single, pair = template
        tokens = [(t, VOCAB[t]) for t in ("<s>", "</s>")]
        backend.post_processor = processors.TemplateProcessing(single, pair, tokens)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


BERT = ("<s> $A </s>", "<s> $A </s> $B:1 </s>:1")
ROBERTA = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
T5 = ("$A </s>", "$A </s> $B </s>")


def encode(tokenizer, length, cut, text, pair=None):
    encoder = TextEncoder(tokenizer, length, cut)
    return encoder.encode([text], None if pair is None else [pair])[0]


@pytest.mark.parametrize("template", [BERT, ROBERTA, T5, None])
@pytest.mark.parametrize("pair", [None, words(5, 9), ""])
def test_what_fits_is_what_the_tokenizer_itself_makes(template, pair):
    tokenizer = make(template, pad_token="<pad>")
    for text in (words(0, 4), ""):
        made = encode(tokenizer, 32, "head", text, pair)
        expected = tokenizer.backend_tokenizer.encode(text, pair)
        assert made.ids.tolist() == (expected.ids or [602])
        types = (np.arange(len(made.ids)) >= made.second_start).astype(int)
        assert types.tolist() == (expected.type_ids or [0])
        assert not made.cut


def test_a_long_text_keeps_the_part_that_is_asked_for():
    tokenizer = make(BERT)

    def kept(length, cut, count=500):
        made = encode(tokenizer, length, cut, words(0, count))
        assert made.cut == (count > length - 2)
        assert made.ids[[0, -1]].tolist() == [600, 601]
        return made.ids[1:-1].tolist()

    assert kept(12, "head") == list(range(10))
    assert kept(12, "tail") == list(range(490, 500))
    assert kept(302, "head+tail") == [*range(128), *range(328, 500)]
    assert kept(130, "head+tail") == [*range(64), *range(436, 500)]
    assert kept(13, "head+tail") == [*range(5), *range(494, 500)]
    assert kept(12, "head+tail", 10) == list(range(10))


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(50, 3, (14, 3)), (3, 50, (3, 14)), (50, 50, (9, 8)), (9, 8, (9, 8)), (0, 50, (0, 17))],
)
def test_a_pair_is_trimmed_longest_first(first, second, kept):
    made = encode(make(BERT), 20, "head", words(0, first), words(100, 100 + second))
    one, two = kept
    ids = [600, *range(one), 601, *range(100, 100 + two), 601]
    assert made.ids.tolist() == ids
    assert made.second_start == one + 2
    assert made.cut == (first + second > 17)


def test_a_tokenizers_own_cutting_and_padding_are_put_off():
    tokenizer = make(BERT, pad_token="<pad>")
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=4)
    assert len(encode(tokenizer, 64, "head", words(0, 30)).ids) == 32
    assert len(encode(tokenizer, 64, "head", "w1").ids) == 3
    assert tokenizer.backend_tokenizer.truncation  # the tokenizer itself is left as it was


@pytest.mark.parametrize(
    ("cut", "length", "count", "said"),
    [
        (
            "head",
            12,
            10,
            r"field has 10 tokens, which leave no room for a source in .*max_length=12",
        ),
        ("head+tail", 12, 6, r"config\.data\.cut='head\+tail' would cut field off a long source"),
        ("tail", 12, 1, r"config\.data\.cut='tail' would cut field off a long source"),
    ],
)
def test_a_prefix_that_a_source_would_not_keep_is_refused(cut, length, count, said):
    encoder = TextEncoder(make(ROBERTA), length, cut)
    encoder.check_prefix("", "field")
    with pytest.raises(UserError, match=said):
        encoder.check_prefix(words(0, count), "field")
    if cut != "tail":
        encoder.check_prefix(words(0, count - 1), "field")


def test_no_room_for_a_text_is_refused():
    with pytest.raises(UserError, match=r"max_length=4 leaves no room beside .* 4 special"):
        TextEncoder(make(ROBERTA), 4, "head")
