"""Writes a report on runs that have ended: one HTML page that needs nothing beside it.

  python -m launch.report --workdir=runs/quickstart
  python -m launch.report --workdir=runs/quickstart runs/wide --output=comparison.html

Several runs, of the same test split, are compared: which difference is more than noise?
"""

from launch import main as program
from thaw.reporting import report
from trainer.storage.paths import local

_WORKDIR = program.define_path(
    "workdir", "Folder of a run; more of them may follow.", required=True
)
_OUTPUT = program.define_path(
    "output", "The page to write (default, for one run: report.html in its folder)."
)
_TRUST = program.define_trust()


def main(more: list[str]) -> None:
    """Writes the page."""
    folders = [_WORKDIR.value, *(local(name, "a folder of a run") for name in more)]
    page = report(folders, _OUTPUT.value, trust=_TRUST.value)
    program.say(f"Wrote {page}")


if __name__ == "__main__":
    program.run(main, __doc__, texts=True)
