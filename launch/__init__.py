"""The programs: `python -m launch.train` and its siblings.

`python -m` lets modules of the current folder be imported, before all that is installed, and so
does an empty entry of PYTHONPATH. It may be a stranger's folder, with a yaml.py in it, so it leaves
the search path before anything else is imported, here and in processes that begin here;
`trainer.imports.search_current_folder` puts it at the end where code of the user's own is asked
for. What Python itself imports before it comes here only `python -P -m` keeps out.
"""

import importlib.util
import os
import sys

if sys.argv[:1] == ["-m"]:  # what Python says while it looks for us
    for _NUMBER, _NAME in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, _NAME) is None:  # closed: its number must not become another file's
            os.dup2(os.open(os.devnull, os.O_RDWR), _NUMBER)
            setattr(sys, _NAME, open(_NUMBER, "w", encoding="utf-8"))  # noqa: SIM115
    _ROOT = os.path.realpath(os.path.join(__file__, os.pardir, os.pardir))  # noqa: PTH118 of pathlib later
    try:
        _CURRENT = os.getcwd()  # noqa: PTH109
    except OSError:
        print("error: the current folder is no longer there: go to another one", file=sys.stderr)
        sys.exit(2)
    if sys.flags.safe_path:
        os.environ["PYTHONSAFEPATH"] = "1"  # -P, for our children
    if os.path.realpath(_CURRENT) != _ROOT:
        _GIVEN = os.environ.get("PYTHONPATH", "")
        _NAMED = os.pathsep.join(filter(None, _GIVEN.split(os.pathsep)))
        if _GIVEN != _NAMED:
            os.environ["PYTHONPATH"] = _NAMED
            # Anew: Python left out its own folders where an empty entry had given them already.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        if sys.path[0] == _CURRENT and not sys.flags.safe_path:
            del sys.path[0]
    if importlib.util.find_spec("absl") is None:  # the system's Python, say
        _MADE = os.path.join(_ROOT, ".venv", "bin", "python")  # noqa: PTH118
        _WHAT = f"use {_MADE}" if os.path.exists(_MADE) else "make install, then .venv/bin/python"  # noqa: PTH110
        print(f"error: {sys.executable} has none of the packages: {_WHAT}", file=sys.stderr)
        sys.exit(2)
