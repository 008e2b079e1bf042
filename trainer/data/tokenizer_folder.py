"""The files of a tokenizer's folder, read strictly: what they hold and what they say of it."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trainer.batch import INPUTS
from trainer.data.subwords import ROLES
from trainer.errors import UserError
from trainer.storage import strict_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WHOLE = "tokenizer.json"
VOCABULARIES = (WHOLE, "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
CONFIG, MODEL = "tokenizer_config.json", "config.json"
SETTINGS = (CONFIG, MODEL, "special_tokens_map.json", "added_tokens.json")
MAX_BYTES = 2**26  # of a vocabulary: the largest published ones have some 2**25
MAX_SETTINGS = 2**24  # bytes of a file of settings
MAX_IDS = 2**21  # of a vocabulary: eight times the largest published ones
MAX_TOKEN = 2000  # characters of a token
MAX_REPLACEMENT = 100  # characters that a normalizer or a decoder puts in the place of others
FAMILIES = {  # classes of transformers, by the model_type of config.json
    "albert": "AlbertTokenizer",
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "BertTokenizer",
    "gpt2": "GPT2Tokenizer",
    "roberta": "RobertaTokenizer",
    "t5": "T5Tokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
_KEPT: dict[str, tuple[Any, ...]] = {  # settings of any tokenizer, with their values
    "clean_up_tokenization_spaces": (True, False),
    "split_special_tokens": (True, False),
    "padding_side": ("right", "left"),
    "truncation_side": ("right", "left"),
}
_OF_CLASS = (  # settings that the classes of FAMILIES take
    *("do_lower_case", "strip_accents", "tokenize_chinese_chars"),
    *("keep_accents", "add_prefix_space"),
)


class Folder:
    """The files of a folder with a tokenizer, each checked for its size, syntax and shape.

    Attributes:
      there: the names of VOCABULARIES that it has.
      text: of tokenizer.json, empty where there is none. content: the object in it.
      roles: the tokens that the settings name, by their roles in ROLES; None: expressly none.
      kept: settings that any tokenizer takes. of_class: those that its class takes.
      class_name: of transformers, without "Fast". model_type: of config.json. Both may be empty.

    Raises:
      UserError: a file that cannot be read, is too large or damaged, or says what makes no sense.
    """

    def __init__(self, path: Path, where: str):
        """Reads what is in `path`; `where` is what messages begin with."""
        self.path, self._where = path, where
        self.there = [name for name in VOCABULARIES if (path / name).is_file()]
        config, model, special, _ = (self._object(name, MAX_SETTINGS) for name in SETTINGS)
        self.content = self._object(WHOLE, MAX_BYTES)
        self.text = self._bytes(WHOLE, MAX_BYTES).decode() if self.content else ""
        if not self.text:
            for name in self.there:
                self._check_vocabulary(name)
        # As transformers reads them: special_tokens_map.json is of its earlier versions.
        self.roles = self._roles(CONFIG, config)
        if "added_tokens_decoder" not in config:
            self.roles |= self._roles(SETTINGS[2], special)
        self.kept = self._kept(config)
        self.of_class = {key: config[key] for key in _OF_CLASS if isinstance(config.get(key), bool)}
        self.model_type = self._name(MODEL, model, "model_type")
        self._classes = (
            self._name(CONFIG, config, "tokenizer_class"),
            self._name(MODEL, model, "tokenizer_class"),
        )
        self._code = config.get("auto_map")

    @property
    def class_name(self) -> str:
        """The class of transformers that the settings name, without "Fast"; may be empty."""
        return (self._classes[0] or self._classes[1]).removesuffix("Fast")

    @property
    def says_kind(self) -> bool:
        """True if the settings say which kind of tokenizer it is."""
        return bool(self.class_name or self.model_type)

    @property
    def needs_code(self) -> bool:
        """True if its class is code that comes with it, and none of transformers."""
        code = self._code.get("AutoTokenizer") if isinstance(self._code, dict) else self._code
        if not code:
            return False
        from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

        known = {*TOKENIZER_MAPPING_NAMES.values(), "PreTrainedTokenizer", "TokenizersBackend"}
        named = self.class_name in known or self.model_type in TOKENIZER_MAPPING_NAMES
        return not named

    @property
    def family_name(self) -> str:
        """The class of FAMILIES that the folder is for; empty where it is another or none."""
        if not self.class_name:
            return FAMILIES.get(self.model_type, "")
        name = self.class_name.replace("Electra", "Bert")
        return name if name in FAMILIES.values() else ""

    @functools.cached_property
    def family(self) -> type["PreTrainedTokenizerFast"] | None:
        """The class of transformers that is called `family_name`, if any."""
        if not self.family_name:
            return None
        import transformers

        return getattr(transformers, self.family_name)

    def patterns(self) -> tuple[str, ...]:
        """The texts and expressions that its steps look for; trials are made with them.

        Raises:
          UserError: a step would put a long text in the place of others.
        """
        steps = [self.content.get(key) for key in ("normalizer", "pre_tokenizer", "decoder")]
        found = list(_strings(steps))
        for key, value in found:
            if key in ("content", "prepend") and len(value) > MAX_REPLACEMENT:
                self.refuse(f"a step of {WHOLE} puts {len(value):,} characters in others' place")
        return tuple(value[:100] for key, value in found if key in ("String", "Regex"))[:100]

    def refuse(self, reason: str) -> NoReturn:
        """Raises a UserError."""
        raise UserError(f"{self._where}: {reason}")

    def _bytes(self, name: str, most: int) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            raise UserError(f"{self._where}: cannot read {name}: {error.strerror}") from error
        if len(content) > most:
            self.refuse(f"{name} has over {most:,} bytes")
        return content

    def _object(self, name: str, most: int) -> dict[str, Any]:
        if not (self.path / name).is_file():
            return {}
        try:
            return strict_json.as_object(self._bytes(name, most))
        except strict_json.InvalidJson as error:
            raise UserError(f"{self._where}: {name}: {str(error)[:200]}") from error

    def _check_vocabulary(self, name: str) -> None:
        if name.endswith(".json"):
            for token, i in self._object(name, MAX_BYTES).items():
                if type(i) is not int or not 0 <= i < MAX_IDS:
                    self.refuse(f"{name}: {token[:40]!r} has the id {str(i)[:40]!r}")
            return
        try:
            content = self._bytes(name, MAX_BYTES)
            if name.endswith(".txt"):
                content.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{self._where}: {name} is not UTF-8 at byte {error.start}") from error

    def _name(self, file: str, values: dict[str, Any], key: str) -> str:
        value = values.get(key) or ""
        if not isinstance(value, str) or len(value) > MAX_TOKEN:
            self.refuse(f"{file}: {key} must be a short text, is {str(value)[:40]!r}")
        return value

    def _roles(self, file: str, values: dict[str, Any]) -> dict[str, str | None]:
        return {role: self._token(file, role, values[role]) for role in ROLES if role in values}

    def _token(self, file: str, role: str, value: Any) -> str | None:
        content = value.get("content") if isinstance(value, dict) else value
        if value is None or (isinstance(content, str) and len(content) <= MAX_TOKEN):
            return content
        self.refuse(f"{file}: {role} must be a token, is {str(value)[:40]!r}")

    def _kept(self, config: dict[str, Any]) -> dict[str, Any]:
        kept = {}
        for key, values in _KEPT.items():
            if config.get(key) is not None:
                kept[key] = value = config[key]
                if not isinstance(value, type(values[0])) or value not in values:
                    allowed = " or ".join(str(each).lower() for each in values)
                    self.refuse(f"{CONFIG}: {key} must be {allowed}, is {str(value)[:40]!r}")
        length = config.get("model_max_length")
        if length is not None:
            if isinstance(length, bool) or not isinstance(length, int | float) or length <= 0:
                self.refuse(f"{CONFIG}: model_max_length must be positive, is {str(length)[:40]!r}")
            kept["model_max_length"] = length
        names = config.get("model_input_names")
        if names is not None:
            if not isinstance(names, list) or not set(map(str, names)) & set(INPUTS):
                self.refuse(f"{CONFIG}: model_input_names is {str(names)[:40]!r}")
            kept["model_input_names"] = [name for name in INPUTS if name in names]
        return kept


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings in a value of JSON, each with the key it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list | dict):
        for k, each in value.items() if isinstance(value, dict) else ((key, v) for v in value):
            yield from _strings(each, k)
