"""What every program has in common: flags, signals, and how a mistake is told.

Exit status: 0 done; 2 the user's mistake, told in one line; 75 ended by a signal after saving, the
same command goes on (EX_TEMPFAIL of sysexits.h); 69 another worker is lost; 1 anything else.
"""

import contextlib
import gc
import hashlib
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.processor import memory

# Before TensorFlow is imported: only its errors, not what it says about the machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it misses PyTorch, we do not

# TensorFlow keeps the memory that it frees: docs/speed.md. At most all that there is.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(memory() // 2**20))

from absl import app, flags, logging

from trainer.errors import UserError, in_one_line

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
        say(f"error: {message}")
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
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)
    for name in {"config", "cache_dir"} & set(flags.FLAGS):  # defined here, but --help shows them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def guarded(arguments: list[str]) -> int:
        if len(arguments) > 1 and not texts:
            return _fail(f"unknown argument {arguments[1]!r}: flags begin with --")
        try:
            return (main(arguments[1:]) if texts else main()) or 0
        except UserError as error:
            return _fail(str(error))

    app.run(guarded, flags_parser=_parse)


def cache_dir() -> Path:
    """Where token caches live: the --cache_dir flag, else the user's cache folder."""
    if flags.FLAGS.cache_dir:
        return Path(flags.FLAGS.cache_dir)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "thaw"


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices, without what its C++ says about this machine.

    It logs before it can be told not to; so standard error goes to a file meanwhile, and is shown
    if the import fails. What is there then stays: it is not searched for garbage, now or later.
    """
    kept = os.dup(2)
    gc.disable()
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            gc.enable()
    gc.freeze()


def define_cache_dir() -> None:
    """Defines --cache_dir, once."""
    flags.DEFINE_string("cache_dir", "", "Folder of token caches (default: ~/.cache/thaw).")


def define_config() -> None:
    """Defines --config and the flags of its fields."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file("config", None, "Config file, such as configs/quickstart.py.")


def config():
    """What the config file returned, with the fields changed that the command line names.

    Raises:
      UserError: it is not an Experiment.
    """
    from trainer.config import Experiment

    value = flags.FLAGS["config"].value
    if not isinstance(value, Experiment):
        raise UserError("--config: get_config() must return a trainer.config.Experiment")
    return value


def check_config(path: str) -> None:
    """Raises a UserError for a config file that does not work: absl would show a traceback."""
    path, *argument = path.split(":", 1)  # as ml_collections takes it
    try:
        namespace = runpy.run_path(path)
        if "get_config" not in namespace:
            raise UserError(f"--config={path} has no function get_config()")
        namespace["get_config"](*argument)
    except UserError:
        raise
    except SystemExit as error:
        raise UserError(f"--config={path} ends the program: {_one_line(error)}") from error
    except Exception as error:  # whatever a user's own file does wrong is theirs to mend
        if isinstance(error, OSError) and error.filename == path:
            raise UserError(f"--config={path}: {error.strerror}") from error
        raise UserError(f"--config={path}: {in_one_line(error)}") from error


def _parse(arguments: list[str]) -> list[str]:
    """Like absl's own, but a mistake is one line and exit status 2, and --help is status 0."""
    try:
        for i, argument in enumerate(arguments[1:], start=1):
            name, equals, value = argument.partition("=")
            if name in ("--config", "-config") and "config" in flags.FLAGS:
                check_config(value if equals else "".join(arguments[i + 1 : i + 2]))
        return flags.FLAGS(arguments)
    except SystemExit:  # the flags that show help end here
        sys.exit(0)
    except flags.Error as error:
        sys.exit(_fail(f"{_one_line(error)}; --help lists the flags"))
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        # What a config override of an unknown field or index raises, by kind of its parent.
        sys.exit(_fail(f"--config: {_one_line(error)}"))
    except UserError as error:
        sys.exit(_fail(str(error)))


def code() -> str:
    """sha256 in hex of the code of trainer/ and launch/: which version of it this is."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(p for part in ("trainer", "launch") for p in (root / part).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def value_of(flag: str, arguments: Sequence[str]) -> str:
    """What arguments say for a flag, as --flag=value or --flag value; the last one counts."""
    found = ""
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            found = value if equals else "".join(arguments[i + 1 : i + 2])
    return found


def check_train_flags(arguments: Sequence[str], scheduler: str) -> None:
    """Refuses what stands after `--` where it is not the flags of a run of launch.train.

    Args:
      arguments: what stands there.
      scheduler: what starts the workers and knows their addresses.

    Raises:
      UserError: what is missing, or too much.
    """
    for flag in ("config", "workdir"):
        if not value_of(flag, arguments):
            raise UserError(f"give the flags of launch.train after `--`: --{flag} is missing")
    if not arguments[0].startswith("-"):
        raise UserError(f"{arguments[0]!r} after `--` is no flag of launch.train")
    for flag in ("hosts", "index"):
        if value_of(flag, arguments):
            raise UserError(f"--{flag} after `--`: leave it out, {scheduler} gives the addresses")


def _fail(message: str) -> int:
    say(f"error: {message}")
    return USER_ERROR


def say(message: str) -> None:
    """A line for the person who watches; where nobody can, a full disk or a lost terminal, none."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def _one_line(error: BaseException) -> str:
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return " ".join(text.split())


def shown(text: str) -> str:
    """The text with what standard output's encoding lacks as escapes: a C locale knows no "é"."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
