"""What the processor says of itself, as Linux passes it on."""

import platform
import re
from pathlib import Path

ABOUT = Path("/proc/cpuinfo")


def name(about: Path = ABOUT) -> str:
    """The name that it gives itself."""
    named = re.search(r"^model name\s*: (.+)", _read(about), re.MULTILINE)
    return named[1].strip() if named else platform.processor()


def has_bfloat16(about: Path = ABOUT) -> bool | None:
    """Whether it has instructions for products of bfloat16; None: it does not say.

    Without them bfloat16 is converted to float32 and back around each operation.
    """
    flags = re.search(r"^(?:flags|Features)\s*:(.+)", _read(about), re.MULTILINE)
    return bool(re.search(r"\b((avx512|amx)_)?bf16\b", flags[1])) if flags else None


def _read(about: Path) -> str:
    try:
        return about.read_text(errors="replace")
    except OSError:  # not Linux
        return ""
