"""Messages of an import of TensorFlow, shown where it fails, and only then."""

import subprocess
import sys

import pytest
from programs import ROOT, environment


@pytest.mark.parametrize(
    ("ends", "status", "shown"),
    [("SystemExit(3)", 3, False), ("ImportError('no')", 1, True)],  # a signal; a broken one
)
def test_it_is_shown_where_the_import_fails(tmp_path, ends, status, shown):
    (tmp_path / "tensorflow.py").write_text(
        f"import os\nos.write(2, b'I0000 news\\n')\nraise {ends}\n"
    )
    script = "from thaw import environment\nenvironment.import_tensorflow()\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment(), "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert ("I0000 news" in done.stderr) == shown
