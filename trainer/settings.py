"""Fields of settings: how a dataclass declares them, and what a value of one may be.

`trainer.config` and the tasks are made of them, and a task of your own may be: a plain default
(`margin: float = 0.2`) is a field too, without bounds.
"""

import math
import types
import typing
from dataclasses import field

from trainer.errors import UserError, shown
from trainer.storage.paths import not_unicode

LONGEST_TEXT = 4000  # characters of a text field
FROM_ROWS = -1
_TYPES: dict[type, dict[str, typing.Any]] = {}  # of the fields of classes


def one_of(*values: str, default: str | None = None) -> typing.Any:
    """A text field that takes one of `values`; the first is the default unless one is named."""
    return field(default=default or values[0], metadata={"choices": values})


def number(default: float, low: float, high: float, **more: typing.Any) -> typing.Any:
    """A number field bounded by `low` <= value <= `high`.

    `encodes=True` says, in a task, that it decides what rows become: then they are made anew.
    """
    return field(default=default, metadata={"low": low, "high": high, **more})


def sized(default: float, low: float, high: float) -> typing.Any:
    """A `number`; FROM_ROWS leaves it to `trainer.sizing`, which chooses it from the rows."""
    return number(default, low, high, unset=FROM_ROWS, sized=True)


def path() -> typing.Any:
    """A path of this machine, or what else the comment says; empty by default."""
    return field(default="", metadata={"path": True})


def how(
    default: typing.Any, low: float | None = None, high: float | None = None, **more: typing.Any
) -> typing.Any:
    """A field that says how a run is executed, not what it computes: it may change on resume."""
    bounds = {} if low is None else {"low": low, "high": high}
    return field(default=default, metadata={"how": True, **bounds, **more})


def here(*bounds: typing.Any, **more: typing.Any) -> typing.Any:
    """A setting as of `how`, which may differ between workers.

    `begins=True` says that a run begins with it: it may move, but tells runs apart.
    """
    return how(*bounds, here=True, **more)


def numbers(low: float, high: float, most: int = 1000, **more: typing.Any) -> typing.Any:
    """A field of at most `most` numbers, each within the bounds; empty by default.

    `encodes` is as in `number`; `word` is a text that may stand there alone, instead of numbers.
    """
    return field(default=(), metadata={"low": low, "high": high, "most": most, **more})


def encoded(default: typing.Any) -> typing.Any:
    """A field of a task that decides what rows become: then they are made anew."""
    return field(default=default, metadata={"encodes": True})


def texts(most: int) -> typing.Any:
    """A field of at most `most` texts; empty by default."""
    return field(default=(), metadata={"most": most})


def column(kind: str, default: str = "") -> typing.Any:
    """The name of a column of the data, of one of `trainer.data.columns.KINDS`; "": there is none.

    An empty default makes it a column that may be left out; any other is needed, and looked for in
    the file where its name is empty.
    """
    return field(default=default, metadata={"column": kind, "needed": bool(default)})


def code(default: typing.Any) -> typing.Any:
    """Import paths of functions, "package.module:function", or names that need no import."""
    return field(default=default, metadata={"code": True})


def types_of(kind: type) -> dict[str, typing.Any]:
    """The types of the fields of a class by name: worked out once, as annotations may be texts."""
    if kind not in _TYPES:
        _TYPES[kind] = typing.get_type_hints(kind)
    return _TYPES[kind]


def stored_type(hint: typing.Any) -> typing.Any:
    """The type that a field's value has: the first, where others may be written in its place."""
    return typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint


def check_field(path: str, spec_and_type: tuple, value: typing.Any) -> None:
    """Checks the type and bounds of a value.

    Args:
      path: of the field, for the message ("config.seed").
      spec_and_type: the dataclass field, and its type.
      value: what stands there.

    Raises:
      UserError: what is wrong with it, and what it may be.
    """
    spec, kind = spec_and_type[0], stored_type(spec_and_type[1])
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        if word := spec.metadata.get("word"):
            if value in (word, (word,)):
                return
            inner = float
            given = value if isinstance(value, tuple) else (value,)
            if any(isinstance(each, str) for each in given):
                raise UserError(f"{path} must be numbers, or {word!r} alone, is {shown(value)}")
        if not isinstance(value, tuple) or not all(_is(inner, v) for v in value):
            raise UserError(f"{path} must be a tuple of {inner.__name__}, is {shown(value)}")
        most = spec.metadata.get("most", 1000)
        if len(value) > most:
            raise UserError(f"{path} has {len(value):,} entries: give at most {most:,}")
        for each in value:
            _check_value(path, spec.metadata, each)
        return
    if not isinstance(kind, type):  # a kind that only a task of the user's has
        return
    if not _is(kind, value):
        raise UserError(f"{path} must be of type {kind.__name__}, is {shown(value)}")
    choices = spec.metadata.get("choices")
    if choices and value not in choices:
        raise UserError(f"{path}={shown(value)} is not one of: {', '.join(choices)}")
    _check_value(path, spec.metadata, value)


def _check_value(path: str, metadata: typing.Mapping, value: typing.Any) -> None:
    """One number or text against its bounds."""
    if isinstance(value, str):
        _check_text(path, value)
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path}={value!r} must be a finite number")
    low, high = metadata.get("low"), metadata.get("high")
    if low is not None and not low <= value <= high and value != metadata.get("unset"):
        raise UserError(f"{path}={shown(value)} must be between {low} and {high}")


def _check_text(path: str, text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise UserError(f"{path} has {len(text):,} characters: give at most {LONGEST_TEXT:,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}={shown(text)}: {not_unicode(text)}") from error
    if "\0" in text:
        raise UserError(f"{path}={shown(text)} holds a NUL character: leave it out")


def _is(kind: type, value: typing.Any) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)
