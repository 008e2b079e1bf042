"""Two runs of the same settings: equal bit for bit, or up to rounding."""

import hashlib
import math
from pathlib import Path

from thaw.smoke import Disagreement
from trainer.monitor.metrics_log import read_records
from trainer.step import STEP_METRICS
from trainer.storage.contents import LOG
from trainer.storage.workdir import Workdir

# Relative differences that rounding explains, after a few steps: some 1e-7 in a small model, more
# in a deep one.
LOSSES = {"float32": 1e-5, "float64": 1e-9}
NORMS = {precision: 10 * allowed for precision, allowed in LOSSES.items()}  # of gradients
EXACT = dict.fromkeys(LOSSES, 0.0)
_FLOOR = 1e-3  # to a smaller number a difference is relative to this
Points = dict[tuple[int, str], float]


def points(workdir: Path) -> Points:
    """The numbers of a run's log that another of its kind repeats, by step and name."""
    of_steps = {f"train/{name}" for name in STEP_METRICS}
    return {
        (record["step"], name): math.nan if value is None else value
        for _, record in read_records(workdir / LOG, lambda _: None)
        for name, value in record.items()
        if name in of_steps or name.startswith(("validation/", "test"))
    }


def _of_both(one: Path, other: Path) -> tuple[Points, Points]:
    """The numbers of two logs. Raises Disagreement: one has a number that the other has not."""
    a, b = points(one), points(other)
    if a.keys() != b.keys():
        step, name = min(a.keys() ^ b.keys())
        raise Disagreement(f"{name} of step {step} is in one of the two logs only")
    return a, b


def trained(workdir: Path) -> str:
    """A line on a run that ended. Raises Disagreement: a loss is not finite."""
    found = points(workdir)
    losses = {at: value for at, value in found.items() if at[1].endswith("/loss")}
    if wrong := [at for at, value in losses.items() if not math.isfinite(value)]:
        raise Disagreement(f"{wrong[0][1]} at step {wrong[0][0]} is not finite")
    steps = [value for (_, name), value in losses.items() if name == "train/loss"]
    scored = sum(1 for _, name in losses if name == "validation/loss")
    return (
        f"{len(steps)} steps, training loss {steps[0]:.4f} to {steps[-1]:.4f}, {scored} evaluations"
    )


def agree(one: Path, other: Path, precision: str) -> str:
    """A line on the differences between two runs on different devices.

    Args:
      one, other: workdirs of runs that ended.
      precision: that both were computed in, "float32" or "float64".

    Raises:
      Disagreement: they are larger than rounding explains.
    """
    a, b = _of_both(one, other)
    said, fine = [], True
    # Other metrics may jump where two answers are nearly equal, as an accuracy does.
    limits = {"loss": LOSSES, "gradient_norm": NORMS, "examples": EXACT}
    for name in dict.fromkeys(name for _, name in a):
        allowed = limits.get(name.rpartition("/")[2])
        if not allowed:
            continue
        steps = [step for step, key in a if key == name]
        apart, step = max((difference(a[step, name], b[step, name]), step) for step in steps)
        fits = apart <= allowed[precision]
        fine &= fits
        more = "" if fits else f" at step {step} (allowed: {allowed[precision]:.0e})"
        if allowed is not EXACT or not fits:
            said.append(f"{name} {apart:.1e}{more}")
    line = f"off by at most: {', '.join(said)}"
    if not fine:
        raise Disagreement(line)
    return line


def difference(a: float, b: float) -> float:
    """The relative difference of two numbers; infinite where one of them is not finite."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b), _FLOOR)


def equal(one: Path, other: Path) -> str:
    """A line on what is equal in two runs on the same devices: all that is computed.

    Raises:
      Disagreement: the first thing that is not, in one bit.
    """
    a, b = _of_both(one, other)
    different = [at for at in a if not (a[at] == b[at] or (a[at] != a[at] and b[at] != b[at]))]
    if different:
        step, name = different[0]
        raise Disagreement(f"{name} of step {step}: {a[step, name]!r} and {b[step, name]!r}")
    files, others = _files(one), _files(other)
    if wrong := sorted(name for name, _ in files.items() ^ others.items()):
        raise Disagreement(f"{wrong[0]} differs")
    return f"{len(a)} numbers of the log and {len(files)} files are equal, bit for bit"


def _files(workdir: Path) -> dict[str, str]:
    """The digests of a run's weights, by their place in its folder, and of its scores."""
    scores = (Workdir(workdir).result() or {}).get("sha256", {})
    found = {name: digest for name, digest in scores.items() if name != LOG}
    for store in ("checkpoints", "best"):
        for path in sorted((workdir / store).rglob("*")):
            if path.is_file():
                name = str(path.relative_to(workdir))
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
