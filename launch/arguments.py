"""Flags as a person gives them: checked before anything is loaded, each mistake in one line."""

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from launch import words
from thaw.config_files import check_file, found, load, words_of
from trainer.errors import UserError, shown
from trainer.storage.paths import local, not_unicode

flags.disclaim_key_flags()  # --help shows them as those of the program that defines them
LONGEST = 2**17  # characters of an argument: Linux takes no longer ones
CPU_DEVICES = 64  # logical ones, as config.runtime.cpu_devices
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]*)(?:=.*)?", re.DOTALL)
_PART = re.compile(r"([A-Za-z]\w*)(?:\[([0-9]{1,9})\])?", re.ASCII)


class _PathParser(flags.ArgumentParser):
    """Parses a flag that is a path of this machine; see `trainer.storage.paths.local`."""

    syntactic_help = "a path"

    def __init__(self, name: str):
        super().__init__()
        self._what = f"--{name}"

    def parse(self, argument: str | Path) -> Path:
        """The path. Raises UserError."""
        return argument if isinstance(argument, Path) else local(argument, self._what)

    def flag_type(self) -> str:
        """For --help."""
        return "path"


def define_path(
    name: str, help_: str, required: bool = False, default: str | None = None
) -> flags.FlagHolder:
    """Defines a flag whose value is a Path, or None where there is neither it nor a default."""
    return flags.DEFINE(
        _PathParser(name),
        name,
        default,
        help_,
        serializer=flags.ArgumentSerializer(),
        required=required,
    )


def as_path(text: str) -> Path:
    """The `type` of an argument of argparse that is a path: see `local`."""
    try:
        return local(text, "the path")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def define_count(
    name: str, help_: str, most: int, least: int = 1, default: int | None = None
) -> flags.FlagHolder:
    """Defines a flag whose value is a whole number from `least` to `most`, or `default`."""
    return flags.DEFINE_integer(name, default, help_, lower_bound=least, upper_bound=most)


def parse(arguments: Sequence[str]) -> list[str]:
    """Parses the flags; returns the program and the arguments that are no flags.

    Raises:
      UserError: what is wrong with them, and which of them it is.
      SystemExit: of --help, with status 0.
    """
    given, arguments = arguments, with_flag_files(arguments)
    arguments = ["--help" if each == "-h" else each for each in arguments]
    for argument in arguments[1:]:
        _check_text(argument)
    if "config" in flags.FLAGS:
        check_config(arguments[1:])
    sys.argv = arguments  # where ml_collections looks for fields of the config
    try:
        rest: list[str] = flags.FLAGS(arguments)
        _check_twice(given[1:])
        return rest
    except SystemExit:  # the flags that show help end here
        sys.exit(0)
    except flags.UnrecognizedFlagError as error:
        raise UserError(_unknown(error.flagname, arguments)) from error
    except UserError:
        raise
    except BrokenPipeError:  # whoever reads --help has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # whatever ml_collections raises for a value
        raise as_said(error) from error


def as_said(error: Exception) -> UserError:
    """A line on a value that absl or ml_collections refuses."""
    said = _in_plain_words(words_of(error))
    if isinstance(error, flags.Error) and said.startswith("flag --config."):
        program = "" if "print_config" in flags.FLAGS else "launch.train "
        return UserError(f"{said}; {program}--print_config shows what it may be")
    if isinstance(error, flags.Error):
        return UserError(f"{said}; --help lists the flags")
    return UserError(f"--config: {said}")


# What absl and Python say, and what it means.
_PLAIN = (
    (r"flag --(\S+)=None: Flag --\S+ must have a value other than None\.", r"give --\1=…"),
    (r"invalid literal for int\(\) with base \d+: (.*)", r"\1 is no whole number"),
    (r"could not convert string to float: (.*)", r"\1 is no number"),
)


def _in_plain_words(said: str) -> str:
    for pattern, plain in _PLAIN:
        said = re.sub(pattern, plain, said)
    return said


def emptied(node: Any) -> None:
    """Makes tuples empty that the command line gave as nothing: --config.data.exclude= is ("",)."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if value == ("",):
            setattr(node, field.name, ())
        for inner in value if isinstance(value, list) else [value]:
            if _has_fields(inner):
                emptied(inner)


def _unknown(name: str, arguments: Sequence[str]) -> str:
    """A line on a flag that the program does not have."""
    said = f"unknown flag --{name[:80]}"
    config = value_of("config", arguments) if "config" in flags.FLAGS else ""
    if "config" in flags.FLAGS and not config and name.startswith("config."):
        from trainer.data.rows import format_of

        train = value_of("config.data.train", arguments)
        is_file = train and (format_of(train, "suffix") or Path(train).exists())
        shipped = "files" if is_file else "quickstart"
        return f"{said}: name the config file too, as --config=configs/{shipped}.py"
    settings = []
    if "config" in flags.FLAGS:
        from trainer.config import Experiment

        settings = words.paths(load(config, "--config") if config else Experiment())
    hint = words.of_flag(name, [*flags.FLAGS], settings)
    return f"{said}: {hint}" if hint else f"{said}; --help lists the flags"


def _check_twice(arguments: Sequence[str]) -> None:
    """Refuses a flag that is given twice, unless its values add up."""
    seen = set()
    is_value = False
    for argument in arguments:
        if argument == "--":
            return
        match = None if is_value else re.match(r"--?([A-Za-z][^=]*)(=?)", argument)
        is_value = False
        if not match:
            continue
        name = match[1]
        flag = flags.FLAGS[name] if name in flags.FLAGS else None  # noqa: SIM401  it has no get
        is_value = flag is not None and not flag.boolean and not match[2]
        if name in seen and not isinstance(flag, flags.MultiFlag):
            raise UserError(f"--{name[:80]} is given twice: give it once")
        seen.add(name)


def with_flag_files(arguments: Sequence[str]) -> list[str]:
    """The arguments, those of --flagfile in its place."""
    for i, argument in enumerate(arguments[1:], start=1):
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if name in ("--flagfile", "-flagfile"):
            _check_flag_file(value if equals else "".join(arguments[i + 1 : i + 2]))
    try:
        given = list(flags.FLAGS.read_flags_from_files(list(arguments), force_gnu=False))
        return [_with_shipped(argument) for argument in given]
    except (flags.Error, OSError, ValueError, RecursionError) as error:
        raise UserError(f"--flagfile: cannot read it as text: {words_of(error)}") from error


def _with_shipped(argument: str) -> str:
    """The argument, with the path of a config that comes with the library where it is one."""
    name, equals, value = argument.partition("=")
    if name in ("--config", "-config") and equals:
        return f"{name}={found(value)}"
    return found(argument)  # of "--config configs/files.py"


def _check_flag_file(text: str) -> None:
    """Refuses what is no flag file, and one that names another: they could go on for ever."""
    for line in check_file(text, "--flagfile").read_bytes().splitlines():
        if re.match(rb"\s*--?flagfile", line):
            raise UserError(
                f"--flagfile={text} names another flag file: put its flags there instead"
            )


def _check_text(argument: str) -> None:
    name = argument.partition("=")[0]
    if len(argument) > LONGEST:
        raise UserError(
            f"{shown(name)} has {len(argument):,} characters: give fewer than {LONGEST:,}"
        )
    try:
        argument.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the argument {shown(argument, 200)}: {not_unicode(argument)}") from error
    if "\0" in argument:
        raise UserError(f"the argument {shown(argument, 200)} holds a NUL byte: leave it out")


def value_of(flag: str, arguments: Sequence[str]) -> str:
    """The value of a flag in arguments, as --flag=value or --flag value; the last one counts."""
    found = ""
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            found = value if equals else "".join(arguments[i + 1 : i + 2])
    return found


# The config


def check_config(arguments: Sequence[str]) -> None:
    """Checks the config file that the flags name, and the names of the fields they change.

    Raises:
      UserError: what is wrong with it.
    """
    given = any(re.fullmatch("--?config(=.*)?", each, re.DOTALL) for each in arguments)
    config = load(value_of("config", arguments), "--config") if given else None
    for argument in arguments:
        if argument == "--":
            return
        match = _OVERRIDE.fullmatch(argument)
        if match and config is not None:
            _check_field(config, match[1])


def _check_field(config: Any, path: str) -> None:
    """Refuses a name such as "phases[0].steps" that is no setting of the config."""
    what, node, at = f"--config.{path}", config, "config"
    for part in path.split("."):
        match = _PART.fullmatch(part)
        names = [field.name for field in dataclasses.fields(node)] if _has_fields(node) else []
        if not match or match[1] not in names:
            hint = words.of_setting(path[:200], words.paths(config))
            hint = hint or f"it has {', '.join(names) or 'none'}"
            raise UserError(f"{shown(what)[1:-1]}: {at} has no field {shown(part)}: {hint}")
        node, at = getattr(node, match[1]), f"{at}.{part}"
        if match[2] is not None:
            if not isinstance(node, list):
                raise UserError(f"{what}: this is no list: leave out [{match[2]}]")
            if int(match[2]) >= len(node):
                raise UserError(
                    f"{what}: there is no {at}: the index is over {len(node) - 1}, of the last one"
                )
            node = node[int(match[2])]
    if _has_fields(node) or isinstance(node, list):
        inner = "[0]." if isinstance(node, list) else "."
        raise UserError(f"{what} is a group of settings: give one of them, as {what}{inner}…=")


def _has_fields(node: Any) -> bool:
    return dataclasses.is_dataclass(node) and not isinstance(node, type)
