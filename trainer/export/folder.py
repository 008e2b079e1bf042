"""An export's folder, which appears whole or not at all."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from trainer.errors import UserError


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name at the end.

    Raises:
      UserError: `output` is there already and not empty, or cannot be written.
    """
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UserError(f"--output={output} is there already: choose another folder")
        output.parent.mkdir(parents=True, exist_ok=True)
        # The name may be as long as names can be, so it is no part of the temporary one.
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export.") as folder:
            made = Path(folder) / "made"
            made.mkdir()
            yield made
            made.replace(output)
    except Exception as error:
        reason = _why_not_written(error)
        if not reason:
            raise
        raise UserError(
            f"cannot write --output={output}: {reason}: choose another folder"
        ) from error


def _why_not_written(error: Exception) -> str:
    """The system's reason, as Python, TensorFlow or tokenizers say it; empty: it is another one."""
    said = " ".join(str(error).split())
    if isinstance(error, OSError):
        return error.strerror or said[:200]
    if isinstance(error, tf.errors.OpError):
        return said.rpartition("; ")[2].partition(" [Op:")[0][:200]
    return said[:200] if "os error" in said else ""
