"""JSON files that notice a changed bit: an object that holds the sha256 of the rest of itself.

A seal finds damage and hand edits. It is no signature: who makes a file can seal any values, so a
reader checks their types and ranges as well, with `trainer.storage.fields`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.disk import replace, seal_of
from trainer.storage import strict_json
from trainer.storage.plain import plain

SEAL = "seal"


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Writes `values` with their seal, whole or not at all; see `plain` for what JSON lacks."""
    sealed = json.loads(json.dumps(plain(values), allow_nan=False))  # keys as text, as it is read
    sealed[SEAL] = seal_of(sealed)
    replace(path, json.dumps(sealed, indent=2) + "\n")


def read(path: Path) -> dict[str, Any]:
    """The values that `write` was given, without their seal.

    Raises:
      OSError: the file cannot be read.
      strict_json.InvalidJson: it is not strict JSON, or not what was written.
    """
    if not path.is_file():
        path.stat()  # raises where there is nothing
        raise strict_json.InvalidJson("no regular file")
    values = strict_json.read(path)
    if values.pop(SEAL, None) != seal_of(values):
        raise strict_json.InvalidJson("it is not what was written: its seal does not fit")
    return values
