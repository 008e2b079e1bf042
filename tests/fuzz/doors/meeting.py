"""The meeting of workers, with strangers at the chief's port."""

import json
from pathlib import Path
from random import Random

from fuzz.inputs import ODD, Input, odd_bytes, odd_json
from fuzz.samples import Samples
from programs import ROOT

_HELLO = b'{"worker": 1, "addresses": ADDRESSES}\n'
_GREETING = b"thaw-meeting-1 " + b"0" * 32 + b"\n"
_WORDS = (
    *(_GREETING, _GREETING * 2, _GREETING[:20], b"thaw-meeting-1 \n", b"thaw-meeting-2 x\n"),
    *(b"0" * 32 + b"\n", b"g" * 32 + b"\n", b"0" * 5000 + b"\n", b"0" * 32 + b"\n" + _HELLO),
    *(b"0" * 32 + b"\n" + b"0" * 64 + b" " + _HELLO, b"\xd9\xa1" * 16 + b"\n", b"0" * 32 + b" \n"),
    *(b"", b"\n", b"\n" * 10_000, b"GET / HTTP/1.1\r\n\r\n", b"[" * 200_000),
    *(b"[" * 200_000 + b"\n", b"\xff" * 100),
    *(b"{}\n", b"[]\n", b"null\n", b"5\n", b"{" * 1000, b"\x16\x03\x01\x02", b"SSH-2.0-x\r\n"),
    b"\0" * 65536,
    *(b'{"worker": 1.0, "addresses": ADDRESSES}\n', b'{"worker": true, "addresses": ADDRESSES}\n'),
    _HELLO,
    *(b'{"worker": "1", "addresses": ADDRESSES}\n', b'{"worker": -1, "addresses": ADDRESSES}\n'),
    *(b'{"worker": 1, "addresses": ["a:1"]}\n', b'{"worker": 1, "addresses": []}\n'),
    b'{"addresses": ADDRESSES}\n',
    b'{"worker": 1e999, "addresses": ADDRESSES}\n',
    b'{"worker": 1, "worker": 2, "addresses": ADDRESSES}\n',
    *(b'{"met": true}\n', b'{"end": 2, "why": "x"}\n', b'{"round": 0, "value": 1}\n'),
    b'{"doing": 5}\n',
    *(b'{"worker": ' + b"9" * 5000 + b', "addresses": ADDRESSES}\n', b"x" * 2**20),
    b"x" * 2**20 + b"\n",
)


def make(random: Random, folder: Path, samples: Samples) -> Input:
    """One to five kinds of connections, some many times, some silent or slow to close."""
    del samples
    plan = []
    for _ in range(random.choice([1, 2, 5])):
        content = random.choice(_WORDS)
        kind = random.randrange(8)
        if kind == 0:
            content = odd_bytes(random, content[:100_000])
        elif kind == 1:
            hello = {"worker": 1, "addresses": ["127.0.0.1:1", "127.0.0.1:2"], "secret": "x"}
            content = odd_json(random, hello).encode(errors="surrogatepass") + b"\n"
        elif kind == 2:
            content += json.dumps({"value": random.choice(ODD[:12]), "round": 0}).encode() + b"\n"
        elif kind == 3:
            content = _GREETING + content
        seconds = random.choice([0, 0, 0.1, 1.0, 10.0])
        plan.append([seconds, random.choice([1, 1, 3, 30]), content.hex()])
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    return Input([str(path)], "fuzz.attacked", path=(ROOT / "tests",))
