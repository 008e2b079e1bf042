"""The command `thaw`: `thaw train --config=…` is `python -m launch.train --config=…`."""

import runpy
import sys
from pathlib import Path

COMMANDS = {
    "train": "train a model, or go on with a run",
    "evaluate": "score a set of a run",
    "predict": "label texts, or the rows of a file",
    "export": "write a model for other programs",
    "report": "a page on one run or several",
    "sweep": "try many settings",
    "smoke": "try a config: a few steps, in every way that must agree",
    "tokenize": "texts as tokenizers cut them",
    "local": "train with several workers on this machine",
    "slurm": "train on a Slurm cluster",
    "kubernetes": "train on a Kubernetes cluster",
}


def main() -> None:
    """Runs the program that the first argument names; ends the process."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print("usage: thaw COMMAND --FLAG=VALUE …    (thaw COMMAND --help lists the flags)\n")
        print("\n".join(f"  {each:<{width}}  {said}" for each, said in COMMANDS.items()))
        sys.exit(0)
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"is it {near[0]}?" if near else f"it is one of: {', '.join(COMMANDS)}"
        print(f"error: thaw has no command {name[:80]!r}: {hint}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [str(Path(__file__).with_name(f"{name}.py")), *sys.argv[2:]]
    runpy.run_module(f"launch.{name}", run_name="__main__", alter_sys=True)
