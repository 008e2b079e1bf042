"""Bars of long work: the time left, and a rate of something else."""

import contextlib
import fcntl
import os
import re
import struct
import sys
import termios
from types import SimpleNamespace

from trainer.data import progress


def test_the_time_left_leaves_a_start_out(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    terminal, its_end = os.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with open(its_end, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.bar("Predicting", 1000, "B", "rows") as advance:
            now = 100.0
            advance(200, None)  # compiled
            now = 102.0
            advance(400, 7.0)
    shown = b""
    with contextlib.suppress(OSError):  # all is read, and the other end is closed
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    last = re.split(r"[\r\n]+", shown.decode())[-2]
    assert re.search(r" 60%.*<00:02, 200B/s, 7 rows/s\]", last), shown
