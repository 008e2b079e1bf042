"""Markdown tables for TensorBoard's text page, from texts that may hold any character."""

from collections.abc import Iterable, Sequence

from trainer.tasks.shown import Marked, Matrix, Span, Table

_TEXT_LENGTH = 300  # characters of an example that are shown
# Everything that Markdown or HTML gives a meaning, as entities, which neither reads again.
_ESCAPES = {ord(c): f"&#{ord(c)};" for c in "&<>|`*_[]()#!~\\:"}


def escape(text: str, length: int = _TEXT_LENGTH) -> str:
    """`text` on one line of at most `length` characters, with nothing left to interpret."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) > length:
        line = f"{line[: length - 1]}…"
    return line.translate(_ESCAPES)


def table(shown: Table) -> str:
    """The table in Markdown; a sentence for one without rows."""
    if not shown.rows:
        return "There are none."
    return _table([escape(each) for each in shown.head], [map(_cell, row) for row in shown.rows])


def matrix(shown: Matrix) -> str:
    """The cells of the matrix; of a large one, the largest off the diagonal."""
    if shown.large:
        return table(shown.mistakes())
    names = [escape(name) for name in shown.names]
    cells = ((names[i], *row) for i, row in enumerate(shown.counts))
    return _table(("label \\ prediction", *names), cells)


def marked(shown: Marked) -> str:
    """A row a text, its spans in brackets with their labels, and what was predicted for them."""
    return _table(("id", "text"), [(id_, "".join(map(_span, spans))) for id_, spans in shown.rows])


def _span(span: Span) -> str:
    text = escape(span.text)
    if not (span.label or span.prediction):  # blanks at its ends part it from its neighbours
        before, after = (" " if end.isspace() else "" for end in (span.text[:1], span.text[-1:]))
        return f"{before}{text}{after}" if text else before
    if span.label == span.prediction:
        return f"**{text}** ({escape(span.label)})"
    label, prediction = (escape(kind or "none") for kind in (span.label, span.prediction))
    return f"**{text}** ({label}, predicted {prediction})"


def _cell(value: str | int | float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))


def _table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
