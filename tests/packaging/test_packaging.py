"""Promises of setup.py, constraints.txt, BUILD.md and the Makefile to each other."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("trainer", "thaw", "launch")


def canonical(name: str) -> str:
    """`ML_Collections>=1` -> `ml-collections`."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def declared() -> dict[str, set[str]]:
    """Names in setup.py: {"": what everyone needs, "gpu": ..., "dev": ...}."""
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign)
    }
    groups = {"": values["REQUIRES"], **values["EXTRAS"]}
    return {group: {canonical(name) for name in names} for group, names in groups.items()}


def third_party_imports(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names) - {"trainer", "thaw", "launch", "configs"}


def test_the_library_imports_only_what_setup_declares():
    distributions = importlib.metadata.packages_distributions()
    undeclared = {}
    # [text] is imported where an export needs it, or said to miss.
    known = declared()[""] | declared()["text"]
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for module in third_party_imports(path):
                names = {canonical(name) for name in distributions.get(module, [module])}
                if not names & known:
                    undeclared.setdefault(module, []).append(str(path.relative_to(ROOT)))
    assert not undeclared, "add to REQUIRES in setup.py, and to the table in BUILD.md"


def test_every_dependency_has_an_exact_pin():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert all(re.match(r"[\w.-]+==[\w.]+(\s|$)", pin) for pin in pins)
    pinned = {canonical(pin) for pin in pins}
    assert set().union(*declared().values()) <= pinned, "run `make constraints`"


def test_build_md_gives_a_reason_for_every_dependency():
    section = (ROOT / "BUILD.md").read_text().split("## Dependencies")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]*) \|$", section, re.MULTILINE)
    reasons = {
        canonical(name): reason.strip()
        for names, reason in rows
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert set(reasons) == set().union(*declared().values())
    assert all(reasons.values())


@pytest.mark.long
def test_the_wheel_holds_every_file_of_the_packages(tmp_path):
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    files = {
        path.relative_to(tmp_path).as_posix()
        for name in PACKAGES
        for path in (tmp_path / name).rglob("*")
        if path.is_file()
    } | {
        f"thaw/shipped/{path.relative_to(tmp_path).as_posix()}"
        for path in (tmp_path / "configs").rglob("*.py")
    }
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."],
        cwd=tmp_path,
        check=True,
    )
    (wheel,) = tmp_path.glob("thaw-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    read = "import thaw; print(thaw.read_config('configs/glue/mrpc.py').model.pretrained)"
    done = subprocess.run(
        [sys.executable, "-c", read],
        cwd=tmp_path / "installed",
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A folder with only what make reads, a space in its name."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("Makefile", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(folder, *arguments, **environment):
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
    )


def test_make_alone_prints_help_that_names_every_target(checkout):
    result = make(checkout)
    assert result.returncode == 0
    phony = re.search(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    missing = [name for name in phony.split()[1:] if f"make {name} " not in result.stdout]
    assert not missing


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_an_interpreter_that_does_not_fit_is_refused_in_one_line(checkout, version):
    python = checkout / "some python"  # answers as `version` would to the question make asks
    python.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = {version}\n$2"\n'
    )
    python.chmod(0o755)
    result = make(checkout, "install", f"PYTHON={python}")
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert len(errors) == 1
    assert errors[0].startswith("error: no Python 3.11, 3.12 or 3.13")
    assert str(python) in errors[0]
    assert not (checkout / ".venv").exists()


def test_interpreters_that_do_not_run_are_passed_over(checkout):
    """pyenv puts a python3.13 on the PATH that only prints an error when 3.13 is not chosen."""
    tools = checkout / "bin"
    tools.mkdir()
    for name in ("python3.13", "python3.12", "python3.11"):
        (tools / name).write_text("#!/bin/sh\nexit 127\n")
        (tools / name).chmod(0o755)
    chosen = tools / "python3"  # fits, and stops before anything is installed
    chosen.write_text(f'#!/bin/sh\ncase "$1" in -m) exit 9;; esac\nexec "{sys.executable}" "$@"\n')
    chosen.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    result = make(checkout, "install", PATH=path, PYTHON="")
    assert f"Making .venv with Python {sys.version.split()[0]}" in result.stdout
    assert "error: no Python" not in result.stderr


def test_a_venv_that_is_none_is_made_anew(checkout):
    """A link to an interpreter, as an interrupted venv may leave, must not be installed into."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    base = Path(sys.base_prefix) / "bin" / "python3"
    (checkout / ".venv" / "bin" / "python").symlink_to(base)
    result = make(checkout, "install", "PYTHON=no-such-python")
    assert result.returncode == 2
    assert "error: no Python" in result.stderr


def test_a_failed_installation_is_not_taken_for_a_whole_one(checkout):
    venv = checkout / ".venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(
        f'#!/bin/sh\ncase "$*" in *install*) exit 9;; esac\nexec "{sys.executable}" "$@"\n'
    )
    (venv / "python").chmod(0o755)
    for _ in range(2):
        result = make(checkout, "install")
        assert result.returncode == 2
        assert "Error 9" in result.stderr
    assert not (checkout / ".venv" / ".installed").exists()
