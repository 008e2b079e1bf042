"""Flags as a person gives them: checked before anything is loaded, each mistake in one line."""

import argparse
import dataclasses
import difflib
import os
import re
import runpy
import stat
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from launch.environment import import_tensorflow, without_cpp
from trainer.errors import UserError, in_one_line, one_line, shown
from trainer.storage.paths import local, not_unicode

flags.disclaim_key_flags()  # --help shows them as those of the program that defines them
LONGEST_CONFIG = 2**24  # bytes of a config file
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
    arguments = with_flag_files(arguments)
    for argument in arguments[1:]:
        _check_text(argument)
    if "config" in flags.FLAGS:
        _check_config(arguments[1:])
    sys.argv = arguments  # where ml_collections looks for fields of the config
    try:
        return flags.FLAGS(arguments)
    except SystemExit:  # the flags that show help end here
        sys.exit(0)
    except flags.Error as error:
        raise UserError(f"{words_of(error)}; --help lists the flags") from error
    except UserError:
        raise
    except Exception as error:  # whatever ml_collections raises for a value
        raise UserError(f"--config: {words_of(error)}") from error


def with_flag_files(arguments: Sequence[str]) -> list[str]:
    """The arguments, those of --flagfile in its place."""
    for i, argument in enumerate(arguments[1:], start=1):
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if name in ("--flagfile", "-flagfile"):
            _check_flag_file(value if equals else "".join(arguments[i + 1 : i + 2]))
    try:
        return list(flags.FLAGS.read_flags_from_files(list(arguments), force_gnu=False))
    except (flags.Error, OSError, ValueError, RecursionError) as error:
        raise UserError(f"--flagfile: cannot read it as text: {words_of(error)}") from error


def _check_flag_file(text: str) -> None:
    """Refuses what is no flag file, and one that names another: they could go on for ever."""
    for line in _check_file(text, "--flagfile").read_bytes().splitlines():
        if re.match(rb"\s*--?flagfile", line):
            raise UserError(
                f"--flagfile={text} names another flag file: put its flags there instead"
            )


def _check_file(text: str, what: str) -> Path:
    """Refuses what is no file to be read as a whole."""
    path = local(text, what)
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{what}={text}: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{what}={text}: Is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{what}={text} is no regular file: write it to one")
    if status.st_size > LONGEST_CONFIG:
        raise UserError(f"{what}={text} has {status.st_size:,} bytes: it is no such file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{what}={text}: Permission denied")
    return path


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


def _check_config(arguments: list[str]) -> None:
    """Checks the config file that the flags name, and the names of the fields they change."""
    given = any(re.fullmatch("--?config(=.*)?", each, re.DOTALL) for each in arguments)
    config = check_config(value_of("config", arguments)) if given else None
    for argument in arguments:
        if argument == "--":
            return
        match = _OVERRIDE.fullmatch(argument)
        if match and config is not None:
            _check_field(config, match[1])


def check_config(text: str) -> Any:
    """The Experiment that a config file makes; what it does wrong is a UserError.

    Args:
      text: the path, and after a colon an argument of its get_config, as ml_collections takes it.
    """
    from trainer.config import Experiment

    path, *argument = text.split(":", 1) if not text.lower().startswith("file:") else (text,)
    if argument and argument[0].startswith("//"):
        local(text, "--config")
    path, said = str(_check_file(path, "--config")), f"--config={path}"
    try:
        with without_cpp():
            namespace = runpy.run_path(path)
            if "get_config" not in namespace:
                raise UserError(f"{said} has no function get_config()")
            config = namespace["get_config"](*argument)
        if "tensorflow" in sys.modules:  # a task or model of the user's needs it
            import_tensorflow()
    except UserError:
        raise
    except SystemExit as error:
        raise UserError(f"{said} ends the program: {words_of(error)}") from error
    except BaseException as error:  # whatever a user's own file does wrong is theirs to mend
        raise UserError(f"{said}: {in_one_line(error)}") from error
    if not isinstance(config, Experiment):
        raise UserError(f"{said}: get_config() must return a trainer.config.Experiment")
    if _has_fields(config.task):
        _resolve_types(config.task, said)
    return config


def _resolve_types(node: Any, said: str) -> None:
    """Makes types of annotations that are texts, as of a module that postpones their evaluation.

    ml_collections takes the types of fields as they stand.
    """
    try:
        hints = typing.get_type_hints(type(node))
    except Exception as error:  # of a task of the user's own
        raise UserError(f"{said}: config.task: {in_one_line(error)}") from error
    for spec in dataclasses.fields(node):
        spec.type = hints[spec.name]


def _check_field(config: Any, path: str) -> None:
    """Refuses a name such as "phases[0].steps" that is no setting of the config."""
    what, node, at = f"--config.{path}", config, "config"
    for part in path.split("."):
        match = _PART.fullmatch(part)
        names = [field.name for field in dataclasses.fields(node)] if _has_fields(node) else []
        if not match or match[1] not in names:
            near = difflib.get_close_matches(part[:100], names, 1)
            hint = f": is it {near[0]}?" if near else f": it has {', '.join(names) or 'none'}"
            raise UserError(f"{shown(what)[1:-1]}: {at} has no field {shown(part)}{hint}")
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


def words_of(error: BaseException) -> str:
    """Words of an error, in one line; a KeyError has no quotes."""
    first = error.args[0] if error.args and not isinstance(error, UnicodeError) else None
    text = first if isinstance(first, str) else str(error)
    return one_line(" ".join(text.split()) or type(error).__name__)
