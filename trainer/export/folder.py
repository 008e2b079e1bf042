"""An export's folder, which appears whole or not at all."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError
from trainer.storage.writing import why_not_written


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name at the end.

    Raises:
      UserError: `output` is there already and not empty, or cannot be written.
    """
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UserError(f"--output={output} is there already: remove it, or choose another")
        output.parent.mkdir(parents=True, exist_ok=True)
        # The name may be as long as names can be, so it is no part of the temporary one.
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export.") as folder:
            made = Path(folder) / "made"
            made.mkdir()
            yield made
            made.replace(output)
    except Exception as error:
        reason = why_not_written(error)
        if not reason:
            raise
        raise UserError(
            f"cannot write --output={output}: {reason}: choose another folder"
        ) from error
