"""JSON files that notice a changed bit: an object that holds the sha256 of the rest of itself.

A seal finds damage and hand edits. It is no signature: who makes a file can seal any values, so a
reader checks their types and ranges as well, with `trainer.storage.fields`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.storage import strict_json
from trainer.storage.disk import replace, seal_of
from trainer.storage.plain import plain

SEAL = "seal"


class Damaged(strict_json.InvalidJson):
    """A file that is not what was written; any other InvalidJson may be of another version."""


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Writes `values` with their seal, whole or not at all; see `plain` for what JSON lacks."""
    sealed = json.loads(json.dumps(plain(values), allow_nan=False))  # keys as text, as it is read
    sealed[SEAL] = seal_of(sealed)
    replace(path, json.dumps(sealed, indent=2) + "\n")


def read(path: Path) -> dict[str, Any]:
    """The values that `write` was given, without their seal.

    Raises:
      OSError: the file cannot be read.
      Damaged: it is not strict JSON, or its seal does not fit.
      strict_json.InvalidJson: it has no seal.
    """
    if not path.is_file():
        path.stat()  # raises where there is nothing
        raise Damaged("no regular file")
    try:
        values = strict_json.read(path)
    except strict_json.InvalidJson as error:
        raise Damaged(str(error)) from error
    if SEAL not in values:
        raise strict_json.InvalidJson("it has no seal")
    if values.pop(SEAL) != seal_of(values):
        raise Damaged("it is not what was written: its seal does not fit")
    return values
