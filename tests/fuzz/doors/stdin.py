"""Standard input of launch.predict."""

from pathlib import Path
from random import Random

from fuzz.doors import rows
from fuzz.doors.uses import predictions
from fuzz.inputs import DEEP, TEXTS, Input, odd_bytes
from fuzz.samples import ROWS, Samples

_LONG = (
    b"x" * 2**20,
    b"a " * 2**19,
    b"\0" * 1000,
    DEEP.encode(),
    b"\r\r\r\n",
    "\U0001f642".encode() * 10_000,
)


def make(random: Random, folder: Path, samples: Samples) -> Input:
    """Lines of text, CSV, TSV or JSONL, odd or no text at all."""
    del folder
    kind = random.choice(["text", "text", "csv", "tsv", "jsonl"])
    flags = [f"--workdir={samples.run}", f"--format={kind}"]
    if kind != "text":
        given = rows.content(random, f".{kind}", [list(row) for row in ROWS])
        return Input(flags, "launch.predict", stdin=given, check=predictions(None))
    lines = [
        text.encode(errors="surrogatepass").replace(b"\n", b" ")
        for text in random.choices(TEXTS, k=random.choice([0, 1, 5, 30]))
    ]
    if random.random() < 0.2:
        lines.append(random.choice(_LONG))
    given = b"\n".join(lines) + random.choice([b"", b"\n"])
    if random.random() < 0.2:
        given = odd_bytes(random, given)
    count = given.count(b"\n") + (given[-1:] not in (b"", b"\n"))
    return Input(flags, "launch.predict", stdin=given, check=predictions(count))
