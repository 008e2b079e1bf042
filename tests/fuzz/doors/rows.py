"""Data files: CSV, TSV and JSONL, gzipped or not, to train on and to predict."""

import csv
import gzip
import io
import json
from pathlib import Path
from random import Random

from fuzz.doors.flags import finished
from fuzz.doors.uses import predictions
from fuzz.inputs import DEEP, ODD, TEXTS, Input, odd_bytes, odd_json, with_changes
from fuzz.samples import ROWS, Samples

SUFFIXES = (".csv", ".tsv", ".jsonl", ".CSV", ".Tsv", ".JSONL", ".csv.gz", ".tsv.gz", ".jsonl.GZ")
_LABELS = (
    *("good", "bad", "good ", " bad", "Good", "", "label", "+1", "-1", "1.0", "10", "nan"),
    "x" * 3000,
    *("gr\u00f6\u00dfe", "a\nb", "\x1b[31m", "\u202e", "<b>", "9" * 5000, "\U0001f642"),
    "good\u00a0",
)
_CELLS = (
    *('"', '""', '"quoted', 'quoted"', 'a "b" c', "a\tb", "a,b", "a\r\nb", "\0", "\x1a", "=1+1"),
    "\ufeff",
    *("x" * 300_000, "word " * 20_000, "\u0301" * 3000, "\U0001f468\u200d\U0001f469" * 50, "1e999"),
    "\\N",
    *("", " ", "\u2028", "\x85", "NaN", "'", "\\", "#", "/*"),
)
_LINES = (
    *('{"text": "a", "text": "b", "label": "good"}', '{"text": null, "label": "good"}', "null"),
    *("[]", "5"),
    *('{"text": "a", "label": NaN}', '{"text": "a", "label": 1e999}'),
    '{"text": "\\ud800", "label": 1}',
    *('{"text": "a"}', '{"text": ["a"], "label": {}}', DEEP, '{"text":' * 20_000, "{", "", "{}"),
    *('{"text": "a", "label": ' + "9" * 5000 + "}", '{"text": "a", "label": true}'),
)


def make(random: Random, folder: Path, samples: Samples) -> Input:
    """A file of rows that is odd, as train, validation, test or what is predicted."""
    suffix = random.choice(SUFFIXES)
    path = folder / f"rows{suffix}"
    if random.random() < 0.5:
        rows = random.choice([ROWS, ROWS, ROWS[:2], ROWS * 20])
        path.write_bytes(content(random, suffix, [list(row) for row in rows]))
        return _predict(random, folder, samples, path)
    path.write_bytes(content(random, suffix, [list(row) for row in ROWS]))
    split = random.choice(["train", "train", "validation", "test"])
    flags = with_changes(samples.flags(folder), {f"config.data.{split}": str(path)})
    run = folder / "run"
    return Input(flags, outputs=(run,), check=finished(run))


def _predict(random: Random, folder: Path, samples: Samples, path: Path) -> Input:
    flags = [f"--workdir={samples.run}", f"--input={path}"]
    if random.random() < 0.3:
        flags.append(f"--id={random.choice(['label', 'text', 'nosuch', ''])}")
    if random.random() < 0.5:
        return Input(flags, "launch.predict", check=predictions(None))
    output = folder / "made.jsonl"
    return Input(
        [*flags, f"--output={output}"],
        "launch.predict",
        outputs=(output,),
        check=predictions(None, output),
        stream=output,
    )


def content(random: Random, suffix: str, rows: list[list[str]]) -> bytes:
    """A file of the rows, spoilt: its cells, its header, its lines, its bytes or its packing."""
    suffix = suffix.lower()
    packed = suffix.endswith(".gz")
    suffix = suffix.removesuffix(".gz")
    header = ["text", "label"]
    if random.random() < 0.15:
        header = random.choice(
            [
                ["text", "label", "text"],
                ["label", "text"],
                ["Text", "label"],
                ["text"],
                [],
                ["text", "label", ""],
                ["text ", "label"],
                ["\ufefftext", "label"],
                ["text", "label", "x" * 3000],
                ["label", "label"],
            ]
        )
    if random.random() < 0.5:
        for _ in range(random.choice([1, 1, 3, 10])):
            row = random.choice(rows)
            row[0] = random.choice([*_CELLS, *TEXTS])
    if random.random() < 0.5:
        for _ in range(random.choice([1, 1, 3, 10])):
            random.choice(rows)[1] = random.choice(_LABELS)
    if random.random() < 0.1:
        random.choice(rows).append("one more")
    lines = _jsonl(random, rows) if suffix == ".jsonl" else _separated(random, suffix, header, rows)
    if random.random() < 0.1:
        lines[random.randrange(1, len(lines)) if len(lines) > 1 else 0 :] = []
    text = "".join(lines)
    encoding = random.choice(["utf-8"] * 12 + ["utf-8-sig", "utf-16", "latin-1", "cp1252"])
    made = text.encode(encoding, "surrogatepass" if encoding.startswith("utf-8") else "replace")
    if random.random() < 0.2:
        made = odd_bytes(random, made)
    if packed and random.random() < 0.9:
        made = gzip.compress(made, mtime=0)
        if random.random() < 0.3:
            made = odd_bytes(random, made)
    return made


def _jsonl(random: Random, rows: list[list[str]]) -> list[str]:
    lines = []
    for row in rows:
        value: dict = dict(zip(("text", "label"), row, strict=False))
        if random.random() < 0.03:
            value[random.choice(["text", "label"])] = random.choice(ODD)
        lines.append(json.dumps(value) + "\n")
    if random.random() < 0.3:
        at = random.randrange(len(lines))
        lines[at] = random.choice([*_LINES, odd_json(random, {"text": "a", "label": "bad"})]) + "\n"
    return lines


def _separated(random: Random, suffix: str, header: list[str], rows: list[list[str]]) -> list[str]:
    between = "," if suffix == ".csv" else "\t"
    if random.random() < 0.1:
        between = random.choice([";", "|", ",", "\t"])
    lines = []
    quoted = random.random() < (0.7 if suffix == ".csv" else 0.3)
    for row in [header, *rows] if random.random() < 0.95 else rows:
        file = io.StringIO()
        if quoted:
            csv.writer(file, delimiter=between).writerow(row)
            lines.append(file.getvalue())
        else:  # as GLUE and most exports write it
            lines.append(between.join(row) + "\n")
    return lines
