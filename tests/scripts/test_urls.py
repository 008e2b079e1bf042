"""Paths that the programs in scripts/ take are paths of this machine: no folder `gs:` is made."""

import subprocess
import sys

import pytest
from programs import ROOT, environment

SMOKE = f"--config={ROOT / 'configs' / 'smoke.py'}"


@pytest.mark.parametrize(
    "arguments",
    [
        "speed step --record=s3:/b/a.csv",
        "peers --weights=gs://b/x",
        "compare.py --runs=gs://b/x",
        "compare.py --plot=gs://b/x.png",
        "fetch_sample.py --output=gs://b/x",
        "fetch_sample_weights.py --output=gs://b/x",
        "plot_run.py --workdir=. --output=gs://b/x.png",
        "screenshot_report.py --page=file:///x.html --output=x.png",
        "screenshot_tensorboard.py --logdir=gs://b/x",
        f"nb_lr.py {SMOKE} --workdir=gs://b/x",
    ],
    ids=lambda text: " ".join(text.split()[:2]),
)
def test_a_url_is_refused(arguments, tmp_path):
    name, *flags = arguments.split()
    is_file = name.endswith(".py")
    program = [ROOT / "scripts" / name] if is_file else ["-m", f"scripts.benchmarks.{name}"]
    command = [sys.executable, *program, *flags]
    done = subprocess.run(
        *(command,), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert "error: " in line
    assert "is a URL, and no path of this machine: mount that storage" in line
    assert not done.stdout
    assert not list(tmp_path.iterdir())
