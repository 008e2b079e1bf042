"""Runs one input and judges how it ended."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from fuzz.inputs import Input
from programs import Ended, Prewarmed

SECONDS = 20.0  # more is a hang
BYTES = 4 * 2**30  # of memory: more is too much
LONGEST = 1200  # characters of a line that is told
KINDS = ("traceback", "hang", "memory", "half-written", "other")
_CRASH = re.compile(
    r"^Traceback \(most recent|panicked at|^Fatal Python error|\bPanicException"
    r"|^Aborted|^Segmentation fault",
    re.M,
)
_DIVERGED = re.compile(r"^error: step \d+: ", re.M)  # and is not the user's mistake: launch/main.py
_UNFINISHED = re.compile(r"\.tmp$|\.partial$|\.part-|\.part$|^tmp|^\.step-")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# TensorFlow removes these at an exit that a forked process has not.
_AUTOGRAPH = "__autograph_generated_file"
IGNORED = ("cache", "home")  # folders of an input in which anything may lie; caches heal themselves


class Verdict(NamedTuple):
    """The end of an input: "refused", "worked", or the kind of its failure, and why."""

    kind: str
    why: str
    ended: Ended


def run(server: Prewarmed, case: Input, folder: Path, seconds: float = SECONDS) -> Verdict:
    """Runs an input in its folder and judges it.

    Args:
      server: starts programs.
      case: the input.
      folder: where its files lie; home/, tmp/ and cwd/ are made in it.
      seconds: that it may take.
    """
    for name in ("home", "tmp", "cwd"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "stdin").write_bytes(case.stdin)
    before = contents(folder)
    ended = server(
        *case.arguments,
        program=case.program,
        path=case.path,
        environment={
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            **case.environment,
        },
        stdin=str(folder / "stdin"),
        folder=str(folder / "cwd"),
        seconds=seconds,
        bytes=BYTES,
        fresh=case.fresh,
        nameless=case.nameless,
    )
    return judge(case, folder, before, ended)


def judge(case: Input, folder: Path, before: dict[str, str], ended: Ended) -> Verdict:
    """The verdict on an input that ended, with what was in its folder before."""
    if ended.stopped:
        return Verdict("hang" if ended.stopped == "seconds" else "memory", _tail(ended), ended)
    if crash := _CRASH.search(ended.stderr) or _CRASH.search(ended.stdout):
        return Verdict("traceback", _reason(ended.stderr[crash.start() :] or ended.stdout), ended)
    if ended.status < 0:
        return Verdict("traceback", f"ended by signal {-ended.status}: {_tail(ended)}", ended)
    if ended.status == 1 and _DIVERGED.search(ended.stderr):
        return Verdict("worked", "", ended)
    if ended.status not in (0, 2, *case.allowed):
        return Verdict("other", f"exit status {ended.status}: {_tail(ended)}", ended)
    if fault := _written(case, folder, before, ended.status):
        return Verdict("half-written", fault, ended)
    longest = max(re.split(r"[\r\n]", ended.stderr), key=len)
    if len(longest) > LONGEST:
        why = f"a line of {len(longest):,} characters: {longest[:200]!r}"
        return Verdict("other", why, ended)
    if ended.status:
        fault = _told(case, ended)
        return Verdict("other" if fault else "refused", fault, ended)
    try:
        fault = case.check(ended)
    except Exception as error:  # an output that cannot even be read
        fault = f"the output is not whole: {type(error).__name__}: {error}"
    return Verdict("half-written" if fault else "worked", fault, ended)


def contents(folder: Path) -> dict[str, str]:
    """Type and content of everything below a folder, by its path there."""
    found: dict[str, str] = {}
    for root, folders, files in os.walk(folder):
        at = Path(root)
        if at == folder:
            folders[:] = [name for name in folders if name not in IGNORED]
        for name in (*folders, *files):
            path = at / name
            if name.startswith(_AUTOGRAPH):
                continue
            if path.is_symlink() or not path.is_file():
                found[str(path.relative_to(folder))] = "folder" if path.is_dir() else "special"
            else:
                found[str(path.relative_to(folder))] = hashlib.sha1(path.read_bytes()).hexdigest()
    return found


def _told(case: Input, ended: Ended) -> str:
    """The fault of how a refusal is told."""
    lines = [line for line in re.split(r"[\r\n]+", ended.stderr) if line.strip()]
    errors = [line for line in lines if re.match(r"(\[\d+\] )?error: ", line)]
    if case.errors is not None and len(errors) != case.errors:
        return f"{len(errors)} lines begin with 'error: ': {_tail(ended)}"
    if case.errors is not None and lines[-1] != errors[-1]:
        return f"the last line is no 'error: ': {_tail(ended)}"
    if any(map(_CONTROL.search, errors)):
        return f"control characters in {errors[-1]!r}"
    return ""


def _written(case: Input, folder: Path, before: dict[str, str], status: int) -> str:
    """Files that were written and should not be there."""
    after = contents(folder)
    changed = sorted(
        path
        for path in before.keys() | after.keys()
        # Python's own bytecode of what TensorFlow writes for autograph is nobody's output.
        if before.get(path) != after.get(path) and "__pycache__" not in Path(path).parts
    )
    left = [p for p in changed if _UNFINISHED.search(Path(p).name) and p in after]
    if left:
        return f"left behind at status {status}: {left[:5]}"
    outputs = [] if status == 2 else [str(path.relative_to(folder)) for path in case.outputs]
    for path in changed:
        if any(output in (".", path) or path.startswith(f"{output}/") for output in outputs):
            continue
        if any(output.startswith(f"{path}/") for output in outputs):  # a folder made for it
            continue
        if case.stream and folder / path == case.stream and path in after:
            lines = case.stream.read_bytes()
            if lines.endswith(b"\n"):
                continue
            return f"{path} was left with {'no line' if not lines else 'half a line'}"
        if status in case.allowed:
            continue
        what = "written" if path not in before else "removed" if path not in after else "changed"
        return f"{path} was {what} at status {status}, of {len(changed)} changes"
    return ""


def _reason(text: str) -> str:
    """The last frame of ours and the last line of a traceback."""
    frames = re.findall(r'File "([^"]*)", line (\d+), in (\S+)', text)
    own = [
        f
        for f in frames
        if re.search(r"/(trainer|launch|scripts)/[^/]", f[0]) and "site-packages" not in f[0]
    ]
    where = ", ".join(f"{Path(f[0]).name}:{f[1]} {f[2]}" for f in own[-1:])
    last = next((line for line in reversed(text.strip().splitlines()) if line[:1].strip()), "")
    return f"{last[:300]!r} ({where or 'no frame of ours'})"


def _tail(ended: Ended) -> str:
    return repr((ended.stderr or ended.stdout).strip()[-300:])
