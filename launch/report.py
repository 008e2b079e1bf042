"""Writes a report on runs that have ended: one HTML page that needs nothing beside it.

  python -m launch.report --workdir=runs/quickstart
  python -m launch.report --workdir=runs/quickstart runs/wide --output=comparison.html

Several runs, of the same test split, are compared: which difference is more than noise?
"""

from launch import main as program
from trainer.errors import UserError
from trainer.storage.paths import local, real

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
    if len({real(folder) for folder in folders}) < len(folders):
        raise UserError("a run is named twice: name each once")
    if len(folders) > 1 and not _OUTPUT.value:
        raise UserError("--output is missing: name the page for several runs")
    output = _OUTPUT.value or folders[0] / "report.html"
    if _OUTPUT.value and not output.parent.is_dir():
        raise UserError(f"--output={output}: there is no folder {output.parent}")
    if output.is_dir():
        raise UserError(f"--output={output} is a folder: name a file")
    program.import_tensorflow()
    from trainer.reports.finished import read_runs
    from trainer.reports.page import render
    from trainer.storage.disk import replace

    page = render(read_runs(folders, _TRUST.value))
    try:
        replace(output, page)
    except OSError as error:
        raise UserError(f"cannot write --output={output}: {error.strerror}") from error
    program.say(f"Wrote {output}")


if __name__ == "__main__":
    program.run(main, __doc__, texts=True)
