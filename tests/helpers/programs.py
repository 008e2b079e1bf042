"""Runs the programs of launch/ as processes, and reads what a run left behind."""

import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
TIMING = (  # what the names of what no two runs have in common begin with
    *("wall_seconds", "train/tokens_per_second", "train/examples_per_second"),
    *("train/step_seconds", "time/", "memory/"),
)
Point = tuple[int, str]


class Ended(NamedTuple):
    """The end of a process, and what it said; of one that is watched, what it took."""

    status: int
    stdout: str
    stderr: str
    bytes: int = 0  # of memory, at most
    seconds: float = 0.0  # that it computed
    stopped: str = ""  # why it was killed: it took too many "seconds" or "bytes"


def environment() -> dict[str, str]:
    """That of this process, without what would change where a program looks."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def replaced(flags: Sequence[object], *more: object) -> list[str]:
    """The flags, without those that `more` has too, and then `more`: none is given twice."""
    names = {str(flag).partition("=")[0] for flag in more}
    kept = [str(flag) for flag in flags if str(flag).partition("=")[0] not in names]
    return [*kept, *map(str, more)]


def last_of_each(flags: Sequence[object]) -> list[str]:
    """The flags, of those of one name the last: a program takes each once."""
    found: list[str] = []
    for flag in flags:
        found = replaced(found, flag)
    return found


def run(*arguments: object, program: str = "launch.train", **options: Any) -> Ended:
    """`python -m program arguments`, in the root of the repository, to its end."""
    command = [sys.executable, "-m", program, *map(str, arguments)]
    options = {"cwd": ROOT, "env": environment(), **options}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return Ended(done.returncode, done.stdout, done.stderr)


def train_all(runs: Sequence[Sequence[object]]) -> None:
    """Runs of launch.train, two at a time: most of a short run keeps one core busy."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for arguments, ended in zip(runs, pool.map(lambda each: run(*each), runs), strict=True):
            assert ended.status == 0, (arguments, ended.stderr)


class Prewarmed:
    """Runs programs as `run` does, but each starts in a second; see prewarmed.py."""

    def __init__(self, **variables: str):
        self._server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("prewarmed.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**environment(), **variables},
        )

    def __call__(
        self,
        *arguments: object,
        program: str = "launch.train",
        path: Sequence[object] = (),
        **more: Any,
    ) -> Ended:
        """Runs a program to its end.

        Args:
          arguments: its own.
          program: its module.
          path: folders that it imports from as well.
          more: see `Job` in prewarmed.py.
        """
        with tempfile.TemporaryDirectory() as folder:
            said = {name: Path(folder) / name for name in ("stdout", "stderr")}
            job = {
                "program": program,
                "arguments": list(map(str, arguments)),
                "path": list(map(str, path)),
                **{name: str(file) for name, file in said.items()},
                **more,
            }
            assert self._server.stdin
            assert self._server.stdout
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            answer = json.loads(self._server.stdout.readline())
            stdout, stderr = (
                file.read_bytes().decode(errors="backslashreplace") for file in said.values()
            )
            # A forked TensorFlow says in C++ what `import_tensorflow` hides in a fresh process.
            stderr = re.sub(r"^[EWI]0000 00:00:.*\n", "", stderr, flags=re.M)
            return Ended(**answer, stdout=stdout, stderr=stderr)

    def close(self) -> None:
        """Ends it."""
        self._server.communicate()


def points(workdir: Path) -> dict[Point, float]:
    """Every value of metrics.jsonl by step and key; fails where one is there twice."""
    found: dict[Point, float] = {}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for key, value in values.items():
            assert key == "wall_seconds" or (step, key) not in found, f"twice: {key} at {step}"
            found[step, key] = value
    return found


def losses(workdir: Path) -> dict[int, float]:
    """The training loss of each step that was logged."""
    return {step: v for (step, key), v in points(workdir).items() if key == "train/loss"}


def events(workdir: Path) -> dict[Point, bytes]:
    """Every TensorBoard value by step and tag; fails where one is there twice."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found: dict[Point, bytes] = {}
    for file in sorted((workdir / "tensorboard").glob("events.*")):
        for record in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(record)
            for value in event.summary.value:
                assert (event.step, value.tag) not in found, f"twice: {value.tag} at {event.step}"
                found[event.step, value.tag] = value.SerializeToString()
    return found


def contents(folder: Path) -> dict[str, str]:
    """The sha256 of every file in a folder, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Every variable of a checkpoint, by name."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder / "state"))
    names = sorted(reader.get_variable_to_shape_map())
    return {name: np.asarray(reader.get_tensor(name)) for name in names}


def newest(store: Path) -> Path:
    """The checkpoint with the highest step in checkpoints/ or best/."""
    return sorted(store.glob("step-*"))[-1]


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs ended alike: weights bit for bit, every point once and the same, but the timing."""
    assert newest(one / "checkpoints").name == newest(other / "checkpoints").name
    assert [p.name for p in sorted((one / "best").iterdir())] == [
        p.name for p in sorted((other / "best").iterdir())
    ]
    pairs = [(newest(one / "checkpoints"), newest(other / "checkpoints"))]
    pairs += [(path, other / "best" / path.name) for path in (one / "best").iterdir()]
    for mine, its in pairs:
        a, b = weights(mine), weights(its)
        assert a.keys() == b.keys()
        different = [name for name in a if a[name].tobytes() != b[name].tobytes()]
        assert not different, f"{mine} and {its} differ in {different}"
        assert contents(mine) == contents(its)
    for read in (points, events):
        a, b = (  # a killed run notes its time at the step of the resume too
            {at: v for at, v in read(path).items() if at[1] != "wall_seconds"}
            for path in (one, other)
        )
        assert a.keys() == b.keys(), f"only in one: {sorted(a.keys() ^ b.keys())}"
        anew = (*TIMING, "config", "_hparams_/")
        different = [at for at in a if not at[1].startswith(anew) and a[at] != b[at]]
        assert not different, [(at, a[at], b[at]) for at in different]
    if (one / "result.json").exists():
        assert contents(one / "scores") == contents(other / "scores")
        files = [path / "calibration.json" for path in (one, other)]  # not of every task
        fitted = [file.read_text() if file.exists() else "" for file in files]
        assert fitted[0] == fitted[1]
    results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
    for result in results:
        for of_this_run in ("wall_seconds", "seconds", "seal"):
            result.pop(of_this_run)
        result["sha256"].pop("metrics.jsonl")
    assert results[0] == results[1]
