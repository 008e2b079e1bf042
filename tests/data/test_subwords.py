"""Subwords against transformers' own class: the bytes of its files, ids, special tokens, texts."""

import pytest

from tests.data.test_pretrained_tokenizers import bert, gpt2, roberta
from trainer import config
from trainer.data.tokenizer_training import train_tokenizer
from trainer.data.tokenizers import load_tokenizer

TEXTS = ["the film", "Film café, №5: don't!"]


def trained(folder):
    return train_tokenizer(config.Tokenizer(vocab_size=60), TEXTS * 9)


@pytest.mark.parametrize("make", [trained, bert, roberta, gpt2])
def test_it_is_what_transformers_makes_of_it(make, tmp_path):
    made = make(tmp_path / "published")
    ours = made if make is trained else load_tokenizer(made, own=True)
    theirs = ours.for_transformers()
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    files = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "ours").iterdir())
    for name in files:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.all_special_ids == theirs.all_special_ids
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert ours.split_special_tokens == theirs.split_special_tokens
    for role in ("mask", "pad", "eos", "unk"):
        assert getattr(ours, f"{role}_token_id") == getattr(theirs, f"{role}_token_id")
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)
        for skip in (False, True):
            assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip)
