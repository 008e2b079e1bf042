"""Values of a JSON object, each checked for its type and range where it is read.

Every function raises `Invalid`, whose message names the field and what it may be.
"""

import math
from collections.abc import Mapping
from typing import Any

from trainer.errors import shown

INT64 = 2**63 - 1


class Invalid(ValueError):
    """A field that is missing, of another type, or out of its range."""


def value(values: Mapping[str, Any], name: str) -> Any:
    """The field, of whatever type."""
    if name not in values:
        raise Invalid(f"{name} is missing")
    return values[name]


def mapping(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A JSON object."""
    found = value(values, name)
    if not isinstance(found, dict):
        raise Invalid(f"{name} must be an object, is {shown(found)}")
    return found


def items(values: Mapping[str, Any], name: str, most: int) -> list[Any]:
    """A list of at most `most` values."""
    found = value(values, name)
    if not isinstance(found, list):
        raise Invalid(f"{name} must be a list, is {shown(found)}")
    if len(found) > most:
        raise Invalid(f"{name} holds {len(found):,} values, over {most:,}")
    return found


def integer(values: Mapping[str, Any], name: str, low: int = 0, high: int = INT64) -> int:
    """A whole number in [low, high]; True is none."""
    found = value(values, name)
    if type(found) is not int or not low <= found <= high:
        raise Invalid(f"{name} must be a whole number from {low} to {high}, is {shown(found)}")
    return found


def number(
    values: Mapping[str, Any], name: str, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number in [low, high]; True is none."""
    found = value(values, name)
    if type(found) not in (int, float) or not math.isfinite(found) or not low <= found <= high:
        bounds = "" if math.isinf(low) and math.isinf(high) else f" from {low:.6g} to {high:.6g}"
        raise Invalid(f"{name} must be a number{bounds}, is {shown(found)}")
    return float(found)


def number_or_nan(
    values: Mapping[str, Any], name: str, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number in [low, high]; null is NaN, which JSON has no word for."""
    return math.nan if value(values, name) is None else number(values, name, low, high)


def text(values: Mapping[str, Any], name: str) -> str:
    """A text."""
    found = value(values, name)
    if not isinstance(found, str):
        raise Invalid(f"{name} must be a text, is {shown(found)}")
    return found


def flag(values: Mapping[str, Any], name: str) -> bool:
    """True or False."""
    found = value(values, name)
    if not isinstance(found, bool):
        raise Invalid(f"{name} must be true or false, is {shown(found)}")
    return found
