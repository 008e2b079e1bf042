"""A subword tokenizer: a backend of the `tokenizers` library, with the roles of special tokens.

transformers, whose import takes a second, is asked only for tokenizers of pretrained families.
"""

import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import Unigram, WordLevel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Of special tokens, as transformers names and orders them.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_UNBOUNDED = int(1e30)  # transformers' model_max_length of a tokenizer that has none


class Subwords:
    """A tokenizer; what it has is called as in PreTrainedTokenizerFast, which has more.

    Attributes:
      backend_tokenizer: cuts texts, and numbers the pieces.
      special_tokens_map: the special tokens of its vocabulary, by their roles in ROLES.
      settings: what else tokenizer_config.json says, as transformers takes it.
    """

    def __init__(
        self, backend: Tokenizer, special_tokens: dict[str, str], settings: dict[str, Any]
    ):
        """Takes the three as they are; `settings` decides if special tokens in texts are split."""
        self.backend_tokenizer, self.settings = backend, settings
        self.special_tokens_map = {
            role: special_tokens[role] for role in ROLES if role in special_tokens
        }
        self.split_special_tokens = bool(settings.get("split_special_tokens", False))
        backend.encode_special_tokens = self.split_special_tokens

    @property
    def mask_token_id(self) -> int | None:
        """The id of the token in the place of a masked one; None: it has none."""
        return self.id_of("mask_token")

    @property
    def pad_token_id(self) -> int | None:
        """The id of the padding token; None: it has none."""
        return self.id_of("pad_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id of the token at the end of a text; None: it has none."""
        return self.id_of("eos_token")

    @property
    def unk_token_id(self) -> int | None:
        """The id of the token in the place of unknown pieces; None: it has none."""
        return self.id_of("unk_token")

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens, those with roles first."""
        extra = self.settings.get("extra_special_tokens", ())
        return list(dict.fromkeys([*self.special_tokens_map.values(), *extra]))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of all special tokens, those with roles first."""
        ids = (self.backend_tokenizer.token_to_id(token) for token in self.all_special_tokens)
        return [i for i in ids if i is not None]

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that are found in a text before it is cut, by their ids."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    def get_vocab(self) -> dict[str, int]:
        """The ids of all tokens, special ones included."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def convert_ids_to_tokens(self, ids: Iterable[int] | np.ndarray) -> list[str]:
        """The tokens of ids, int [N]; an id that has none is an empty text."""
        return [self.backend_tokenizer.id_to_token(int(i)) or "" for i in ids]

    def decode(self, ids: Iterable[int] | np.ndarray, skip_special_tokens: bool = False) -> str:
        """The text of ids, int [N], as near as the tokenizer knows it."""
        if self.settings.get("clean_up_tokenization_spaces"):
            return self._made.decode(ids, skip_special_tokens=skip_special_tokens)
        return self.backend_tokenizer.decode([int(i) for i in ids], skip_special_tokens)

    def text_of(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of ids, int [N], as the model is given it: unknown pieces are shown as such."""
        roles = self.special_tokens_map.keys() - {"unk_token"}
        left_out = {*self.all_special_ids} - {self.unk_token_id} | {*map(self.id_of, roles)}
        return self.decode([i for i in map(int, ids) if i not in left_out])

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes the two files of PreTrainedTokenizerFast.save_pretrained, byte for byte.

        Of a Unigram tokenizer there is a third, spiece.model, where SentencePiece can do what it
        does: see `trainer.data.spiece.table_of`.

        Raises:
          OSError, or a plain Exception of the `tokenizers` library: they cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        said = {
            "backend": "tokenizers",
            "model_max_length": _UNBOUNDED,
            **self.settings,
            **self.special_tokens_map,
            "tokenizer_class": "TokenizersBackend",
        }
        text = json.dumps(said, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(f"{text}\n", encoding="utf-8")
        self.backend_tokenizer.save(str(folder / "tokenizer.json"))
        if isinstance(self.backend_tokenizer.model, Unigram):
            from trainer.data import spiece

            made = json.loads(self.backend_tokenizer.to_str())
            if table := spiece.table_of(made):
                (folder / "spiece.model").write_bytes(spiece.model_of(made, table))

    def for_transformers(self) -> "PreTrainedTokenizerFast":
        """Makes a tokenizer of transformers, with the same ids, around the same backend."""
        from transformers import PreTrainedTokenizerFast

        made = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(WordLevel({}, "")),  # it would change what it is given
            **self.special_tokens_map,
            **self.settings,
        )
        made._tokenizer = self.backend_tokenizer
        return made

    @functools.cached_property
    def _made(self) -> "PreTrainedTokenizerFast":
        return self.for_transformers()

    def id_of(self, role: str) -> int | None:
        """The id of the special token of a role, one of ROLES; None: it has none."""
        token = self.special_tokens_map.get(role)
        return None if token is None else self.backend_tokenizer.token_to_id(token)
