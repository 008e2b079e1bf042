"""The end of a program: its exit status is what it returned."""

import subprocess
import sys

from programs import ROOT

LATE = """
import os
from launch import main

class Late:
    def __del__(self, kill=os.kill, process=os.getpid()):
        kill(process, 15)

late = Late()
main.run(lambda: 75, "A program that is told to end, and once more while Python ends.")
"""


def test_a_signal_while_python_ends_changes_nothing():
    done = subprocess.run([sys.executable, "-c", LATE], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (75, "", "")
