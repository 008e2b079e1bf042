"""The Python of docs/use/python.md and the notebook, run from top to bottom."""

import json
import re
import subprocess
import sys

import pytest
import tickets
from programs import ROOT, environment

pytestmark = pytest.mark.end_to_end
PAGE = ROOT / "docs" / "use" / "python.md"
NOTEBOOK = ROOT / "docs" / "tickets.ipynb"


@pytest.fixture
def folder(tmp_path):
    """An empty folder with a file of tickets."""
    with (tmp_path / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        tickets.write(file, 150)
    return tmp_path


@pytest.mark.long
def test_the_page(folder):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 5
    (folder / "program.py").write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**environment(), "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith(" 40")
    assert lines[-1].startswith("--workdir=runs/nothing holds no run: ")
    assert (folder / "exported" / "saved_model.pb").is_file()
    assert "tickets · own" in (folder / "comparison.html").read_text(encoding="utf-8")
    assert "Traceback" not in done.stderr
    result = json.loads((folder / "runs" / "tickets" / "result.json").read_text())
    assert float(lines[0].split()[0]) == result["test"]["accuracy"]


@pytest.mark.long
def test_the_notebook(folder):
    """In a kernel of its own, as a reader runs it; TensorBoard is ended at the end."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    ended = "from tensorboard import manager; import os, signal\n"
    ended += "for each in manager.get_all(): os.kill(each.pid, signal.SIGTERM)"
    notebook.cells.append(nbformat.v4.new_code_cell(ended))
    variables = {**environment(), "XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder)}
    client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(folder)}})
    client.execute(env=variables)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"^[01]\.\d{3} of \d+ test rows are right$", texts, re.M)
    assert "INFO" not in texts
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert not [o["text"] for o in outputs if o.get("name") == "stderr"]
    assert (folder / "exported" / "saved_model.pb").is_file()
    assert (folder / "runs" / "tickets" / "report.html").is_file()
