"""Texts from flags and variables: what may be quoted in a message, or written to a manifest."""

import unicodedata
from collections.abc import Iterable

from trainer.errors import UserError, shown

LONGEST = 80  # characters of a text in a message
_ODD = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are not UTF-8, line ends
_TURNED = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # shown in another order


def shortened(text: str) -> str:
    """A text for a message, without quotes: for what follows a name and an equals sign."""
    shown = "".join(ascii(c)[1:-1] if is_odd(c) else c for c in text[:LONGEST])
    return shown if len(text) <= LONGEST else f"{shown}..."


def is_odd(text: str) -> bool:
    """True for a text that a line of a file cannot hold, or that shows another than it is."""
    return any(unicodedata.category(c) in _ODD or c in _TURNED for c in text)


def check_plain(texts: Iterable[str]) -> None:
    """Refuses texts with line breaks, control characters, or bytes that are not UTF-8.

    Raises:
      UserError: the first of them.
    """
    for text in texts:
        if is_odd(text):
            raise UserError(f"{shown(text)} holds a line break or odd character: remove it")
