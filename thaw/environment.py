"""This process's surroundings: set right before the libraries read them, once."""

import contextlib
import gc
import hashlib
import locale
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError, one_line
from trainer.runtime.processor import memory
from trainer.storage import strict_json
from trainer.storage.paths import local, temporary_folder

_imported = False  # TensorFlow, by `import_tensorflow`
NO_KERAS_FOLDER = f"{os.devnull}/keras"  # of which Keras reads nothing
_KERAS_DEFAULTS = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
}


def prepare() -> list[str]:
    """Sets what libraries read when they are imported; returns notes on what has no effect.

    To be called before TensorFlow, Keras or transformers is imported.
    """
    settings = {
        "TF_CPP_MIN_LOG_LEVEL": "2",  # TensorFlow's errors, not what it says about the machine
        "TOKENIZERS_PARALLELISM": "true",
        "TRANSFORMERS_VERBOSITY": "error",  # it misses PyTorch, we do not
        # TensorFlow keeps the memory that it frees: docs/use/speed.md. At most all that there is.
        "TF_CPU_ALLOCATOR_USE_BFC": "1",
        "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(memory() // 2**20),
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_CPU_BFC_MEM_LIMIT_IN_MB"):
        if not os.environ[name].isdecimal():
            os.environ[name] = settings[name]
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):  # read as it is imported
        if not os.environ.get(name, "1").isdecimal():
            del os.environ[name]
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, in a notebook
    return _only_tensorflow()


def _only_tensorflow() -> list[str]:
    """Keras on TensorFlow, with its own defaults, whatever is set for other programs."""
    notes = []
    backend = os.environ.get("KERAS_BACKEND", "")
    if backend not in ("", "tensorflow"):
        notes.append("KERAS_BACKEND has no effect: this library runs on TensorFlow")
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        file = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
        if file.is_file():
            try:
                changed = strict_json.read(file) != _KERAS_DEFAULTS
            except strict_json.InvalidJson:
                changed = True
            if changed:
                notes.append(f"{file} has no effect: its settings are Keras's defaults here")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["KERAS_HOME"] = NO_KERAS_FOLDER
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"):
        os.environ.pop(name, None)
    return notes


def speak_any_text() -> None:
    """Lets every text be printed, and read and written in files, in any locale."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if locale.getpreferredencoding(False).lower() not in ("utf-8", "utf8"):
        for name in ("C.UTF-8", "en_US.UTF-8", "UTF-8"):
            with contextlib.suppress(locale.Error):
                locale.setlocale(locale.LC_CTYPE, name)
                break


def cache_dir() -> Path:
    """The default folder of token caches: $XDG_CACHE_HOME/thaw, or ~/.cache/thaw.

    Raises:
      UserError: this user has no home.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    if home.startswith("/"):  # by its specification, a relative one counts for nothing
        return local(home, "XDG_CACHE_HOME") / "thaw"
    try:
        return Path("~/.cache/thaw").expanduser()
    except RuntimeError as error:
        raise UserError("this user has no home for token caches: give --cache_dir") from error


_CPP = re.compile(rb"[IWEF]\d{4} .*\.cc:\d+\]|WARNING: All log messages before absl::InitializeLog")


@contextlib.contextmanager
def without_cpp() -> Iterator[None]:
    """Lets through what is written to standard error, but for lines that TensorFlow's C++ logs.

    For a user's code that may import TensorFlow; what it says comes when it has ended.
    """
    with tempfile.TemporaryFile(dir=temporary_folder()) as said:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            for line in said:
                if not _CPP.match(line):
                    os.write(2, line)


def import_tensorflow() -> None:
    """Imports TensorFlow and wakes its devices, without what its C++ says about this machine.

    It logs before it can be told not to; so standard error goes to a file meanwhile, and is shown
    if the import fails. What is there then stays: it is not searched for garbage, now or later.

    Raises:
      UserError: there is no temporary folder, which TensorFlow needs too; or it ends the process
        for flags of its own that it does not know.
    """
    global _imported
    if _imported:
        return
    for name in ("TF_XLA_FLAGS", "XLA_FLAGS"):
        if os.environ.get(name):
            _check_flags(name)
    with tempfile.TemporaryFile(dir=temporary_folder()) as said:
        kept, collects = os.dup(2), gc.isenabled()
        gc.disable()
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            tf.get_logger().addFilter(_is_news)
            tf.config.list_physical_devices()
        except Exception:  # and not where a signal ends it meanwhile
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if collects:
                gc.enable()
    gc.freeze()
    _imported = True


def _is_news(record: logging.LogRecord) -> bool:
    """False for what TensorFlow says of each run of a process, or of each file that it writes."""
    text = record.getMessage()
    return not ("triggered tf.function retracing" in text or text.startswith("Assets written to"))


def _check_flags(name: str) -> None:
    """Lets another process meet the flags first: TensorFlow ends its own without a word here."""
    tried = "import tensorflow as tf; tf.function(lambda: 1, jit_compile=True)()"
    done = subprocess.run([sys.executable, "-P", "-c", tried], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UserError(f"TensorFlow takes no {name}={os.environ[name]!r}: {one_line(said, 300)}")


def code() -> str:
    """sha256 in hex of the code of this library: which version of it this is."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    packages = ("trainer", "thaw", "launch")
    for path in sorted(p for part in packages for p in (root / part).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
