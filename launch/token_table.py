"""A table of texts as tokenizers cut them: what launch.tokenize prints."""

import bisect
import collections
import contextlib
import itertools
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from launch import main as program
from trainer.errors import UserError
from trainer.storage.paths import local

if TYPE_CHECKING:
    from trainer.data.subwords import Subwords

SPECIAL, UNKNOWN = "*", "?"
_TOKENIZER = flags.DEFINE_multi_string(
    "tokenizer",
    None,
    "Folder, or name on the hub; several with commas, or with the flag again.",
    required=True,
)


class Piece(NamedTuple):
    """A token of a text."""

    word: int  # 0 before the first word, 1 in it or in the spaces before it, and so on
    text: str  # as it stands in the vocabulary
    id: int
    mark: str  # SPECIAL, UNKNOWN or ""


class Cell(NamedTuple):
    """A tokenizer's cell in one line of the table."""

    piece: str = ""
    number: str = ""
    mark: str = ""


def main(texts: list[str]) -> None:
    """Prints a table for each text."""
    from trainer.data.tokenizers import load_tokenizer

    names = [name for value in _TOKENIZER.value for name in _names(value)]
    if not all(names):
        raise UserError("--tokenizer is empty: name a folder, or a tokenizer on the hub")
    if not texts:
        raise UserError('give a text: python -m launch.tokenize --tokenizer=FOLDER "a text"')
    tokenizers = {name: load_tokenizer(name, program.say) for name in names}
    tables = [table(text, tokenizers) for text in texts]
    with program.standard_output():
        print("\n\n".join(tables))


def _names(value: str) -> list[str]:
    """The folders and names in a value of --tokenizer; a folder's own name may have commas."""
    with contextlib.suppress(OSError):
        if "," in value and local(value, "--tokenizer").is_dir():
            return [value]
    names = value.split(",")
    # A name on the hub has no "~" and no "./": what begins so is a path.
    return [str(local(n, "--tokenizer")) if n.startswith("~") or ":/" in n else n for n in names]


def pieces(text: str, tokenizer: "Subwords") -> list[Piece]:
    """The tokens that a model is given for a text, when none is cut."""
    from trainer.data.encode import plain_backend, told

    backend = plain_backend(tokenizer)
    encoding = told(lambda: backend.encode(text))
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    unknown = _unknown_id(backend.to_str(), tokenizer.get_vocab())
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    last = max((i for i, side in enumerate(encoding.sequence_ids) if side is not None), default=-1)
    made, word = [], 0
    for i, token in enumerate(encoding.ids):
        if encoding.sequence_ids[i] is not None:
            word = 1 + bisect.bisect(ends, encoding.offsets[i][1] - 1)
        elif -1 < last < i:
            word = len(ends) + 1
        mark = UNKNOWN if token == unknown else SPECIAL if token in special else ""
        made.append(Piece(word, tokenizer.convert_ids_to_tokens([token])[0], token, mark))
    return made


def table(text: str, tokenizers: Mapping[str, "Subwords"]) -> str:
    """Lines with a word of the text and, for each tokenizer by name, a piece, its id and mark."""
    names = [Cell(_visible(name)) for name in tokenizers]
    lines: list[tuple[str, Sequence[Cell]]] = [("text", names)]
    columns = [pieces(text, tokenizer) for tokenizer in tokenizers.values()]
    by_word: list[dict[int, list[Cell]]] = [collections.defaultdict(list) for _ in columns]
    for column, found in zip(columns, by_word, strict=True):
        for piece in column:
            cell = Cell(_visible(piece.text), str(piece.id), piece.mark)
            found[piece.word].append(cell)
    blank = Cell()
    for i, word in enumerate(["", *text.split(), ""]):
        cells = list(itertools.zip_longest(*(found[i] for found in by_word), fillvalue=blank))
        if word and not cells:  # no tokenizer made anything of it
            cells = [(blank,) * len(columns)]
        for k, line in enumerate(cells):
            lines.append(("" if k else _visible(word), line))
    lines.append(("tokens", [Cell(number=str(len(column))) for column in columns]))
    for name, mark in ("special", SPECIAL), ("unknown", UNKNOWN):
        counts = [sum(piece.mark == mark for piece in column) for column in columns]
        lines.append((f"{mark} {name}", [Cell(number=str(count)) for count in counts]))
    return _aligned(lines)


def _aligned(lines: list[tuple[str, Sequence[Cell]]]) -> str:
    """The lines with columns of one width; the first holds the names of the tokenizers."""
    blocks = [[text for text, _ in lines]]
    for name, *cells in zip(*(cells for _, cells in lines), strict=True):
        piece = max(_width(cell.piece) for cell in cells)
        number = max(len(cell.number) for cell in cells)
        body = (f"{_padded(c.piece, piece)} {c.number:>{number}} {c.mark}" for c in cells)
        blocks.append([name.piece, *body])
    widths = [max(map(_width, block)) for block in blocks]
    return "\n".join(
        "   ".join(map(_padded, line, widths)).rstrip() for line in zip(*blocks, strict=True)
    )


def _unknown_id(backend: str, vocab: Mapping[str, int]) -> int | None:
    """The id of what the vocabulary lacks; None where it lacks nothing."""
    model = json.loads(backend)["model"]
    return model.get("unk_id", vocab.get(model.get("unk_token")))


def _visible(text: str) -> str:
    """The text with what a terminal cannot show, or would obey, as escapes."""
    return program.encodable("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """The number of cells of a terminal that it takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me") for c in text)
