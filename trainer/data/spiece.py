"""SentencePiece's Unigram models, trained by its library (Kudo, 2018, arXiv:1804.10959)."""

import base64
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

from trainer.errors import UserError

SPACE = "\u2581"  # stands for a blank
_RESERVED = "\0\u2585"  # characters that SentencePiece's trainer keeps for itself
# The normalizers of this library's own tokenizers, by their types.
_BLANKS = ("Replace", "Replace")
OWN = (("Nmt", "NFKC", *_BLANKS), ("Nmt", "NFKC", "Lowercase", *_BLANKS))
_METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
_OF_T5 = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE]}
MAX_WORD = 1000  # characters; the rest of a longer word is left out


def train(words: dict[str, int], vocab_size: int, alphabet: list[str]) -> list[tuple[str, float]]:
    """The pieces, `vocab_size` or fewer if the words are few, and their log-probabilities.

    One thread, no sampling: the result is a function of the arguments.

    Args:
      words: the number of times that each word occurs; blanks are SPACE.
      alphabet: characters that are pieces in any case; a word is cut at any other character.

    Returns:
      (piece, log-probability), the most probable first.

    Raises:
      UserError: the alphabet is empty.
    """
    known = {*alphabet} - {*_RESERVED}
    if not known:
        raise UserError(
            "no tokenizer can be trained: the texts of train are all empty: check the columns that"
            " config.task names"
        )
    runs = re.compile("[" + re.escape("".join(sorted(known))) + "]+")

    def rows() -> Iterator[str]:
        for word, count in words.items():
            for part in runs.findall(word):
                yield f"{part[:MAX_WORD]}\t{count}"

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=rows(),
        model_writer=made,
        input_format="tsv",  # a word and its count
        model_type="unigram",
        vocab_size=vocab_size + 1,  # the unknown piece is one of them
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    pieces = proto.ModelProto.FromString(made.getvalue()).pieces
    normal = proto.ModelProto.SentencePiece.NORMAL
    return [(each.piece, round(each.score, 6)) for each in pieces if each.type == normal]


def rule_of(made: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """SentencePiece's name and table for how a tokenizer.json prepares texts; None: otherwise.

    The table of this library's own tokenizers does what theirs does, but for rare sequences of
    marks, and but for letters such as "ß", which it makes "ss" of where they are lowercased.
    """
    normalizer = made["normalizer"] or {}
    if normalizer.get("type") == "Precompiled" and made["pre_tokenizer"] == _OF_T5:
        return "nmt_nfkc", base64.b64decode(normalizer["precompiled_charsmap"])
    if steps_of(made) not in OWN or made["pre_tokenizer"] != _METASPACE:
        return None
    name = "nmt_nfkc_cf" if "Lowercase" in steps_of(made) else "nmt_nfkc"
    model = sentencepiece.SentencePieceNormalizer(rule_name=name).serialized_model_proto()
    return name, proto.ModelProto.FromString(model).normalizer_spec.precompiled_charsmap


def steps_of(made: Mapping[str, Any]) -> tuple[str, ...]:
    """The types of the normalizers of a tokenizer.json; of one that is no sequence, none."""
    return tuple(each["type"] for each in (made["normalizer"] or {}).get("normalizers", ()))


def model_of(made: Mapping[str, Any], rule: str = "identity", table: bytes = b"") -> bytes:
    """The spiece.model of a tokenizer.json of a Unigram tokenizer, with its ids.

    Args:
      made: the object in the file.
      rule, table: see `rule_of`; "identity": a text, and its blanks, are taken as they are.
    """
    special = {token["id"] for token in made["added_tokens"]}
    model, kinds = proto.ModelProto(), proto.ModelProto.SentencePiece
    for id_, (piece, score) in enumerate(made["model"]["vocab"]):
        kind = kinds.CONTROL if id_ in special else kinds.NORMAL
        if id_ == made["model"]["unk_id"]:
            kind = kinds.UNKNOWN
        model.pieces.add(piece=piece, score=score, type=kind)
    spec = model.trainer_spec
    spec.model_type, spec.vocab_size = spec.UNIGRAM, len(model.pieces)
    spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id = made["model"]["unk_id"], -1, -1, -1
    spec.unk_piece = made["model"]["vocab"][spec.unk_id][0]
    how = model.normalizer_spec
    how.name, how.precompiled_charsmap = rule, table
    how.add_dummy_prefix = how.remove_extra_whitespaces = rule != "identity"
    return model.SerializeToString()
