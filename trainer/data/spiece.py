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
_METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
_OF_T5 = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE]}
_TABLE = ["Precompiled"]
_OWN = [*_TABLE, "Replace", "Replace"]  # the normalizers of this library's own tokenizers
MAX_WORD = 1000  # characters: a longer word is trained on in parts


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
                for start in range(0, len(part), MAX_WORD):
                    yield f"{part[start : start + MAX_WORD]}\t{count}"

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


def table(lowercase: bool) -> bytes:
    """SentencePiece's table of what it makes of characters: NFKC, and blanks of control characters.

    Args:
      lowercase: whether it folds case too, which makes "ss" of "\u00df".
    """
    name = "nmt_nfkc_cf" if lowercase else "nmt_nfkc"
    model = sentencepiece.SentencePieceNormalizer(rule_name=name).serialized_model_proto()
    return proto.ModelProto.FromString(model).normalizer_spec.precompiled_charsmap


def table_of(made: Mapping[str, Any]) -> bytes:
    """The table by which a tokenizer.json prepares texts; empty if it does not as SentencePiece."""
    whole = made["normalizer"] or {}
    steps = whole.get("normalizers", [whole])
    kinds = [each.get("type") for each in steps]
    if (kinds, made["pre_tokenizer"]) not in ((_OWN, _METASPACE), (_TABLE, _OF_T5)):
        return b""
    return base64.b64decode(steps[0]["precompiled_charsmap"])


def model_of(made: Mapping[str, Any], prepared: bytes = b"") -> bytes:
    """The spiece.model of a tokenizer.json of a Unigram tokenizer, with its ids.

    Args:
      made: the object in the file.
      prepared: see `table_of`; empty: a text, and its blanks, are taken as they are.
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
    how.name, how.precompiled_charsmap = "precompiled" if prepared else "identity", prepared
    how.add_dummy_prefix = how.remove_extra_whitespaces = bool(prepared)
    return model.SerializeToString()
