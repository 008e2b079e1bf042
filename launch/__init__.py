"""The programs: `python -m launch.train` and its siblings.

`python -m` lets modules of the current folder be imported, before all that is installed. It may be
a stranger's folder, with a yaml.py in it, so it leaves the search path before anything else is
imported; `trainer.imports.search_current_folder` puts it at the end where code of the user's own is
asked for. What Python itself imports before it comes here only `python -P -m` keeps out.
"""

import os
import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:  # what Python says while it looks for us
    _ROOT = os.path.realpath(os.path.join(__file__, os.pardir, os.pardir))  # noqa: PTH118 of pathlib later
    _CURRENT = os.path.realpath(os.curdir)
    _NAMED = map(os.path.realpath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    if _CURRENT not in (_ROOT, *_NAMED):  # an empty entry there means the current folder too
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != _CURRENT]
