"""What every program has in common: flags, signals, and how a mistake is told.

Exit status: 0 done; 2 the user's mistake, told in one line; 75 ended by a signal after saving, the
same command goes on (EX_TEMPFAIL of sysexits.h); 1 anything else.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Before TensorFlow is imported: only its errors, not what it says about the machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it misses PyTorch, we do not

from absl import app, flags, logging

from trainer.errors import UserError

BEGAN = time.perf_counter()  # of this process, near enough
USER_ERROR = 2
INTERRUPTED = 75


class Signals:
    """SIGTERM and SIGINT ask a run to end; a second SIGINT ends the process at once."""

    def __init__(self):
        self.requested = False
        self.saves = False  # whether someone looks at `requested` and saves

    def install(self) -> None:
        """Handles the two signals from here on."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def stop(self) -> bool:
        """Whether the run should save and end."""
        return self.requested

    def _handle(self, number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if self.requested and number == signal.SIGINT:
            os._exit(128 + number)
        if not self.saves:
            say(f"{name}: ended before the first step; the same command starts again")
            os._exit(INTERRUPTED)
        if not self.requested:
            say(f"{name}: saving after the present step; Ctrl-C again ends at once")
        self.requested = True


def run(main: Callable[[], int | None], usage: str) -> None:
    """Parses the flags and runs `main`; ends the process with the exit status it returns.

    Args:
      main: takes nothing, returns an exit status (None: 0), raises UserError.
      usage: the program's docstring, for --help.
    """
    sys.modules["__main__"].__doc__ = usage
    logging.use_absl_handler()
    logging.set_verbosity(logging.WARNING)

    def guarded(arguments: list[str]) -> int:
        if len(arguments) > 1:
            return _fail(f"unknown argument {arguments[1]!r}: flags begin with --")
        try:
            return main() or 0
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
    if the import fails.
    """
    kept = os.dup(2)
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


def _parse(arguments: list[str]) -> list[str]:
    """Like absl's own, but a mistake is one line and exit status 2."""
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        sys.exit(_fail(f"{_one_line(error)}; --help lists the flags"))
    except (KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
        # What a config override of an unknown field or index raises, by kind of its parent.
        sys.exit(_fail(f"--config: {_one_line(error)}"))
    except UserError as error:
        sys.exit(_fail(str(error)))


def _fail(message: str) -> int:
    say(f"error: {message}")
    return USER_ERROR


def say(message: str) -> None:
    """A line for the person who watches."""
    print(message, file=sys.stderr, flush=True)


def _one_line(error: Exception) -> str:
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return " ".join(text.split())
