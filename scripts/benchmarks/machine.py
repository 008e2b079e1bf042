"""The machine that a benchmark runs on."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.runtime import processor

SIDE = 2048  # of the matrices whose product MFU is measured by


def best_type() -> str:
    """Multiplied fastest: bfloat16 where a GPU or the processor computes in it, or float32."""
    fast = _has_gpu() or processor.has_bfloat16()
    return "bfloat16" if fast else "float32"


def best_precision() -> str:
    """The `precision` of config.runtime that is fastest on this machine."""
    return "mixed_bfloat16" if best_type() == "bfloat16" else "float32"


def product_rate(multiply: Callable[[int], Any], times: int = 5) -> float:
    """The best floating-point operations a second of products of two [SIDE, SIDE].

    Args:
      multiply: makes so many products, all finished when it returns.
      times: how often it is called.
    """
    count = 50 if _has_gpu() else 1  # a GPU takes less time for one than to say that it is done
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        multiply(count)
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 * count / min(seconds)


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists()
