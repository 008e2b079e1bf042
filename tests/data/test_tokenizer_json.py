"""Folders with tokenizer.json: the ids are what the `tokenizers` library makes of that file alone.

transformers 5 makes others of most of the forms here: it keeps the vocabulary and little else.
"""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, XLMRobertaTokenizer

from tests.data.test_pretrained_tokenizers import (
    TEXTS,
    albert,
    bert,
    byte_level,
    distilbert,
    electra,
    gpt2,
    publish,
    roberta,
    unigram,
    write,
)
from trainer.data.encode import TextEncoder
from trainer.data.tokenizers import load_tokenizer
from trainer.errors import UserError

SAID = "the ids are those of tokenizer.json"


def xlm_roberta(folder):
    pieces = [*unigram(["<s>", "<pad>", "</s>", "<unk>"]), ("<mask>", 0.0)]
    return publish(XLMRobertaTokenizer(pieces), folder, "xlm-roberta")


STRICT = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": False}
NORMALIZER = {"type": "BertNormalizer", "lowercase": True, **STRICT}
FORMS: dict[str, dict] = {
    "published": {},
    "sequence": {"normalizer": {"type": "Sequence", "normalizers": [NORMALIZER]}},
    "unnormalized": {"normalizer": None},
    "lowercase": {"normalizer": {"type": "Lowercase"}},
    "whitespace": {"pre_tokenizer": {"type": "WhitespaceSplit"}},
    "no template": {"post_processor": None},
    "no added tokens": {"added_tokens": []},
    "cut and padded": {
        "truncation": {
            **{"direction": "Right", "max_length": 4},
            **{"strategy": "LongestFirst", "stride": 0},
        },
        "padding": {
            **{"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None},
            **{"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        },
    },
}
FAMILIES = (bert, distilbert, electra, roberta, xlm_roberta, albert, gpt2)
# The forms of which transformers makes the same ids; of some families it has no normalizer.
KEPT = {
    **{make: {"published", "cut and padded"} for make in (bert, distilbert, electra, albert)},
    **{make: {"published", "cut and padded", "unnormalized"} for make in (roberta, xlm_roberta)},
    gpt2: {"published", "cut and padded", "unnormalized", "no template"},
}


def change(folder: Path, **parts) -> Path:
    """Sets parts of tokenizer.json."""
    content = json.loads((folder / "tokenizer.json").read_text())
    return write(folder, tokenizer=content | parts)


def alone(folder: Path) -> Tokenizer:
    made = Tokenizer.from_file(str(folder / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    return made


@pytest.mark.parametrize("make", FAMILIES, ids=[make.__name__ for make in FAMILIES])
@pytest.mark.parametrize("form", FORMS)
def test_ids_are_those_of_the_file_alone(make, form, tmp_path):
    folder = change(make(tmp_path / "published"), **FORMS[form])
    said: list[str] = []
    tokenizer = load_tokenizer(folder, said.append, own=True)
    expected = alone(folder)
    encoder = TextEncoder(tokenizer, 512, "head")
    texts = ["Film café", *TEXTS]
    for text, made in zip(texts, encoder.encode(texts), strict=True):
        assert made.ids.tolist() == (expected.encode(text).ids or [encoder.pad_id])
    seconds = [*texts[1:], texts[0]]
    for one, two, made in zip(texts, seconds, encoder.encode(texts, seconds), strict=True):
        pair = expected.encode(one, two)
        assert made.ids.tolist() == pair.ids
        assert [int(i >= made.second_start) for i in range(len(made.ids))] == pair.type_ids
    assert [SAID in note for note in said] == [True] * (form not in KEPT[make])

    tokenizer.save_pretrained(tmp_path / "kept")
    again = load_tokenizer(tmp_path / "kept", said.append, own=True)
    assert len(said) <= 1  # what is kept agrees with itself
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert again.special_tokens_map == tokenizer.special_tokens_map
    assert again.all_special_ids == tokenizer.all_special_ids
    for config in ({}, json.loads((folder / "config.json").read_text())):
        write(tmp_path / "kept", **({"config": config} if config else {}))
        theirs = AutoTokenizer.from_pretrained(tmp_path / "kept")
        assert theirs(texts)["input_ids"] == [expected.encode(text).ids for text in texts]
        made = theirs(texts, seconds)
        pairs = [expected.encode(one, two) for one, two in zip(texts, seconds, strict=True)]
        assert made["input_ids"] == [pair.ids for pair in pairs]
        if make in (bert, electra, albert) and form != "no template":
            assert made["token_type_ids"] == [pair.type_ids for pair in pairs]
        else:
            assert "token_type_ids" not in made


def test_the_note_shows_both(tmp_path):
    folder = change(bert(tmp_path / "bert"), **FORMS["no template"])
    said: list[str] = []
    load_tokenizer(folder, said.append)
    (note,) = said
    assert note == (
        f"Note: tokenizer {str(folder)!r}: the ids are those of tokenizer.json: 'Film café' is"
        " 'film cafe' (a BertTokenizer of transformers: '[CLS] film cafe [SEP]')"
    )


def test_a_file_of_another_kind_than_its_class(tmp_path):
    folder = write(gpt2(tmp_path / "gpt2"), config={"model_type": "bert"})
    said: list[str] = []
    tokenizer = load_tokenizer(folder, said.append)
    assert "is for BPE, its settings for a BertTokenizer: the ids are those of" in said[0]
    assert TextEncoder(tokenizer, 99, "head").encode(["Film"])[0].ids.tolist() == (
        alone(folder).encode("Film").ids
    )


def test_roles_that_the_vocabulary_has_no_token_for(tmp_path):
    folder = write(
        bert(tmp_path / "bert"), special_tokens_map={"pad_token": "<none>", "mask_token": "film"}
    )
    said: list[str] = []
    tokenizer = load_tokenizer(folder, said.append)
    assert any("its vocabulary lacks pad_token '<none>': left out" in note for note in said)
    assert tokenizer.pad_token_id is None
    assert tokenizer.get_vocab() == alone(folder).get_vocab()
    assert tokenizer.mask_token_id == alone(folder).token_to_id("film")
    ids = alone(folder).encode("the film").ids
    assert tokenizer.backend_tokenizer.encode("the film").ids == ids


def test_roles_without_settings_are_those_of_the_family_or_of_the_padding(tmp_path):
    folder = bert(tmp_path / "bert")
    for name in ("tokenizer_config", "special_tokens_map"):
        (folder / f"{name}.json").unlink()
    tokenizer = load_tokenizer(folder)
    roles = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    assert tokenizer.special_tokens_map == {f"{k}_token": v for k, v in roles.items()}
    (folder / "config.json").unlink()
    tokenizer = load_tokenizer(change(folder, **FORMS["cut and padded"]))
    assert tokenizer.special_tokens_map == {"pad_token": "[PAD]"}
    special = tokenizer.convert_ids_to_tokens(tokenizer.all_special_ids)
    assert set(special) == set(roles.values())


SHAPES = [
    ("tokenizer_config", {"pad_token": ["[PAD]"]}, "pad_token must be a token, is \"['[PAD]']\""),
    ("tokenizer_config", {"cls_token": {"content": {"a": 1}}}, "cls_token must be a token"),
    ("special_tokens_map", {"mask_token": 5}, "mask_token must be a token, is '5'"),
    ("tokenizer_config", {"tokenizer_class": ["Bert"]}, "tokenizer_class must be a short text"),
    ("tokenizer_config", {"model_max_length": "512"}, "model_max_length must be positive"),
    ("tokenizer_config", {"model_max_length": True}, "model_max_length must be positive"),
    ("tokenizer_config", {"split_special_tokens": 1}, "must be true or false, is '1'"),
    ("tokenizer_config", {"padding_side": "up"}, "padding_side must be right or left"),
    ("tokenizer_config", {"model_input_names": {"a": 1}}, "model_input_names is "),
    ("config", {"model_type": {"a": []}}, "model_type must be a short text"),
    ("added_tokens", [1], "a JSON object is expected"),
]


@pytest.mark.parametrize(("name", "content", "said"), SHAPES)
def test_settings_of_a_strange_shape_are_refused_in_one_line(name, content, said, tmp_path):
    folder = write(bert(tmp_path / "bert"), **{name: content})
    with pytest.raises(UserError) as caught:
        load_tokenizer(folder, own=True)
    assert said in str(caught.value)
    assert f"{name}.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"pad_token": "a", "pad_token": "b"}', "the key 'pad_token' stands twice"),
        (b"[" * 200_000, "nested deeper than 64"),
        (b'{"model_max_length": 1e999}', "1e999 is not finite"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": "' + b"x" * 2**24 + b'"}', "has over 16,777,216 bytes"),
    ],
)
def test_settings_are_read_strictly(text, said, tmp_path):
    folder = bert(tmp_path / "bert")
    (folder / "tokenizer_config.json").write_bytes(text)
    with pytest.raises(UserError, match=f"tokenizer_config.json.*{said}"):
        load_tokenizer(folder, own=True)


def test_vocabularies_of_other_files_are_read_strictly(tmp_path):
    folder = byte_level(tmp_path / "bytes", [])
    vocab = json.loads((folder / "vocab.json").read_text())
    for wrong in (-1, 900_000_000, "5", 1.5, True):
        write(folder, vocab=vocab | {"a": wrong})
        with pytest.raises(UserError, match=rf"vocab\.json: 'a' has the id '{wrong}'"):
            load_tokenizer(folder)
    (folder / "vocab.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match=r"vocab\.txt is not UTF-8 at byte 2"):
        load_tokenizer(folder)
