"""Training rows of the E2E challenge, restaurants described in words (Novikova et al., 2017).

Its official CSV files have the columns mr, such as "name[Aromi], area[riverside]", and ref, a text.
harvardnlp/neural-template-gen passes the training rows on in tokens, as `e2e_aligned.tar.gz`, where
a line of `src_train.txt` is "__start_name__ Aromi __end_name__ …" and one of `train.txt` a text in
tokens, "<eos>|||" and places in it. They are read as the official files have them, but for blanks:
the archive does not tell where the official texts hold one too many, or none.
"""

import functools
import io
import itertools
import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

from trainer.data.rows import bare_lines, column_of, damage
from trainer.errors import UserError

COLUMNS = ["mr", "ref"]
_MEMBERS = ("e2e_aligned/src_train.txt", "e2e_aligned/train.txt")
_LARGEST, _MOST = 2**26, 100  # bytes that are read of the archive, and its members
_FIELD = re.compile(r"__start_(\w+?)__ (.*?) __end_\1__")
_NAMES = {"customerrating": "customer rating"}
_END = " <eos>|||"
_BLANKS = (  # what is replaced in turn, so that tokens are a text again
    (r" ([.,;:!?])", r"\1"),
    (r" ('(?:s|t|re|ll|ve|m|d)\b)", r"\1"),
    (r"' ([^']*) '", r"'\1'"),
    (r" - ", "-"),
    (r"(£|\d-(?= £)) ", r"\1"),
)


def read(file: BinaryIO, columns: Sequence[str], title: str) -> Iterator[tuple[int, list[object]]]:
    """The rows, numbered from 1, with the cells of `columns`.

    Args:
      file: the archive, unpacked.
      columns: some of COLUMNS.
      title: what to call it in a message.

    Raises:
      UserError: it is not this archive.
    """
    at = [column_of(COLUMNS, name, title) for name in columns]
    held = _held(file, title)
    missing = [name for name in _MEMBERS if name not in held]
    if missing:
        raise UserError(f"{title} does not hold {missing[0]}: fetch it again, or unpack it")
    sources, texts = (held[name] for name in _MEMBERS)
    if len(sources) != len(texts):
        raise UserError(f"{title}: {len(sources):,} inputs, {len(texts):,} texts: fetch it again")
    for number, (source, text) in enumerate(zip(sources, texts, strict=True), start=1):
        meaning, (tokens, end, _) = _meaning(source), text.partition(_END)
        if not meaning or not end:
            raise UserError(
                f"{title}, line {number}: no __start_name__ in its input, or no {_END.strip()} in"
                " its text: fetch it again"
            )
        cells = [meaning, joined(tokens)]
        yield number, [cells[i] for i in at]


@functools.lru_cache(10_000)  # each stands in some nine rows
def _meaning(line: str) -> str:
    """The cell "mr"."""
    fields = _FIELD.findall(line)
    return ", ".join(f"{_NAMES.get(name, name)}[{joined(value)}]" for name, value in fields)


def joined(tokens: str) -> str:
    """The text that was cut into tokens, with a blank between them."""
    for pattern, by in _BLANKS:
        tokens = re.sub(pattern, by, tokens)
    return tokens


def _held(file: BinaryIO, title: str) -> dict[str, list[str]]:
    """The lines of the members that are read, by their names."""
    with damage(title):
        content = io.BytesIO(file.read(_LARGEST))  # tarfile may read what never ends for ever
    held = {}
    try:
        with tarfile.open(fileobj=content, mode="r:") as archive:
            for member in itertools.islice(archive, _MOST):
                if member.name in _MEMBERS and member.isreg():
                    lines = cast(BinaryIO, archive.extractfile(member))
                    held[member.name] = [*bare_lines(lines, f"{title}, {member.name}")]
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise UserError(f"{title} is no whole tar archive: fetch it again") from error
    return held
