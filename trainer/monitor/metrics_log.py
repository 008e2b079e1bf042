"""metrics.jsonl: one JSON object a line, for people with a script."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from trainer.monitor.records import belongs, is_evaluation
from trainer.storage import fields, strict_json
from trainer.storage.disk import replace, sha256_of
from trainer.storage.plain import to_json

_LONGEST = 2**20  # bytes of a line; a run's have some hundreds


class MetricsLog:
    """Appends lines such as {"step": 10, "train/loss": 0.6931, "wall_seconds": 3.2}.

    Numbers have every digit that they need to be read back exactly. NaN and infinities, which JSON
    does not have, are null. A line reaches the operating system before `write` returns, so a killed
    process loses none.
    """

    def __init__(self, path: Path, resume_step: int):
        """Opens `path`, and first drops the lines that a run resumed at `resume_step` will write.

        A half-written last line is dropped too, and with a warning each damaged one. The file is
        replaced as a whole. The time that went into dropped lines was spent all the same: a line
        {"step": 7, "wall_seconds": 3.2} keeps it.
        """
        kept, kept_seconds, self.wall_seconds = [], 0.0, 0.0
        damaged: list[str] = []
        for line, record in read_records(path, damaged.append) if path.exists() else ():
            seconds = record.get("wall_seconds") or 0.0
            self.wall_seconds = max(self.wall_seconds, seconds)
            evaluation = any(map(is_evaluation, record))
            if belongs(record["step"], evaluation, resume_step):
                kept.append(line)
                kept_seconds = max(kept_seconds, seconds)
        if damaged:
            more = f", and {len(damaged) - 1} more" if damaged[1:] else ""
            logging.warning("%s: dropped what is no record: %s%s", path, damaged[0], more)
        if self.wall_seconds > kept_seconds:
            spent = {"step": resume_step, "wall_seconds": self.wall_seconds}
            kept.append(to_json(spent) + "\n")
        replace(path, "".join(kept))
        self._path, self._file = path, path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends one line."""
        self._file.write(to_json({"step": step, **values}) + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Forces every line onto the disk, to outlive the machine."""
        os.fsync(self._file.fileno())

    def sha256(self) -> str:
        """sha256 in hex of the file so far."""
        return sha256_of(self._path)

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._file.close()


def read_records(
    path: Path, damaged: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line with its record: "step", a whole number, and numbers or None by name.

    Args:
      path: of metrics.jsonl. A last line without its end, which a kill leaves, is passed over.
      damaged: told of every other line that holds no such record: its number, and why.

    Raises:
      OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=1):
            if not line.endswith(b"\n") and len(line) < _LONGEST:
                return
            try:
                record = strict_json.as_object(line)
                fields.integer(record, "step")
                for name in record:
                    fields.number_or_nan(record, name)
                if record.get("wall_seconds") is not None:
                    fields.number(record, "wall_seconds", low=0)
            except (strict_json.InvalidJson, fields.Invalid) as error:
                damaged(f"line {number}: {error}")
                continue
            yield line.decode(), record
