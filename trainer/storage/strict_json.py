"""One reader of JSON for the whole library: bounded, and without room for two readings.

Python's own reader keeps the last of two equal keys, makes NaN and infinities of words and large
exponents, and recurses as deep as a text asks. Files of a workdir, of a tokenizer or of a
pretrained model, rows of JSONL and messages from the network come from elsewhere: they are read
here.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

MAX_BYTES = 2**28  # of a file: a tokenizer.json of 250,000 tokens has some 2**24
MAX_DEPTH = 64  # of objects and lists in each other; files of this library use fewer than 10
MAX_DIGITS = 40  # of an integer: transformers writes 10**30 for "no limit"
_STRING = re.compile(
    r'"(?:[^"\\]|\\.)*+(?:"|$|\\$)', re.DOTALL
)  # one pass, also where none ends it
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class InvalidJson(ValueError):
    """A text that is not JSON, or more than this reader takes; the message says where or what."""


def loads(text: str | bytes, finite: bool = True) -> Any:
    """The value of a JSON text (RFC 8259), with finite numbers and without repeated keys.

    Args:
      text: the text.
      finite: false where NaN and infinities are taken, as Python writes them.

    Raises:
      InvalidJson: it is no JSON, not UTF-8, nested deeper than MAX_DEPTH, repeats a key in an
        object, or holds NaN, an infinity or an integer of over MAX_DIGITS digits.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(text)
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant if finite else float,
            parse_float=_finite if finite else float,
            parse_int=_integer,
        )
    except InvalidJson:
        raise
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise InvalidJson(f"nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise InvalidJson(str(error)) from error


def read(path: Path) -> dict[str, Any]:
    """The object in a file of UTF-8 JSON; all its strings are valid Unicode.

    Raises:
      OSError: the file cannot be read.
      InvalidJson: see `loads`; also for over MAX_BYTES, or a value that is no object.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidJson(f"over {MAX_BYTES:,} bytes")
    return as_object(content)


def as_object(text: str | bytes) -> dict[str, Any]:
    """Parses as `loads` an object whose strings are all valid Unicode.

    Raises:
      InvalidJson: see `loads`; also for a value that is no object.
    """
    value = loads(text)
    if not isinstance(value, dict):
        raise InvalidJson(f"a JSON object is expected, is {str(value)[:40]!r}")
    if _HALF_PAIR.search(text if isinstance(text, str) else text.decode()):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InvalidJson("half of a surrogate pair is no character") from error
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidJson(f"nested deeper than {MAX_DEPTH}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for twice, _ in pairs:
            if twice in seen:
                break
            seen.add(twice)
        raise InvalidJson(f"the key {twice[:40]!r} stands twice in an object")
    return made


def _no_constant(name: str) -> None:
    raise InvalidJson(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidJson(f"{digits[:40]} is not finite")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidJson(f"an integer of {len(digits):,} digits")
    return int(digits)
