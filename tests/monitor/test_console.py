"""Plain lines in a log file, one live bar on a terminal."""

import contextlib
import fcntl
import io
import os
import re
import struct
import termios

import pytest

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
    console.compiling("head", "the step of phase 'head'")
    console.training(120, "head", VALUES, 0.5)
    console.training(130, "head", VALUES, None)
    console.evaluation(120, "validation", {"accuracy": 0.875, "examples": 2500})
    console.message("saved")
    console.summary([("Look", "tensorboard --logdir=x")])
    console.close()
    assert stream.getvalue().splitlines() == [
        "Compiling the step of phase 'head'",
        "step 120/200 (60%) head: loss 0.5123, 12,346 tokens/s, rate 3.00e-04, 4.2% padding,"
        " 00:40 left",
        "step 130/200 (65%) head: loss 0.5123, 12,346 tokens/s, rate 3.00e-04, 4.2% padding",
        "step 120/200 validation: accuracy 0.8750, examples 2,500",
        "saved",
        "Look: tensorboard --logdir=x",
    ]


def test_steps_that_read_no_tokens_show_examples():
    stream = io.StringIO()
    values = {"train/loss": 0.5, "train/examples_per_second": 1234.5, "train/step_seconds": 0.5}
    Console(200, 100, stream).training(200, "head", values, 0.5)
    assert stream.getvalue() == "step 200/200 (100%) head: loss 0.5000, 1,234 examples/s\n"


def _shown_on_a_terminal(rows: int, columns: int, command: str = "tensorboard --logdir=x") -> str:
    """Output of a short run on a terminal of that size."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with open(slave, "w", encoding="utf-8") as stream:
        console = Console(200, 100, stream)
        console.compiling("head", "the step of phase 'head'")
        console.reached(101, "head")
        console.training(120, "head", VALUES, 0.5)
        console.message("saved")
        console.evaluation(110, "validation", {"accuracy": 0.75, "examples": 2500}, 110)
        console.evaluation(120, "validation", {"accuracy": 0.5, "examples": 2500}, 110)
        console.training(190, "head", VALUES, 0.5)
        console.reached(192, "head")
        console.shortened(192)
        console.summary([("Test", "fine"), ("Look", command)])
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
    last = [line for line in _plain(shown) if line.startswith("head:")][-1]
    assert last.startswith("head: 100%")
    assert "192/192" in last
    assert "loss 0.5123" in last


def _plain(coloured: str) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*[mKA]", "", line) for line in re.split(r"[\r\n]+", coloured)]


def test_a_table_after_each_evaluation_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = _shown_on_a_terminal(24, 120)
    lines = [line.split() for line in _plain(coloured)]
    at = lines.index(["validation", "validation"])
    assert [line for line in lines[at + 1 : at + 6] if "─" not in line[0]] == [
        ["step", "110", "step", "120"], ["best"],
        ["accuracy", "0.7500", "0.5000"], ["examples", "2,500", "2,500"],
    ]  # fmt: skip
    assert ["Look", "tensorboard", "--logdir=x"] in lines
    assert "\x1b[32m" in coloured  # green

    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[(3|4|9)", _shown_on_a_terminal(24, 120))


def test_lines_on_a_terminal_without_a_size():
    lines = _shown_on_a_terminal(0, 0).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "Compiling the step of phase 'head'", "step 120/200 (60%) head", "saved",
        "step 110/200 validation", "step 120/200 validation", "step 190/200 (95%) head",
        "Test", "Look",
    ]  # fmt: skip


def test_while_a_step_compiles_it_is_said_and_the_estimate_leaves_it_out():
    bars = [line for line in _plain(_shown_on_a_terminal(24, 120)) if "/200 [" in line]
    assert any(line.startswith("head, compiling:  50%") and "<?" in line for line in bars)
    # 80 steps of half a second, whatever has passed since the bar was made.
    assert any(line.startswith("head:  60%") and "<00:40,  2.00 steps/s" in line for line in bars)


@pytest.mark.parametrize("columns", [40, 64, 80])
def test_nothing_is_cut_on_a_narrow_terminal(columns):
    command = f"tensorboard --logdir={'x' * 200}"
    lines = _plain(_shown_on_a_terminal(24, columns, command))
    assert max(len(line) for line in lines if not line.startswith("Look")) <= columns
    bars = [line for line in lines if line.startswith("head") and "/200" in line]
    ends = {40: "100/200 50%, ? left", 64: "[00:00<?, ? steps/s]", 80: "[00:00<?, ? steps/s]"}
    assert bars[0].rstrip().endswith(ends[columns])
    ends = {40: "120/200 60%, 00:40 left", 64: "steps/s]", 80: "steps/s, loss 0.5123]"}
    assert bars[1].rstrip().endswith(ends[columns])
    assert not any("…" in line for line in lines)
    assert f"Look  {command}" in lines  # unbroken: whoever copies it gets one line
