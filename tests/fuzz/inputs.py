"""One input of a door, and hostile values to make inputs of."""

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from programs import Ended

NOTHING: Callable[[Ended], str] = lambda ended: ""  # noqa: E731


@dataclasses.dataclass
class Input:
    """A program to run, and what may become of it.

    Attributes:
      program, arguments, environment, stdin: how it is run; in `folder`/cwd.
      outputs: what it may write where it ends with 0; nothing else changes in its folder.
      check: for an end with 0: the fault of what it wrote or printed, or "".
      allowed: exit statuses besides 0 and 2.
      errors: how many lines begin with "error: " where it ends with 2; None: any number.
      stream: an output of whole lines that stays when a later row is refused.
      path, fresh, nameless: see `Job` in tests/helpers/prewarmed.py.
    """

    arguments: list[str]
    program: str = "launch.train"
    environment: dict[str, str | None] = dataclasses.field(default_factory=dict)
    stdin: bytes = b""
    outputs: tuple[Path, ...] = ()
    check: Callable[[Ended], str] = NOTHING
    allowed: tuple[int, ...] = ()
    errors: int | None = 1
    stream: Path | None = None
    path: tuple[Path, ...] = ()
    fresh: bool = False
    nameless: bool = False


EVIL = "raise SystemExit(open('owned', 'w').write('by code of a stranger'))\n"
DEEP = "[" * 100_000
NUMBERS = (
    *("0", "-1", "1", "2", "3", "17", "1000", "100000", "2147483647", "2147483648", "4294967297"),
    *("9223372036854775807", "9223372036854775808", "1" + "0" * 30, "9" * 5000, "-" + "9" * 400),
    *("nan", "inf", "-inf", "1e999", "1e308", "1e-320", "-0.0", "0.5", "1.5", "-0.5", "0.001"),
    *("0x10", "1_000", "\u0661\u0662", " 3", "3 ", "+4", "1e3", "true", "None", "", "1,2", "NaN"),
)
TEXTS = (
    *("", " ", "\t", "a\nb", "a\r\nb", "'", '"', "a'b\"c", "x" * 300, "x" * 70_000),
    "gr\u00f6\u00dfe",
    *("\u202etxet", "\udcff\udcfe", "caf\udce9", "\x1b[31mred", "\x07", "\x7f", "\u2028", "\ufeff"),
    *("$(touch owned)", "`touch owned`", "; touch owned", "{{7*7}}", "%s%n%d", "{0.__class__}"),
    *("-", "--", "-1", "null", "None", "[]", "{}", "()", "(", "[", "\\", "*", "?", "a,b", "a=b"),
    ":",
    *("__import__('os')", "<script>alert(1)</script>", "\U0001f642", "e\u0301", "\u0000"),
)
PATHS = (  # none that root could write to outside of an input's folder
    *("gs://bucket/run", "s3://b/x", "hdfs:x", "file:x", "https://example.org/x", "~", "~/x"),
    *("~nosuchuser/x", "runs/[1e-3,5e-4]", "a*b?c", "a\\b", "with blank/x y", "x" * 256),
    *("gr\u00f6\u00dfe/\U0001f642", "/".join(["d" * 200] * 30), "\udcff/x", "a\nb", "/proc/x"),
    *("/dev/null/x", "/proc/version", ".", "..", "", " ", "-", "\x1b[31m", "$HOME/x"),
    *("nowhere/at/all", "a:b", ".//x", "./.x", "x/", "x/../y", "-x", "--x", "{}", "%s"),
)
ODD: tuple[Any, ...] = (  # JSON values where another was
    *(None, True, False, 0, -1, 1, 2, 0.5, -1.0, 1e308, 1e-320, 10**9, 2**31, 2**63, 10**30),
    -(2**70),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "32", "-1", "nan", "\ud800", "\u0000"),
    "a\nb",
    *("../../etc/passwd", "evil:build", "x" * 100_000, [], {}, [[]], [None], ["a"] * 50, {"a": 1}),
    *([0] * 5, [1e999], {"": ""}, [[0, 1], [2]], "{{7*7}}", "<b>", "\u202e", "(a+)+$", "("),
)

_NO_OBJECT = (
    *("", " ", "null", "5", '"x"', "[]", "{}", DEEP, '{"a":' * 50_000, "NaN", "\ufeff{}", "[1,"),
)


def of(random: Random, values: tuple[str, ...]) -> str:
    """One of the values that can stand in an argument or a variable."""
    return random.choice(values).replace("\0", "\ufffd")


def odd_json(random: Random, value: Any) -> str:
    """The text of a JSON value in which something is not as it was."""
    kind = random.randrange(10)
    if kind == 0:
        return random.choice(_NO_OBJECT)
    value = copy.deepcopy(value)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        _change(random, value)
    text = json.dumps(value, indent=random.choice([None, 2]))
    if kind == 1 and text.startswith("{"):  # a key twice
        key = random.choice(list(value or ["a"]))
        return f'{{"{key}": {json.dumps(random.choice(ODD))}, {text[1:]}'
    if kind == 2:
        return text.replace("1", "1" * 400, 1)
    if kind == 3:
        return text.replace(":", ': 1e999, "z":', 1)
    return text


def _change(random: Random, value: Any) -> None:
    """Spoils one place, as often one high up as one far down."""
    level, chosen = value, None
    while isinstance(level, (dict, list)) and len(level):
        key = (
            random.choice(list(level)) if isinstance(level, dict) else random.randrange(len(level))
        )
        chosen = (level, key)
        level = level[key]
        if random.random() < 0.35:
            break
    if chosen is None:
        return
    container, key = chosen
    act = random.randrange(8)
    if act == 0:
        del container[key]
    elif act == 1 and isinstance(container, dict):
        container[random.choice(TEXTS)] = container.pop(key)
    elif act == 2 and isinstance(container, list):
        container *= random.choice([2, 100])
    elif (
        act == 3
        and isinstance(container[key], (int, float))
        and not isinstance(container[key], bool)
    ):
        container[key] = random.choice(
            [-container[key], container[key] + 1, str(container[key]), container[key] * 10**6]
        )
    else:
        container[key] = copy.deepcopy(random.choice(ODD))


def odd_bytes(random: Random, content: bytes) -> bytes:
    """The content of a file with some of its bytes changed, or none of it left."""
    at = random.randrange(len(content) + 1)
    kind = random.randrange(12)
    if kind < 4 and content:  # single bits, as a bad disk has them
        changed = bytearray(content)
        for _ in range(random.choice([1, 1, 1, 3, 50])):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        return bytes(changed)
    few = random.randbytes(random.choice([1, 8, 100]))
    return [
        content[:at],
        content[:at] + content[at + len(few) :],
        content[:at] + few + content[at:],
        content[:at] + bytes(len(few)) + content[at + len(few) :],
        content * 2,
        random.choice(
            [b"", b"\0", b"\xff\xfe", b"\n", DEEP.encode(), b"\x1f\x8b\x08\0", b"PK\x03\x04"]
        ),
        random.randbytes(len(content) or 10),
        random.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\0\0", b"\n\n"]) + content,
    ][kind - 4]


def with_changes(flags: list[str], changes: Mapping[str, str]) -> list[str]:
    """Flags, those that `changes` names with its values."""
    kept = [flag for flag in flags if flag.partition("=")[0].lstrip("-") not in changes]
    return [*kept, *(f"--{name}={value}" for name, value in changes.items())]
