"""What the programs that draw have in common."""

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


def save(flag: str, picture: Any, path: Path) -> None:
    """Writes a matplotlib figure, whole or not at all, without the time of day."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        picture.savefig(temporary, format="png", metadata={"Software": None})
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {flag}={path}: {error.strerror}") from error
