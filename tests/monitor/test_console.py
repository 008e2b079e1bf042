"""Plain lines in a log file, one live bar on a terminal."""

import contextlib
import fcntl
import io
import os
import struct
import termios

from trainer.monitor.console import Console

VALUES = {
    "train/loss": 0.51234,
    "train/learning_rate": 3e-4,
    "train/tokens_per_second": 12345.6,
    "train/padding": 0.042,
    "train/step_seconds": 0.5,
}


def test_lines_in_a_log_file():
    stream = io.StringIO()
    console = Console(200, 100, stream)
    console.training(120, "head", VALUES)
    console.evaluation(120, "validation", {"accuracy": 0.875, "examples": 2500})
    console.message("saved")
    console.close()
    assert stream.getvalue().splitlines() == [
        "step 120/200 (60%) head: loss 0.5123, rate 3.00e-04, 12,346 tokens/s, 4.2% padding,"
        " 00:40 left",
        "step 120/200 validation: accuracy 0.8750, examples 2,500",
        "saved",
    ]


def _shown_on_a_terminal(rows: int, columns: int) -> str:
    """What a terminal of that size gets to see of a short run."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with open(slave, "w", encoding="utf-8") as stream:
        console = Console(200, 100, stream)
        console.training(120, "head", VALUES)
        console.message("saved")
        console.training(200, "head", VALUES)
        console.close()
        console.close()
    shown = b""
    with contextlib.suppress(OSError):  # all is read, and the other end is closed
        while part := os.read(master, 4096):
            shown += part
    os.close(master)
    return shown.decode()


def test_a_bar_on_a_terminal():
    shown = _shown_on_a_terminal(24, 120)
    assert "saved\r\n" in shown
    last = shown.strip().split("\r")[-1]
    assert last.startswith("head: 100%")
    assert "200/200" in last
    assert "loss 0.5123" in last


def test_lines_on_a_terminal_without_a_size():
    lines = _shown_on_a_terminal(0, 0).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "step 120/200 (60%) head", "saved", "step 200/200 (100%) head",
    ]  # fmt: skip
