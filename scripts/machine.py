"""The machine that a benchmark runs on."""

import platform
import re
from pathlib import Path

_ABOUT = Path("/proc/cpuinfo")


def processor() -> str:
    """The name that it gives itself."""
    named = re.search(r"^model name\s*: (.+)", _ABOUT.read_text(), re.MULTILINE)
    return named[1].strip() if named else platform.processor()


def best_type() -> str:
    """Multiplied fastest: bfloat16 where a GPU or the processor computes in it, or float32."""
    fast = Path("/dev/nvidia0").exists() or re.search(r"\b(\w+_)?bf16\b", _ABOUT.read_text())
    return "bfloat16" if fast else "float32"


def best_precision() -> str:
    """Of config.runtime, on this machine."""
    return "mixed_bfloat16" if best_type() == "bfloat16" else "float32"
