"""The processor and its memory, as Linux tells of them."""

import os
import platform
import re
from pathlib import Path

ABOUT = Path("/proc/cpuinfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, by control groups v2


def name(about: Path = ABOUT) -> str:
    """The name that it gives itself."""
    named = re.search(r"^model name\s*: (.+)", _read(about), re.MULTILINE)
    return named[1].strip() if named else platform.processor()


def has_bfloat16(about: Path = ABOUT) -> bool | None:
    """True if it has instructions for products of bfloat16; None: it does not say.

    Without them bfloat16 is converted to float32 and back around each operation.
    """
    flags = re.search(r"^(?:flags|Features)\s*:(.+)", _read(about), re.MULTILINE)
    return bool(re.search(r"\b((avx512|amx)_)?bf16\b", flags[1])) if flags else None


def memory(limit: Path = LIMIT) -> int:
    """Bytes that there are, or that a container may use of them."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = _read(limit).strip()  # or "max"
    return min(there, int(allowed)) if allowed.isdigit() else there


def _read(about: Path) -> str:
    try:
        return about.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux, or no container
        return ""
