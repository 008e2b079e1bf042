"""The common part of all programs: flags, signals, and how a mistake is told.

Exit status: 0 done; 2 the user's mistake, told in one line; 75 ended by a signal after saving, the
same command goes on (EX_TEMPFAIL of sysexits.h); 69 another worker is lost; 1 anything else.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from absl import app, flags, logging

import thaw
from launch.arguments import (
    define_count,
    define_path,
    emptied,
    parse,
    value_of,
    with_flag_files,
)
from thaw import environment
from thaw.console import say
from thaw.environment import import_tensorflow
from trainer.errors import UserError, one_line, printable
from trainer.storage.paths import local

__all__ = ["define_count", "define_path", "import_tensorflow", "say", "value_of"]
os.environ["MPLBACKEND"] = "agg"  # figures go into files
BEGAN = time.perf_counter()  # of this process, near enough
USER_ERROR = 2
INTERRUPTED = 75


class Signals:
    """SIGTERM and SIGINT ask a run to end; a second SIGINT ends the process at once."""

    def __init__(self):
        self.requested = False
        self.saves = False  # whether someone looks at `requested` and saves
        # Told of an exit status, and of the reason, before the process ends unsaved.
        self.leave: Callable[[int, str], None] = lambda status, why: None

    def install(self) -> None:
        """Handles the two signals from here on, in a thread of its own.

        A handler of Python's would wait for the device to end the call that it works at.
        """
        wakes, woken = os.pipe()
        os.set_blocking(woken, False)
        self.take()
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(wakes,), name="signals", daemon=True).start()

    def take(self) -> None:
        """Takes the signals; once more after TensorFlow, over several workers, took SIGTERM."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: None)

    def _watch(self, wakes: int) -> None:
        while True:
            for number in os.read(wakes, 16):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._handle(number)

    def _handle(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.requested and number == signal.SIGINT:
            os._exit(128 + number)
        if not self.saves:
            said = f"{name}: ended before the first step; the same command starts again"
            say(said)
            self.leave(INTERRUPTED, said)
            os._exit(INTERRUPTED)
        if not self.requested:
            say(f"{name}: saving after the present step; Ctrl-C again ends at once")
        self.requested = True


def end(status: int, message: str) -> None:
    """Ends the process at once, from any thread, as one that is killed: nothing waits for peers."""
    try:
        fail(message)
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
    finally:
        os._exit(status)


def run(main: Callable[..., int | None], usage: str, texts: bool = False) -> None:
    """Parses the flags and runs `main`; ends the process with the exit status it returns.

    Args:
      main: takes nothing, or a list of texts; returns an exit status (None: 0), raises UserError.
      usage: the program's docstring, for --help.
      texts: whether `main` takes the arguments that are no flags; otherwise they are refused.
    """
    sys.modules["__main__"].__doc__ = usage
    environment.speak_any_text()
    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(_Printable())
    logging.set_verbosity(logging.WARNING)
    # Defined here, but --help shows them.
    for name in {"config", "cache_dir", "trust"} & set(flags.FLAGS):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def guarded(arguments: list[str]) -> int:
        if len(arguments) > 1 and not texts:
            return fail(f"unknown argument {arguments[1]!r}: flags begin with --")
        for note in thaw.NOTES:
            say(f"Note: {note}")
        try:
            with permitted():
                return (main(arguments[1:]) if texts else main()) or 0
        except UserError as error:
            return fail(str(error))
        finally:  # Python's end gives signals their default action, and Slurm may send two of them
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    app.run(guarded, flags_parser=_parse)


def cache_dir() -> Path:
    """The folder of token caches: the --cache_dir flag, else the user's cache folder."""
    return flags.FLAGS.cache_dir or environment.cache_dir()


def define_cache_dir() -> None:
    """Defines --cache_dir, once."""
    define_path("cache_dir", "Folder of token caches (default: ~/.cache/thaw).")


def define_trust() -> flags.FlagHolder[list[str]]:
    """Defines --trust: code of others that a workdir may name."""
    return flags.DEFINE_multi_string(
        "trust",
        [],
        "A package whose code the run's settings may name; give the flag again for another.",
    )


def define_config() -> None:
    """Defines --config and the flags of its fields."""
    from ml_collections import config_flags

    from trainer.imports import search_current_folder

    search_current_folder()  # a config may import another
    try:
        sys.argv = with_flag_files(sys.argv)  # ml_collections reads it at once
    except UserError as error:
        sys.exit(fail(str(error)))
    config_flags.DEFINE_config_file("config", None, "Config file, such as configs/quickstart.py.")


def config():
    """The Experiment of the config file, with the fields changed that the command line names.

    Raises:
      UserError: it is not an Experiment.
    """
    from trainer.config import Experiment

    value = flags.FLAGS["config"].value
    if not isinstance(value, Experiment):
        raise UserError("--config: get_config() must return a trainer.config.Experiment")
    emptied(value)
    return value


def _parse(arguments: list[str]) -> list[str]:
    """Parses as absl does, but a mistake is one line and exit status 2, and --help is status 0."""
    try:
        return parse(arguments)
    except UserError as error:
        sys.exit(fail(str(error)))


def check_train_flags(arguments: Sequence[str], scheduler: str) -> None:
    """Refuses what stands after `--` where it is not the flags of a run of launch.train.

    Args:
      arguments: what stands there.
      scheduler: what starts the workers and knows their addresses.

    Raises:
      UserError: what is missing, or too much.
    """
    from launch import sent

    for flag in ("config", "workdir"):
        if not value_of(flag, arguments):
            raise UserError(f"give the flags of launch.train after `--`: --{flag} is missing")
    local(value_of("workdir", arguments), "--workdir")
    if not arguments[0].startswith("-"):
        raise UserError(f"{arguments[0]!r} after `--` is no flag of launch.train")
    for flag in ("hosts", "index"):
        if value_of(flag, arguments):
            raise UserError(f"--{flag} after `--`: leave it out, {scheduler} gives the addresses")
    sent.check(arguments)


def say_if_unchecked(arguments: Sequence[str]) -> None:
    """Notes that a config is on the cluster alone, where `check_train_flags` could not read it."""
    from launch import sent

    if not sent.is_here(arguments):
        where = value_of("config", arguments)
        say(f"Note: --config={where} is not on this machine: it is sent without being checked")


@contextlib.contextmanager
def permitted() -> Iterator[None]:
    """Makes a UserError of a place that this user may not look into, or write."""
    try:
        yield
    except PermissionError as error:
        if not isinstance(error.filename, (str, os.PathLike)):
            raise
        raise UserError(
            f"{error.filename}: {error.strerror}: name a place that this user may read and write,"
            " or change its rights"
        ) from error


def fail(message: str) -> int:
    """Says what is wrong, in one line of bounded length; returns the exit status."""
    say(f"error: {one_line(message)}")
    return USER_ERROR


class _Printable(logging.PythonFormatter):
    """Log lines that a terminal can show: they may quote a file."""

    def format(self, record):
        return printable(super().format(record))


@contextlib.contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """For writing to standard output, as text or bytes; a reader of it may go away.

    Raises:
      UserError: it cannot be written: the disk is full, say.
    """
    try:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.flush()
    except OSError as error:  # what is left would fail once more when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise UserError(f"cannot write standard output: {error.strerror}") from error


def encodable(text: str) -> str:
    """The text with what standard output's encoding lacks as escapes: a C locale knows no "é"."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
