"""Trials of a tokenizer in a process of its own, with little time and memory.

A tokenizer.json is data, but also a small program: its regular expressions may run for hours, its
replacements fill all memory, and native code that fails ends its process or raises what is no
Exception. Nothing stops native code from within, so a tokenizer from elsewhere is first tried
outside. This file is that other program too, which is why it imports no other of this library.
"""

import hashlib
import json
import os
import resource
import signal
import string
import subprocess
import sys
from pathlib import Path

SECONDS, BYTES_A_SECOND = 4, 2**23  # of the processor: 4, and one more for so many bytes
PATIENCE = 60  # seconds by the clock, on a machine that does much else
MEMORY, MEMORY_A_BYTE = 2**30, 32  # of address space: 1 GB, and so much more for each byte
GROWTH = 40  # tokens, or characters after normalisation, of a byte; Unicode's own forms make 6
ROOM = 1000  # and so many more, special tokens included

TEXTS = (
    *("", " ", "a", "the film", "Film café, №5: don't!", string.printable),
    "日本語 🙂 👩\u200d👧 ½ ﬁne e\u0301 İstanbul ﷺ Ünïçödé Привет \u05d0\u0628\u0e01",
    *("\x00\x01\x85\u2028\ufeff\ufffd\U0010ffff\t\r\n", "[CLS] <s> </s> <|endoftext|> [MASK]"),
    *(char * 3000 for char in "a1 -é日🙂\n"),
    *(chars * 500 + "!" for chars in ("a", "ab", "a ", "1,", "Aa", "\t a")),
)
PAIRS = (("the film", "a café"), ("", "a"), ("a", ""), ("日本", "🙂 [SEP]"))


_FAULTS: dict[str, str] = {}  # found so far, by the sha256 of what was tried


def fault_of(text: str, more: tuple[str, ...] = ()) -> str:
    """The fault of a tokenizer in a few words; empty where all trials end well.

    Args:
      text: a tokenizer.json.
      more: texts to try besides those of this file.
    """
    given = f"{json.dumps(more)}\n{text}".encode()
    key = hashlib.sha256(given).hexdigest()
    if key not in _FAULTS:
        _FAULTS[key] = _found(given)
    return _FAULTS[key]


def _found(given: bytes) -> str:
    import tokenizers

    size = len(given)
    seconds, memory = SECONDS + size // BYTES_A_SECOND, MEMORY + MEMORY_A_BYTE * size
    home = str(Path(tokenizers.__file__).parents[1])
    command = [sys.executable, "-I", "-S", __file__, home, str(seconds), str(memory)]
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"a few short texts take it over {PATIENCE} seconds"
    if done.returncode == 0:
        return done.stdout.decode(errors="replace")[:400]
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"a few short texts take it over {seconds} seconds"
    said = " ".join(done.stderr.decode(errors="replace").split())
    if "memory allocation" in said or "MemoryError" in said:
        return f"a few short texts take it over {memory / 2**30:.1f} GB of memory"
    return f"it ends the process that tries it (status {done.returncode}: {said[-200:]})"


def _main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    home, seconds, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    limits = {"RLIMIT_AS": (memory, 0), "RLIMIT_CPU": (seconds, 1), "RLIMIT_CORE": (0, 0)}
    for name, (most, grace) in limits.items():
        kind = getattr(resource, name)
        present = resource.getrlimit(kind)[1]  # none may be raised
        if present == resource.RLIM_INFINITY or most + grace < present:
            resource.setrlimit(kind, (most, most + grace))
    sys.path.append(home)
    more = json.loads(sys.stdin.buffer.readline())
    said = _fault(sys.stdin.buffer.read().decode(), more)
    sys.stdout.buffer.write(said.encode(errors="replace"))


def _fault(text: str, more: list[str]) -> str:
    from tokenizers import Tokenizer

    tried = ""
    try:
        backend = Tokenizer.from_str(text)
        backend.no_truncation()
        backend.no_padding()
        size = max(backend.get_vocab().values(), default=-1) + 1
        texts = [*TEXTS, *more, *(text * 50 for text in more)]
        for one, two in [*((text, None) for text in texts), *PAIRS]:
            tried = f" at the text {(one + (two or ''))[:20]!r}"
            room = GROWTH * len((one + (two or "")).encode()) + ROOM
            if backend.normalizer and len(backend.normalizer.normalize_str(one)) > room:
                return f"it makes over {room:,} characters{tried}"
            encoding = backend.encode(one, two)
            if len(encoding.ids) > room:
                return f"it makes over {room:,} tokens{tried}"
            odd = max(encoding.ids, default=0)
            if odd >= max(size, 1):
                return f"it makes the id {odd}{tried}, which none of its tokens has"
            backend.decode(encoding.ids)
    except MemoryError:
        raise
    except BaseException as error:  # a panic of native code is no Exception
        return f"it fails{tried}: {' '.join(str(error).split())[:200]}"
    return ""


if __name__ == "__main__":
    _main()
