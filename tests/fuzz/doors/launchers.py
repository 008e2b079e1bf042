"""Flags of launch.local, launch.slurm, launch.kubernetes and launch.sweep."""

import json
import subprocess
from pathlib import Path
from random import Random

import yaml
from fuzz.inputs import NUMBERS, PATHS, TEXTS, Input, odd_bytes, odd_json, of
from fuzz.oracle import _CONTROL
from fuzz.samples import QUICK, Samples
from programs import Ended

_NEEDED = {
    "local": ["--workers=2", "--max_restarts=0"],
    "slurm": ["--nodes=2", "--dry_run"],
    "kubernetes": ["--name=imdb", "--image=registry/thaw:1", "--volume=runs", "--workers=2"],
}
_FLAGS = {
    "local": ("workers", "max_restarts", "gpus_per_worker"),
    "slurm": (
        *("nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem", "time", "partition"),
        *("account", "job_name", "save_seconds", "max_restarts", "setup", "sbatch"),
    ),
    "kubernetes": (
        *("name", "image", "volume", "mount", "namespace", "kind", "workers", "gpus", "cpus"),
        *("memory", "max_restarts", "grace_seconds", "tensorboard"),
    ),
}
_WORDS = (
    *("a100:8", "8:a", "64G", "-1G", "1:2:3:4", "2-12", "99999999-0", "0", "UNLIMITED"),
    "--exclusive",
    *("a\n#SBATCH --wrap=x", "a\nb: c", "x: y", "- a", "&a *a", "!!python/object:os.system x"),
    "1Ei",
    *("module load cuda", "echo 'a", "Name", "a_b", "a.b", "a" * 64, "/", "/runs/../x", "#x"),
    "${X}",
)
_VARIED = ("seed=1,2", "model.width=8,16", "nosuch=1", "seed", "=1", "seed=", "phases[0].steps=1,x")
_DRAWN = (
    "optimizer.epsilon=log:1e-4:1e-2",
    "seed=int:1:5",
    "seed=log:0:1",
    "seed=uniform:2:1",
    "a=log:x:y",
)


def make(random: Random, folder: Path, samples: Samples) -> Input:
    """A command that would work, but for a flag or two."""
    name = random.choice(["local", "slurm", "slurm", "kubernetes", "kubernetes", "sweep"])
    if name == "sweep":
        return _sweep(random, folder, samples)
    flags = list(_NEEDED[name])
    for _ in range(random.choice([1, 1, 2])):
        flag = random.choice([*_FLAGS[name], *_FLAGS[name], of(random, TEXTS)])
        flags.append(f"--{flag}={of(random, random.choice([NUMBERS, TEXTS, _WORDS]))}")
    workdir = "/runs/imdb" if name == "kubernetes" else str(folder / "run")
    if random.random() < 0.2:
        workdir = of(random, PATHS)
    train = [f"--config={QUICK}", f"--workdir={workdir}"]
    if random.random() < 0.2:
        train.append(
            random.choice([of(random, TEXTS), "--hosts=a:1", f"--config.seed={of(random, TEXTS)}"])
        )
    if random.random() < 0.05:
        train.pop(random.randrange(len(train)))
    if name == "local":  # refused by what it starts, at the latest: two workers take their time
        train.append("--config.nosuch=1")
    check = {"slurm": _script, "kubernetes": _manifests}.get(name, lambda ended: "")
    errors = None if name == "local" else 1
    return Input([*flags, "--", *train], f"launch.{name}", check=check, errors=errors)


def _script(ended: Ended) -> str:
    """A check: a batch script that the shell can read, of plain characters."""
    read = subprocess.run(
        ["bash", "-n"], input=ended.stdout.encode(), capture_output=True, check=False
    )
    if read.returncode:
        return f"no script: {read.stderr[:200]!r}"
    if _CONTROL.search(ended.stdout):
        return "control characters in a script"
    begun = ended.stdout.partition("\n\n")[0].splitlines()
    return "" if begun and begun[0].startswith("#!") else "a script without its first line"


def _manifests(ended: Ended) -> str:
    """A check: YAML of objects with a kind each, of plain characters."""
    if _CONTROL.search(ended.stdout):
        return "control characters in a manifest"
    kinds = [each["kind"] for each in yaml.safe_load_all(ended.stdout) if each]
    return "" if kinds else "no manifest"


def _sweep(random: Random, folder: Path, samples: Samples) -> Input:
    """A sweep that is planned, or shown: training many would take long."""
    output = folder / "sweep"
    flags = [f"--output={output}"]
    if random.random() < 0.4:  # one that was planned, with a file that is damaged
        plan = {"train": [f"--config={QUICK}"], "trials": [{"seed": "1"}, {"seed": "2"}]}
        output.mkdir()
        text = odd_json(random, plan).encode(errors="surrogatepass")
        (output / "sweep.json").write_bytes(random.choice([text, text, odd_bytes(random, text)]))
        if random.random() < 0.3:
            (output / "sweep.json").write_text(json.dumps(plan))
            result = {
                "validation": {"accuracy": 0.5},
                "test": {"accuracy": 0.5},
                "wall_seconds": 1.0,
            }
            (output / "trial-000").mkdir()
            spoilt = odd_json(random, result).encode(errors="surrogatepass")
            (output / "trial-000" / "result.json").write_bytes(spoilt)
        return Input([*flags, "--show"], "launch.sweep")
    odd = of(random, random.choice([NUMBERS, TEXTS]))
    varied = [*random.choices(_VARIED, k=random.choice([1, 2])), f"seed={odd}"]
    if random.random() < 0.3:
        flags += ["--random", random.choice(_DRAWN), f"--trials={random.choice(['2', odd])}"]
    else:
        flags += ["--list", random.choice(varied)]
    extra = random.choice(
        ["parallel", "save_seconds", "seed", "trial", "sbatch", "nosuch", "trials"]
    )
    if random.random() < 0.5:
        flags.append(f"--{extra}={odd}")
    flags += ["--slurm", "--dry_run", "--", f"--config={QUICK}"]
    return Input(flags, "launch.sweep", outputs=(output,), check=_script)
