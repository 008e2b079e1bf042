"""The folder where a program begins: it is a stranger's, one of Python's own, or gone."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from programs import ROOT, Ended, environment

PATHS = (f"{ROOT}", f":{ROOT}", f"{ROOT}::")  # an empty entry is the current folder


def run(
    folder: Path, *arguments: str, path: str = PATHS[0], options: tuple[str, ...] = ()
) -> Ended:
    """`python options -m arguments` in a folder, with that PYTHONPATH, to its end."""
    done = subprocess.run(
        [sys.executable, *options, "-m", *arguments],
        cwd=folder,
        env={**environment(), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def theirs(tmp_path) -> Path:
    """A stranger's folder."""
    for name in ("absl", "numpy", "trainer", "yaml"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('ran {name}')")
    return tmp_path


@pytest.mark.parametrize("options", [(), ("-P",)])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_in_it_is_imported(theirs, path, options):
    ended = run(theirs, "launch.predict", "--help", path=path, options=options)
    assert ended.status == 0, ended.stderr
    assert ended.stdout.startswith("Predicts labels")


def test_what_pythonpath_names_is_imported(theirs):
    ended = run(theirs, "launch.predict", "--help", path=f"{theirs}:{ROOT}")
    assert ended.stderr == "ran absl\n"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("folder", ["purelib", "stdlib"])
def test_one_of_pythons_own_stays_where_python_had_it(folder, path):
    ended = run(Path(sysconfig.get_path(folder)), "launch.predict", "--help", path=path)
    assert ended.status == 0, ended.stderr


def test_a_child_imports_nothing_in_it_either(theirs):
    """With -P not even a `launch` that lies there."""
    (theirs / "launch").mkdir()
    (theirs / "launch" / "__init__.py").write_text("raise SystemExit('ran launch')")
    flags = ("--workers=1", "--", "--config=none.py", "--workdir=run")
    ended = run(theirs, "launch.local", *flags, options=("-P",))
    assert ended.status == 2
    assert "--config=none.py: No such file or directory" in ended.stderr


def test_a_batch_script_keeps_p(theirs):
    flags = ("--dry_run", "--nodes=1", "--", f"--config={ROOT}/configs/smoke.py", "--workdir=run")
    for options in ((), ("-P",)):
        ended = run(theirs, "launch.slurm", *flags, path=PATHS[1], options=options)
        assert ended.status == 0, ended.stderr
        assert ("\nexport PYTHONSAFEPATH=1\n" in ended.stdout) == bool(options)
        assert f"\nexport PYTHONPATH={ROOT}\n" in ended.stdout


def test_one_that_was_deleted_is_one_line(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    remove = 'rmdir "$PWD" && exec "$0" -m launch.predict --help'
    done = subprocess.run(
        ["sh", "-c", remove, sys.executable],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current folder is no longer there: go to another one\n"
