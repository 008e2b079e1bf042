"""Plain lines in a log file, one live bar on a terminal."""

import io

from trainer.monitor.console import Console

VALUES = {
    "train/loss": 0.51234,
    "train/learning_rate": 3e-4,
    "train/tokens_per_second": 12345.6,
    "train/padding": 0.042,
    "train/step_seconds": 0.5,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


def test_a_bar_on_a_terminal():
    stream = Terminal()
    console = Console(200, 100, stream)
    console.training(120, "head", VALUES)
    console.message("saved")
    console.close()
    console.close()
    shown = stream.getvalue()
    assert "saved\n" in shown
    last = shown.splitlines()[-1]
    assert "head:" in last
    assert "120/200" in last
    assert "loss 0.5123" in last
