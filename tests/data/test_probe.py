"""Tokenizers that load, and then fail, take hours or fill all memory: refused when they load."""

import base64
import json

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from trainer.data import probe
from trainer.data.encode import TextEncoder
from trainer.data.tokenizers import load_tokenizer
from trainer.errors import UserError

PARTS = dict.fromkeys(
    ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
)
WORDS = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
UNIGRAM = {"type": "Unigram", "unk_id": None, "vocab": [["a", -1.0]]}
PIECES = {
    **{"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[UNK]"},
    **{"continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
}
FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def whole(**parts) -> dict:
    return {"version": "1.0", "added_tokens": [], **PARTS, "model": WORDS, **parts}


def added(i: int, content: str) -> dict:
    return {"id": i, "content": content, "special": True, **FLAGS}


def split(expression: str) -> dict:
    how = {"behavior": "Isolated", "invert": False}
    return {"type": "Split", "pattern": {"Regex": expression}, **how}


def replace(text: str, by: str) -> dict:
    return {"type": "Replace", "pattern": {"String": text}, "content": by}


def sequence(*steps: dict) -> dict:
    return {"type": "Sequence", "normalizers": list(steps)}


def template(times: int, ids: list[int]) -> dict:
    special = {"SpecialToken": {"id": "a", "type_id": 0}}
    one, two = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        **{"single": [special] * times + [one], "pair": [one, two]},
        "special_tokens": {"a": {"id": "a", "ids": ids, "tokens": ["a"] * len(ids)}},
    }


CHARMAP = base64.b64encode(b"\x08\0\0\0" + b"\xff" * 8 + b"AAAA").decode()
FAULTS = {
    "no unknown piece": ({"model": PIECES}, "Missing [UNK] token from the vocabulary"),
    "no unknown id": ({"model": UNIGRAM}, "unknown token but `unk_id` is missing"),
    "no pieces": ({"model": {**UNIGRAM, "vocab": []}}, "fails"),
    "no words": ({"model": {**WORDS, "vocab": {}}}, "fails"),
    "negative": ({"model": {**WORDS, "vocab": {"a": -1}}}, "integer `-1`, expected u32"),
    "backtracking": ({"pre_tokenizer": split("(a+)+$")}, "retry-limit-in-match over"),
    "no expression": ({"pre_tokenizer": split("(")}, "fails"),
    "panic": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": CHARMAP}}, "fails"),
    "long for short": ({"normalizer": replace("a", "b" * 10**5)}, "in others' place"),
    "doubled": ({"normalizer": sequence(*[replace("a", "aa")] * 12)}, "makes over 1,040 char"),
    "rare doubled": ({"normalizer": sequence(*[replace("ⷔ", "ⷔⷔ")] * 12)}, "makes over 1,120"),
    "large template": ({"post_processor": template(10**4, [1])}, "makes over 1,000 tokens"),
    "large token": ({"post_processor": template(1, [1] * 10**4)}, "makes over 1,000 tokens"),
    "foreign id": ({"post_processor": template(1, [99])}, "it makes the id 99 at the text ''"),
    "shared ids": ({"model": {**WORDS, "vocab": {"[UNK]": 0, "a": 0}}}, "have the same id 0"),
    "gap": ({"model": {**WORDS, "vocab": {"[UNK]": 0, "a": 200_000}}}, "have ids up to 200,000"),
    "far": ({"model": {**WORDS, "vocab": {"[UNK]": 0, "a": 900_000_000}}}, "the id 900,000,000"),
    "huge token": ({"added_tokens": [added(2, "x" * 10**5)]}, "token 2 has 100,000 characters"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_it_is_refused_in_one_line(name, tmp_path):
    parts, said = FAULTS[name]
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole(**parts)))
    with pytest.raises(UserError, match=r"^cannot load tokenizer '") as caught:
        load_tokenizer(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_time_and_memory_end(monkeypatch):
    monkeypatch.setattr(probe, "SECONDS", 1)
    monkeypatch.setattr(probe, "_FAULTS", {})
    slow = sequence(*[replace("a", "a" * 20)] * 4, *[replace("aa", "a")] * 18)
    assert "take it over 1 seconds" in probe.fault_of(json.dumps(whole(normalizer=slow)))
    bytes_told = base64.b64encode(b"\xff\xff\xff\xff" + bytes(8)).decode()
    large = {"type": "Precompiled", "precompiled_charsmap": bytes_told}
    assert "take it over 1.0 GB of memory" in probe.fault_of(json.dumps(whole(normalizer=large)))


def test_good_ones_pass():
    assert probe.fault_of(json.dumps(whole())) == ""
    assert probe.fault_of(json.dumps(whole(normalizer=replace("a", "bcd")))) == ""


def test_a_text_that_it_fails_at_later_is_told():
    """No trial finds all: what fails at a row of the data is the user's, in one line too."""
    backend = Tokenizer.from_str(json.dumps(whole(pre_tokenizer=split("(z+)+$"))))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    encoder = TextEncoder(tokenizer, 16, "head")
    assert encoder.encode(["a"])[0].ids.tolist() == [1]
    for call in (lambda text: encoder.encode([text]), encoder.spans):
        with pytest.raises(UserError, match=r"fails at a text: Onig: Regex search error"):
            call("z" * 40 + "!")


@pytest.mark.parametrize(
    ("single", "pair", "said"),
    [
        ("$A", "$B $A", "each text once, in order"),
        ("$A $A", "$A $B", "each text once, in order"),
        ("$A", "$A:1 $B:0", "token types"),
        ("$A:1", "$A $B:1", "token types"),
        ("$A", "$A $B:2", "token types"),
    ],
)
def test_templates_that_batches_cannot_hold(single, pair, said):
    from tokenizers import processors

    backend = Tokenizer.from_str(json.dumps(whole()))
    backend.post_processor = processors.TemplateProcessing(single=single, pair=pair)
    with pytest.raises(UserError, match=said):
        TextEncoder(PreTrainedTokenizerFast(tokenizer_object=backend), 16, "head")
