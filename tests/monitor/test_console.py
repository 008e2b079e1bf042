"""Plain lines in a log file, one live bar on a terminal."""

import contextlib
import fcntl
import io
import os
import re
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
    console.summary([("Look", "tensorboard --logdir=x")])
    console.close()
    assert stream.getvalue().splitlines() == [
        "step 120/200 (60%) head: loss 0.5123, rate 3.00e-04, 12,346 tokens/s, 4.2% padding,"
        " 00:40 left",
        "step 120/200 validation: accuracy 0.8750, examples 2,500",
        "saved",
        "Look: tensorboard --logdir=x",
    ]


def test_steps_that_read_no_tokens_show_examples():
    stream = io.StringIO()
    values = {"train/loss": 0.5, "train/examples_per_second": 1234.5, "train/step_seconds": 0.5}
    Console(200, 100, stream).training(200, "head", values)
    assert stream.getvalue() == "step 200/200 (100%) head: loss 0.5000, 1,234 examples/s\n"


def _shown_on_a_terminal(rows: int, columns: int) -> str:
    """Output of a short run on a terminal of that size."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with open(slave, "w", encoding="utf-8") as stream:
        console = Console(200, 100, stream)
        console.training(120, "head", VALUES)
        console.message("saved")
        console.evaluation(110, "validation", {"accuracy": 0.75, "examples": 2500}, 110)
        console.evaluation(120, "validation", {"accuracy": 0.5, "examples": 2500}, 110)
        console.training(200, "head", VALUES)
        console.summary([("Look", "tensorboard --logdir=x")])
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


def test_a_table_after_each_evaluation_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = _shown_on_a_terminal(24, 120)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured.splitlines()]
    rows = [re.findall(r"[^ │]+", line) for line in lines if "│" in line]
    best, other = ["110", "validation", "best", "0.7500", "2,500"], "120 validation 0.5000 2,500"
    assert rows == [best, best, other.split()]
    assert any(line.split() == ["Look", "tensorboard", "--logdir=x"] for line in lines)
    assert "\x1b[32m" in coloured  # green

    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[(3|4|9)", _shown_on_a_terminal(24, 120))


def test_lines_on_a_terminal_without_a_size():
    lines = _shown_on_a_terminal(0, 0).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "step 120/200 (60%) head", "saved", "step 110/200 validation",
        "step 120/200 validation", "step 200/200 (100%) head", "Look",
    ]  # fmt: skip
