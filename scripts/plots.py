"""The common part of the programs that draw, or write a table."""

import os
from pathlib import Path
from typing import Any

from trainer.errors import UserError


def check(flag: str, path: Path) -> None:
    """Raises UserError for a plot that cannot be drawn, before any work is done for it."""
    if path.suffix != ".png":
        raise UserError(f"{flag}={path} must end in .png")
    if not path.parent.is_dir():
        raise UserError(f"{flag}={path}: there is no folder {path.parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(f"{flag} needs matplotlib: pip install matplotlib") from error


def check_table(flag: str, path: Path) -> None:
    """Makes its folder; raises UserError for a file that cannot be written, before any work."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag}={path} cannot be written: {error.strerror}") from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{flag}={path} cannot be written: name a file in a folder of yours")


def save(flag: str, picture: Any, path: Path) -> None:
    """Writes a matplotlib figure, whole or not at all, without the time of day."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        picture.savefig(temporary, format="png", metadata={"Software": None})
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {flag}={path}: {error.strerror}") from error
