"""Wall time to a test accuracy: Keras `fit` of the textbook model, and ours; see speed.py."""

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launch import main as program
from trainer.errors import UserError
from trainer.storage import strict_json

LIMIT = 0.5  # of the peer's wall time
POLL = 0.1  # seconds between two looks at the folder of checkpoints
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ("imdb_sample", ROOT / "data")


def compare(
    config_file: Path,
    changes: Sequence[str],
    data_dir: Path | None,
    limit: int,
    peer_epochs: int,
    output: Path,
) -> int:
    """Runs both, prints a table and writes it to `output`; returns 1 if the ratio is above LIMIT.

    Args:
      config_file: our experiment.
      changes: further flags of launch.train, such as "--config.phases[0].epochs=1".
      data_dir: TFDS folder with imdb_reviews; None: the sample that `make data` makes.
      limit: only so many reviews of each split, for a quick look; 0: all.
      peer_epochs: the peer's last epoch, unless it stops before.
      output: an empty or new folder, for the runs, their logs and time_to_accuracy.json.

    Raises:
      UserError: the folder is not empty, or one of the two ended with an error.
    """
    config_file, output = config_file.absolute(), output.absolute()
    if output.exists() and any(output.iterdir()):
        raise UserError(f"--output={output} is not empty: remove it, or choose another folder")
    name, folder = ("imdb_reviews", data_dir.absolute()) if data_dir else SAMPLE
    if not (folder / name).is_dir():
        raise UserError(f"{folder} holds no TFDS dataset {name}: pass --data_dir, or `make data`")
    output.mkdir(parents=True, exist_ok=True)
    # What both use is read from the disk now, so that the first one does not pay for it.
    program.import_tensorflow()
    import tensorflow_datasets  # noqa: F401

    part = f"[:{limit}]" if limit else ""
    peer = run_peer(name, folder, part, peer_epochs, output)
    best = max(peer["epochs"], key=lambda epoch: epoch["test_accuracy"])
    ours = run_ours(config_file, changes, name=name, folder=folder, part=part, output=output)
    examples = score(output / "ours", output / "cache", ours["checkpoints"])
    reached = [c for c in ours["checkpoints"] if c["test_accuracy"] >= best["test_accuracy"]]
    ratio = reached[0]["seconds"] / best["seconds"] if reached else None
    result = {
        "holds": ratio is not None and ratio <= LIMIT,
        "ratio": ratio,
        "limit": LIMIT,
        "test_accuracy_to_reach": best["test_accuracy"],
        "test_examples": examples,
        "peer": peer,
        "ours": ours,
        "machine": machine(),
    }
    (output / "time_to_accuracy.json").write_text(
        json.dumps(result, indent=1) + "\n", encoding="utf-8"
    )
    report(result, best, reached[0] if reached else None)
    return 0 if result["holds"] else 1


def run_peer(name: str, folder: Path, part: str, epochs: int, output: Path) -> dict[str, Any]:
    """Trains the textbook model; the seconds of its epochs count from the start of its process."""
    lines = output / "textbook.jsonl"
    command = ["-m", "scripts.benchmarks.textbook", f"--name={name}", f"--data_dir={folder}"]
    command += [f"--train=train{part}", f"--test=test{part}", f"--epochs={epochs}"]
    started, total = _run([*command, f"--output={lines}"], output / "textbook.log", lambda: None)
    records = [strict_json.as_object(line) for line in lines.read_bytes().splitlines()]
    for record in records:
        record["seconds"] = record.pop("clock") - started
    return {"command": command, "total_seconds": total, "epochs": records}


def run_ours(
    config_file: Path, changes: Sequence[str], name: str, folder: Path, part: str, output: Path
) -> dict[str, Any]:
    """Runs launch.train from an empty cache; notes when each best checkpoint stood on the disk."""
    workdir = output / "ours"
    command = ["-m", "launch.train", f"--config={config_file}", f"--workdir={workdir}"]
    command += [f"--cache_dir={output / 'cache'}", "--config.keep_checkpoints=1000"]
    command += [f"--config.data.name={name}", f"--config.data.data_dir={folder}"]
    command += [f"--config.data.train=train{part}", f"--config.data.test=test{part}"]
    seen: dict[str, float] = {}

    def look() -> None:
        for path in (workdir / "best").glob("step-*"):
            seen.setdefault(path.name, time.time())

    started, total = _run([*command, *changes], output / "ours.log", look)
    checkpoints: list[dict[str, Any]] = [
        {"step": int(name.removeprefix("step-")), "seconds": clock - started}
        for name, clock in sorted(seen.items())
    ]
    return {"command": command, "total_seconds": total, "checkpoints": checkpoints}


def score(folder: Path, cache_dir: Path, checkpoints: list[dict[str, Any]]) -> int:
    """Adds to each checkpoint its accuracy on the test split; returns how many reviews that has."""
    from trainer.data.progress import bar
    from trainer.run import Run
    from trainer.runtime import devices
    from trainer.storage.workdir import Workdir

    workdir = Workdir(folder)
    config, _ = workdir.read()
    strategy = devices.start(config.runtime, config.seed)
    run = Run(config, workdir, cache_dir, strategy, progress=bar, say=program.say)
    for checkpoint in checkpoints:
        run.restore(workdir.best, checkpoint["step"])
        scores = run.score("test", lambda: False)
        right = scores.answers["logits"].argmax(-1) == run.split("test").gold["label"]
        checkpoint["test_accuracy"] = float(right.mean())
    return len(run.split("test"))


def report(result: dict[str, Any], best: dict[str, Any], reached: dict[str, Any] | None) -> None:
    """Prints every point of both, the two that count, and their ratio."""
    print(f"{result['machine']}; {result['test_examples']:,} test reviews")
    print("system         trained     test accuracy  seconds from process start")
    rows = [("Keras fit", f"epoch {e['epoch']}", e, e is best) for e in result["peer"]["epochs"]]
    for point in result["ours"]["checkpoints"]:
        rows.append(("launch.train", f"step {point['step']}", point, point is reached))
    for system, trained, point, counts in rows:
        mark = "  <-" if counts else ""
        accuracy, seconds = point["test_accuracy"], point["seconds"]
        print(f"{system:13}  {trained:10}  {accuracy:13.4f}  {seconds:26.1f}{mark}")
    if reached is None:
        print(f"does not hold: ours never reached {best['test_accuracy']:.4f}")
        return
    bare = best["seconds"] - best["scoring_seconds"]
    print(f"ratio {result['ratio']:.3f} ({reached['seconds']:.1f} s / {best['seconds']:.1f} s)")
    print(
        f"without the {best['scoring_seconds']:.1f} s in which the peer scored its test set:"
        f" {reached['seconds'] / bare:.3f}"
    )
    print(f"{'holds' if result['holds'] else 'does not hold'}: at most {LIMIT} of the peer's time")


def machine() -> str:
    """Facts of the machine that a reader must know."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"{today}, {platform.machine()}, {os.cpu_count()} cores, load {load} at the end"


def _run(arguments: list[str], log: Path, look: Callable[[], None]) -> tuple[float, float]:
    """Runs Python in a process of its own, calling `look` all the time.

    Returns:
      When it started, by the clock, and how many seconds it took.

    Raises:
      UserError: it ended with an error; what it said is in `log`.
    """
    print(f"Running {' '.join(arguments)}\n  its output is in {log}", flush=True)
    with log.open("wb") as file:
        started = time.time()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                look()
                time.sleep(POLL)
        finally:
            process.terminate()
    look()
    if process.returncode:
        raise UserError(f"{arguments[:2]} ended with exit status {process.returncode}: see {log}")
    return started, time.time() - started
