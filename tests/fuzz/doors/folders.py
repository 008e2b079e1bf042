"""Folders that come from elsewhere: tokenizers, pretrained models, TFDS datasets, workdirs."""

import hashlib
import json
import os
import shutil
import struct
from pathlib import Path
from random import Random

from fuzz.doors import uses
from fuzz.doors.flags import finished
from fuzz.inputs import EVIL, TEXTS, Input, odd_bytes, odd_json, of, with_changes
from fuzz.samples import Samples

from trainer.storage.disk import seal_of
from trainer.storage.sealed import SEAL


def tokenizer(random: Random, folder: Path, samples: Samples) -> Input:
    """launch.tokenize with a tokenizer of which a file is odd."""
    name = random.choice(sorted(path.name for path in samples.tokenizers.iterdir()))
    made = Path(shutil.copytree(samples.tokenizers / name, folder / "tokenizer"))
    if random.random() < 0.05:
        _bring_code(random, made)
    else:
        spoil(random, made)
    texts = ["a good film", "caf\u00e9 \U0001f642 [MASK] <s>", of(random, TEXTS)]
    texts = ["--", *texts] if texts[-1].startswith("-") else texts
    shown = lambda ended: "" if "tokens" in ended.stdout else "no table"  # noqa: E731
    return Input([f"--tokenizer={made}", *texts], "launch.tokenize", check=shown)


def pretrained(random: Random, folder: Path, samples: Samples) -> Input:
    """launch.train that begins with a model of which a file is odd."""
    name = random.choice(sorted(path.name for path in samples.models.iterdir()))
    made = Path(shutil.copytree(samples.models / name, folder / "model"))
    kind = random.randrange(9)
    if kind == 8:
        _bring_code(random, made)
    elif kind < 2:
        _spoil_weights(random, made)
    elif kind < 4:
        _spoil_config(random, made)
    else:
        spoil(random, made)
    changes = {
        "config.model.pretrained": str(made),
        "config.phases[0].train": "('head/.*',)",  # it is the loading that is tried
    }
    if random.random() < 0.3:
        changes["config.model.head"] = "native"
    flags = with_changes(samples.flags(folder, cached=False), changes)
    run = folder / "run"
    return Input(flags, outputs=(run,), check=finished(run))


def tfds(random: Random, folder: Path, samples: Samples) -> Input:
    """launch.train on a TFDS folder of which a file is odd."""
    made = Path(shutil.copytree(samples.tfds, folder / "tfds"))
    spoil(random, made)
    changes = {
        **{"config.data.source": "tfds", "config.data.name": "tiny"},
        **{"config.data.data_dir": str(made), "config.data.train": "train"},
        "config.data.test": random.choice(
            ["test"] * 6 + ["test[:0]", "test[", "nosuch", "test+train"]
        ),
    }
    flags = with_changes(samples.flags(folder, cached=False), changes)
    run = folder / "run"
    return Input(flags, outputs=(run,), check=finished(run))


def workdir(random: Random, folder: Path, samples: Samples) -> Input:
    """A program that uses a workdir of which a file is odd."""
    name = random.choice(
        ["evaluate", "predict", "predict", "predict", "export", "report", "report", "train"]
    )
    run = samples.copy_run(folder)
    (folder / "cwd").mkdir()
    (folder / "cwd" / "evil.py").write_text(EVIL)
    files = [path for path in run.rglob("*") if path.is_file()]
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    names_code = random.random() < 0.1
    if names_code:
        _name_code(random, run / "config.json")
    for _ in range(random.choice([1, 1, 1, 2]) if not names_code else 0):
        spoil(random, run)
    sealed = names_code or random.random() < 0.6
    if sealed:
        seal(run, before)
    shutil.copytree(samples.cache, folder / "cache")
    if name == "train":  # it has ended, or goes on
        flags = with_changes(samples.flags(folder, cached=False), {"config.max_steps": "4"})
        return Input(flags, outputs=(run,), check=finished(run))
    case = uses.command(random, name, folder, run)
    if name == "predict" and not sealed:  # damage is seen, or does not matter
        same = lambda ended: "" if ended.stdout == samples.answers else "other answers"  # noqa: E731
        case.check = same
    return case


def _name_code(random: Random, path: Path) -> None:
    """A config that names code of a stranger, evil.py in the folder where the program runs."""
    values = json.loads(path.read_text())
    part, name, value = random.choice(
        [
            ("model", "factory", "evil:build"),
            ("task", "class", "evil:Task"),
            ("task", "loss", "evil:loss"),
            ("task", "metrics", ["evil:metric"]),
        ]
    )
    values[part][name] = value
    path.write_text(json.dumps(values))


def spoil(random: Random, folder: Path) -> None:
    """Spoils one file of a folder, as often a small one as a large one."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = random.choice(files)
    kind = random.randrange(10)
    if kind == 0:
        path.unlink()
        if random.random() < 0.3:
            random.choice(
                [
                    path.mkdir,
                    lambda: path.symlink_to(path),
                    lambda: path.symlink_to("/dev/zero"),
                    lambda: os.mkfifo(path),
                ]
            )()
    elif kind < 3 or path.suffix not in (".json", ".jsonl", ".txt", ".index"):
        path.write_bytes(odd_bytes(random, path.read_bytes()))
    elif path.suffix == ".json":
        values = json.loads(path.read_text())
        text = odd_json(random, values)
        path.write_bytes(text.encode(errors="surrogatepass"))
    else:
        lines = path.read_text(errors="surrogateescape").split("\n")
        at = random.randrange(len(lines))
        odd = random.choice(
            [lines[at] * 2, "", "\0", "x" * 10_000, "\ud800", "[UNK]", " ", "5", "null"]
        )
        lines[at : at + random.choice([1, 1, 0, 20])] = [odd] * random.choice([1, 1, 3])
        if path.suffix == ".jsonl" and lines[0].startswith("{"):
            lines[0] = odd_json(random, json.loads(lines[0]))
        path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))


def seal(folder: Path, before: dict[Path, str]) -> None:
    """Makes every seal of a workdir fit what its files hold now, as a stranger would.

    Args:
      folder: the workdir.
      before: the sha256 of each file that was there.
    """
    changed = {
        digest: hashlib.sha256(path.read_bytes()).hexdigest()
        for path, digest in before.items()
        if path.is_file() and not path.is_symlink()
    }
    for path in before:
        if path.suffix != ".json" or not path.is_file() or path.is_symlink():
            continue
        try:
            text = path.read_text()
            for old, new in changed.items():
                text = text.replace(old, new)
            values = json.loads(text)
            del values[SEAL]
            path.write_text(json.dumps({**values, SEAL: seal_of(values)}, indent=2))
        except (ValueError, LookupError, TypeError, RecursionError):
            pass  # it has none, or none that could be read


def _bring_code(random: Random, folder: Path) -> None:
    """A folder of a model or tokenizer that brings code of its own, as transformers can load it."""
    (folder / "evil.py").write_text(EVIL)
    (folder / "pytorch_model.bin").write_bytes(
        b"cbuiltins\nexec\n(V" + EVIL.strip().encode() + b"\ntR."
    )
    name = random.choice(["config.json", "tokenizer_config.json"])
    path = folder / name
    values = json.loads(path.read_text()) if path.is_file() else {}
    auto = {"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoTokenizer": ["evil.T", None]}
    values["auto_map"] = auto
    if random.random() < 0.5:
        values |= {
            "model_type": "evil",
            "tokenizer_class": "EvilTokenizer",
            "trust_remote_code": True,
        }
    path.write_text(json.dumps(values))


def _spoil_config(random: Random, folder: Path) -> None:
    """A number of config.json that does not fit the weights, or nothing does."""
    path = next(p for p in (folder / "config.json", folder / "bert_config.json") if p.is_file())
    values = json.loads(path.read_text())
    numbers = [key for key, value in values.items() if type(value) is int]
    odd = [0, -1, 1, 3, 17, 10**6, 2**31, 2**63, 10**30, "16", 16.0, None, [16], True, 1e308]
    for key in random.sample(numbers, min(len(numbers), random.choice([1, 1, 2]))):
        values[key] = random.choice(odd)
    if random.random() < 0.2:
        values["model_type"] = random.choice(
            ["bert", "t5", "llama", "", 5, None, "../x", "roberta"]
        )
    path.write_text(json.dumps(values))


def _spoil_weights(random: Random, folder: Path) -> None:
    """The header of a safetensors file that lies about what follows."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        spoil(random, folder)
        return
    path = random.choice(files)
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    name = random.choice([key for key in header if key != "__metadata__"])
    tensor = header[name]
    act = random.randrange(6)
    if act == 0:
        tensor["shape"] = random.choice(
            [[], [2**40], [-1], [0], tensor["shape"][::-1], [2**62, 2**62]]
        )
    elif act == 1:
        tensor["dtype"] = random.choice(["F16", "BF16", "I64", "F64", "BOOL", "Q4", 5, "F8_E4M3"])
    elif act == 2:
        tensor["data_offsets"] = random.choice([[0, 2**60], [5, 1], [0, 0], [-4, 4], [0], "x"])
    elif act == 3:
        del header[name]
    elif act == 4:
        header[random.choice(["x" * 3000, "", "\x1b[31m", "model/weight"])] = header.pop(name)
    text = (
        json.dumps(header).encode()
        if act < 5
        else odd_json(random, header).encode(errors="surrogatepass")
    )
    length = random.choice([len(text)] * 6 + [0, 2**40, 2**63, len(text) + 1])
    path.write_bytes(struct.pack("<Q", length) + text + content[8 + size :])
