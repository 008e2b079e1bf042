"""metrics.jsonl: one JSON object a line, for people with a script."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.disk import replace
from trainer.monitor.records import belongs, is_evaluation


class MetricsLog:
    """Appends lines such as {"step": 10, "train/loss": 0.6931, "wall_seconds": 3.2}.

    Numbers have every digit that they need to be read back exactly. NaN and infinities, which JSON
    does not have, are null. A line reaches the operating system before `write` returns, so a killed
    process loses none.
    """

    def __init__(self, path: Path, resume_step: int):
        """Opens `path`, and first drops the lines that a run resumed at `resume_step` will write.

        A half-written last line is dropped too. The file is replaced as a whole. The time that went
        into dropped lines was spent all the same: a line {"step": 7, "wall_seconds": 3.2} keeps it.
        """
        kept, kept_seconds, self.wall_seconds = [], 0.0, 0.0
        for line, record in _read(path):
            seconds = record.get("wall_seconds") or 0.0
            self.wall_seconds = max(self.wall_seconds, seconds)
            evaluation = any(map(is_evaluation, record))
            if belongs(record["step"], evaluation, resume_step):
                kept.append(line)
                kept_seconds = max(kept_seconds, seconds)
        if self.wall_seconds > kept_seconds:
            spent = {"step": resume_step, "wall_seconds": self.wall_seconds}
            kept.append(to_json(spent) + "\n")
        replace(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends one line."""
        self._file.write(to_json({"step": step, **values}) + "\n")
        self._file.flush()

    def flush(self) -> None:
        """Forces every line onto the disk, to outlive the machine."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._file.close()


def to_json(value: Any, indent: int | None = None) -> str:
    """`value` as strict JSON: NumPy numbers as numbers, NaN and infinities as null."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each whole line, and what it says."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if line.endswith("\n") and isinstance(record, dict) and "step" in record:
                yield line, record
