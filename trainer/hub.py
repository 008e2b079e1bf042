"""Models on the Hugging Face hub, through the cache that its own libraries share."""

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path

from trainer.errors import UserError

TIMEOUT = 10.0  # seconds for the hub's first answer
_NAME = re.compile(r"(?!.*(\.\.|--))[a-zA-Z0-9][\w.-]*(/[a-zA-Z0-9_][\w.-]*)?", re.ASCII)
_LONGEST = 96  # characters of a name on the hub


def folder_of(name: str, wanted: Sequence[str], what: str) -> Path:
    """The folder `name`, or the one of that model of the hub in the cache.

    What the cache lacks is downloaded. Where the hub cannot be had (HF_HUB_OFFLINE=1, no network),
    the cache alone is asked, at once: the hub's own libraries would try for a minute.

    Args:
      wanted: the names of the files that are downloaded where they exist; may hold wildcards.
      what: what a message begins with, such as "cannot load tokenizer".

    Raises:
      UserError: it is neither a folder nor to be had from the hub or the cache.
    """
    try:
        path = Path(name).expanduser()
        if name and path.is_dir():
            return path
        is_file = bool(name) and path.exists()
    # Too long for a path, with a character that none has, or the home of nobody.
    except (OSError, ValueError, RuntimeError):
        is_file = False
    called = repr(name) if len(name) <= 4 * _LONGEST else reprlib.repr(name)
    if is_file:
        raise UserError(f"{what} {called}: it is a file: give the folder that it is in")
    if "://" in name:
        raise UserError(
            f"{what} {called}: it is a URL: give a name on the hub, such as"
            " google-bert/bert-base-uncased, or a folder"
        )
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise UserError(f"{what} {called}: there is no such folder")
    from huggingface_hub import HfApi, snapshot_download  # which takes half a second

    unreachable: Exception | None = None
    try:
        HfApi().model_info(name, timeout=TIMEOUT)
    except Exception as error:  # the hub's, the network's and the proxy's kinds
        unreachable = error
    try:
        cached_only = unreachable is not None
        folder = snapshot_download(name, allow_patterns=list(wanted), local_files_only=cached_only)
    except Exception as error:
        reason = _reason(unreachable or error)
        raise UserError(f"{what} {name!r}: there is no such folder, and {reason}") from error
    return Path(folder)


def _reason(error: Exception) -> str:
    """Why it cannot be had from the hub, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, OfflineModeIsEnabled):
        return (
            "it is not in the hub's cache while HF_HUB_OFFLINE is set: unset it, or give a folder"
        )
    if isinstance(error, GatedRepoError):
        return "the hub gives it only to those who asked: do so there, then run `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such model, or a private one: check the name, or run `hf auth login`"
    said = " ".join(str(error).split())[:200]
    return (
        f"it is not in the hub's cache, and the hub cannot be used ({type(error).__name__}:"
        f" {said}): connect to it, or give a folder"
    )
