"""A program with the fault that its first argument names, in the file that the second one names."""

import sys
import time
from pathlib import Path

FAULT, OUTPUT = sys.argv[1], Path(sys.argv[2])
if FAULT == "traceback":
    raise KeyError("label")
if FAULT == "said traceback":  # and goes on
    print("Traceback (most recent call last):\n  x\nValueError: y", file=sys.stderr)
    sys.exit(0)
if FAULT == "hang":
    print("Reading", file=sys.stderr, flush=True)
    time.sleep(60)
if FAULT == "memory":
    held = []
    while True:
        held.append(b"x" * 2**26)
if FAULT == "status":
    sys.exit(7)
if FAULT in ("half", "temporary", "stray", "half and refused"):
    name = {"temporary": f"{OUTPUT.name}.tmp", "stray": "else.txt"}.get(FAULT, OUTPUT.name)
    OUTPUT.with_name(name).write_text("hal")
if FAULT == "changed":
    OUTPUT.with_name("mine").write_text("theirs")
if FAULT == "whole":
    OUTPUT.write_text("whole\n")
if FAULT == "two lines":
    print("error: one\nerror: two", file=sys.stderr)
if FAULT == "no line":
    print("it did not work", file=sys.stderr)
if FAULT == "not last":
    print("error: this\nand that", file=sys.stderr)
if FAULT == "long":
    print("error: " + "x" * 5000, file=sys.stderr)
if FAULT == "control":
    print("error: \x1b[31mred", file=sys.stderr)
if FAULT in ("refused", "half and refused", "changed"):
    print("Note: first\nerror: no such file", file=sys.stderr)
sys.exit(0 if FAULT in ("half", "temporary", "stray", "whole") else 2)
