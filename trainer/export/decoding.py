"""Texts of token ids inside a TensorFlow graph, as the `tokenizers` library makes them outside.

Its decoders take token by token, and only the first one of a text otherwise than those behind it:
so two tables of pieces say what a text is. Bytes that are no character, in a byte-level tokenizer,
become the sign U+FFFD, whose number may differ.
"""

import json

import tensorflow as tf
from tokenizers.decoders import Decoder

from trainer.data.encode import plain_backend
from trainer.data.subwords import Subwords
from trainer.data.tokenizers import vocabulary_size

_PER_TOKEN = ("", "Fuse", "Metaspace", "WordPiece")  # kinds of decoders; "": none
_BYTES = "ByteLevel"


def why_not(tokenizer: Subwords) -> str:
    """Why the graph cannot make the texts that a tokenizer makes of ids; empty if it can."""
    kind = _kind(tokenizer)
    if kind not in (*_PER_TOKEN, _BYTES):
        return f"its tokenizer makes texts of tokens by {kind}"
    return ""


def _kind(tokenizer: Subwords) -> str:
    made = json.loads(plain_backend(tokenizer).to_str())
    return (made["decoder"] or {"type": ""})["type"]


class GraphDecoder(tf.Module):
    """Token ids to texts, special tokens left out.

    Args:
      tokenizer: see `why_not`.
      end_id: a token that is left out as well.
    """

    def __init__(self, tokenizer: Subwords, end_id: int):
        super().__init__()
        backend, size = plain_backend(tokenizer), vocabulary_size(tokenizer)
        tokens = [backend.id_to_token(i) or "" for i in range(size)]
        of_bytes = _kind(tokenizer) == _BYTES
        made = [_bytes(t) if of_bytes else _texts(t, backend.decoder) for t in tokens]
        first, later = zip(*made, strict=True)
        self._first, self._later = tf.constant(first), tf.constant(later)
        added = json.loads(backend.to_str())["added_tokens"]
        left_out = {end_id, *(token["id"] for token in added if token["special"])}
        self._shown = tf.constant([i not in left_out and bool(tokens[i]) for i in range(size)])

    def __call__(self, ids_BN, lengths_B):
        """int32 [B, N] and the number of real ones [B] -> string [B]."""
        ids = tf.RaggedTensor.from_tensor(ids_BN, lengths_B)
        ids = tf.ragged.boolean_mask(ids, ids.with_values(tf.gather(self._shown, ids.values)))
        begins = tf.ragged.range(ids.row_lengths()).values == 0
        texts = tf.where(
            begins, tf.gather(self._first, ids.values), tf.gather(self._later, ids.values)
        )
        joined = tf.strings.reduce_join(ids.with_values(texts), axis=1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")


def _texts(token: str, decoder: Decoder | None) -> tuple[bytes, bytes]:
    """A token at the beginning of a text, and behind another one."""
    if decoder is None:  # blanks stand between tokens
        return token.encode(), f" {token}".encode()
    before = decoder.decode(["x"])
    return (
        decoder.decode([token]).encode(),
        decoder.decode(["x", token]).removeprefix(before).encode(),
    )


def _bytes(token: str) -> tuple[bytes, bytes]:
    made = bytes(_BYTE_OF.get(character, 0) for character in token)
    return made, made


def _byte_alphabet() -> dict[str, int]:
    """The byte of each character that GPT-2's tokenizer writes bytes with.

    Radford et al., 2019: printable characters of Latin-1 stand for themselves, the others follow
    from U+0100 on.
    """
    own = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in own]
    return {chr(byte): byte for byte in own} | {
        chr(0x100 + i): byte for i, byte in enumerate(others)
    }


_BYTE_OF = _byte_alphabet()
