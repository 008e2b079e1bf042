"""Tries a config: a few steps on a few of its own rows, in every way that must agree.

  python -m launch.smoke --config=configs/smoke.py

Trains on one device, on four logical ones and with two workers, in float32; kills a run and goes on
with it; evaluates, predicts and exports. A line for each says what agreed, with the differences.
Exit status: 0 all agreed, 1 something did not, 2 the config cannot begin. docs/use/smoke.md has
more.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from absl import flags

from launch import main as program
from trainer.errors import Interrupted, UserError
from trainer.storage.paths import temporary_folder

_WORKDIR = program.define_path(
    "workdir", "A new folder for what is written; it is kept (default: a temporary one)."
)


def main() -> int:
    """Makes all checks; returns the exit status."""
    from thaw.smoke import checks, runs, settings
    from thaw.smoke.table import Table

    config, kept = program.config(), _WORKDIR.value
    if kept and kept.exists() and not (kept.is_dir() and not any(kept.iterdir())):
        raise UserError(f"--workdir={kept} is there already: remove it, or choose another")
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    folder = kept or Path(tempfile.mkdtemp(prefix="thaw-smoke-", dir=temporary_folder()))
    tempfile.tempdir = str(folder)  # AutoGraph leaves compiled files where temporary ones go
    signal.signal(signal.SIGTERM, _end)
    table = Table(_print)
    programs = runs.Programs(
        *([sys.executable, "-m", f"launch.{name}"] for name in ("train", "local"))
    )
    _print(f"A few steps of each phase, {settings.BATCH} rows a step, in {folder.absolute()}")
    try:
        checks.check(config, folder.absolute(), table, programs)
    except UserError:
        if not kept:  # nothing ran that could be looked at
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except (Interrupted, KeyboardInterrupt):
        return _interrupted(folder, signal.SIGINT)
    except _Terminated:
        return _interrupted(folder, signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    seconds = time.perf_counter() - program.BEGAN
    if table.failed:
        _print(
            f"{len(table.failed)} of {table.count} checks failed: {', '.join(table.failed)}"
            f" ({seconds:.0f} s). {folder}/*.txt has what each run said"
        )
        return 1
    _print(f"All {table.count} checks agreed ({seconds:.0f} s)")
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _print(line: str) -> None:
    with program.standard_output():
        print(program.encodable(line))


class _Terminated(BaseException):
    """SIGTERM came; no user's code may take it for an error of its own."""


def _end(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _interrupted(folder: Path, number: int) -> int:
    program.say(f"error: interrupted; {folder} is left")
    # TensorFlow may have been in its import: what it still has to say helps nobody.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return 128 + number


if __name__ == "__main__":
    program.define_config()
    flags.mark_flag_as_required("config")
    program.run(main, __doc__)
