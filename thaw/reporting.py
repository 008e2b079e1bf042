"""Reports: one HTML page on runs that have ended."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from thaw.environment import import_tensorflow
from trainer.errors import UserError
from trainer.storage.disk import replace
from trainer.storage.paths import local, real


def report(
    workdirs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    trust: Collection[str] = (),
) -> Path:
    """Writes a page that needs nothing beside it, and compares runs of the same test set.

    Args:
      workdirs: of one run, or of several that have the same test set.
      output: the file to write; None: report.html in the workdir of the one run.
      trust: packages of your own whose code the runs' settings may name.

    Returns:
      The file.

    Raises:
      UserError: no run has ended there, the test sets differ, or the file cannot be written.
    """
    given = [workdirs] if isinstance(workdirs, str | os.PathLike) else workdirs
    folders = [local(os.fspath(folder), "the workdir") for folder in given]
    if not folders:
        raise UserError("name at least one workdir to report on")
    if len({real(folder) for folder in folders}) < len(folders):
        raise UserError("a run is named twice: name each once")
    if len(folders) > 1 and not output:
        raise UserError("--output is missing: name the page for several runs")
    page = local(os.fspath(output), "--output") if output else folders[0] / "report.html"
    if output and not page.parent.is_dir():
        raise UserError(f"--output={page}: there is no folder {page.parent}")
    if page.is_dir():
        raise UserError(f"--output={page} is a folder: name a file")
    import_tensorflow()
    from trainer.reports.finished import read_runs
    from trainer.reports.page import render

    text = render(read_runs(folders, trust))
    try:
        replace(page, text)
    except OSError as error:
        raise UserError(f"cannot write --output={page}: {error.strerror}") from error
    return page
