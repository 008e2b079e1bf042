"""Documents of plain text: a line each, lines between blank ones, or a whole file.

One that is very long is read in parts, so that memory does not grow with it. Its parts have the
number of their document: put together, they are its text.
"""

import itertools
import operator
from collections.abc import Iterable, Iterator

from trainer.data.rows import MAX_CHARACTERS, Remarks
from trainer.errors import UserError


def documents(
    lines: Iterable[str], how: str, title: str, remarks: Remarks
) -> Iterator[tuple[int, str]]:
    """The documents of a text; those of nothing but blanks are left out.

    Args:
      lines: of the text, with their ends: see `rows.unix_lines`.
      how: "lines": each line is one; "paragraphs": lines up to a blank one are; "file": all of it,
        line ends at its end included.
      title: what to call the file in a message.
      remarks: told of documents that are read in parts.

    Yields:
      The number of a document, from 1, and its text or a part of it, with "\\n" between lines.

    Raises:
      UserError: see `parts`.
    """
    numbered = _numbered(lines, how)
    for number, of_one in itertools.groupby(numbered, operator.itemgetter(0)):
        for part in parts((line for _, line in of_one), f"{title}, document {number}", remarks):
            if part.strip():
                yield number, part


def _numbered(lines: Iterable[str], how: str) -> Iterator[tuple[int, str]]:
    """The part of each line that adds to a document, and the number of that document, from 1."""
    if how == "file":
        for line in lines:
            yield 1, line
        return
    number, inside = 0, False
    for line in lines:
        bare = line.removesuffix("\n")
        if not bare.strip():
            inside = False
            continue
        number += not inside
        yield number, f"\n{bare}" if inside else bare
        inside = how == "paragraphs"


def between(texts: Iterable[str], first: int, end: int) -> Iterator[str]:
    """The characters [first, end) of all the texts together."""
    start = 0
    for text in texts:
        if kept := text[max(first - start, 0) : max(end - start, 0)]:
            yield kept
        start += len(text)


def parts(texts: Iterable[str], where: str, remarks: Remarks) -> Iterator[str]:
    """Joins texts; the result is cut where it has more than MAX_CHARACTERS.

    It is cut between the texts, or after a line end in one of them, or else after a blank.

    Args:
      texts: such as lines, of which no more are held than there is room for in a part.
      where: the document, for a message.
      remarks: told of each cut.

    Raises:
      UserError: there is no line end or blank to cut at.
    """
    held: list[str] = []
    size = 0
    for text in itertools.chain.from_iterable(_short(text, where) for text in texts):
        if size + len(text) > MAX_CHARACTERS:
            remarks.cut()
            yield "".join(held)
            held, size = [], 0
        held.append(text)
        size += len(text)
    yield "".join(held)


def _short(text: str, where: str) -> Iterator[str]:
    """The text in pieces of at most MAX_CHARACTERS."""
    start = 0
    while len(text) - start > MAX_CHARACTERS:
        most = start + MAX_CHARACTERS
        end = text.rfind("\n", start, most) + 1 or text.rfind(" ", start, most) + 1
        if not end:
            raise UserError(
                f"{where}: {MAX_CHARACTERS:,} characters without a line end or blank: is it text?"
                " If so, break it into lines"
            )
        yield text[start:end]
        start = end
    yield text[start:]
