"""Rows of Parquet files, read in batches so that a large file needs little memory."""

import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from trainer.data.rows import listed
from trainer.errors import NoColumn, UserError, one_line

BATCH = 256  # rows at once: a text may be long


def names(file: BinaryIO, title: str) -> list[str]:
    """The names of its columns, but for nested ones. Raises UserError: it is no such file."""
    with _told(title):
        return [field.name for field in _open(file).schema_arrow if not _nested(field.type)]


def read(file: BinaryIO, columns: list[str], title: str) -> Iterator[tuple[int, list[object]]]:
    """The cells of `columns` in every row: text, numbers, or lists of them.

    Args:
      file: can be sought in. columns: their names. title: of the file, for a message.

    Yields:
      The number of a row, from 1, and its cells.

    Raises:
      UserError: it is no such file, a column is missing, stands twice, or is nested.
    """
    with _told(title):
        opened = _open(file)
        schema = opened.schema_arrow
    for name in columns:
        at = schema.get_all_field_indices(name)
        if not at:
            raise NoColumn(title, name, listed(schema.names))
        if len(at) > 1:
            raise UserError(f"{title} has more than one column {name!r}: rename or remove one")
        kind = schema.field(at[0]).type
        if _nested(kind):
            raise UserError(
                f"{title}: column {name!r} is nested ({one_line(str(kind), 100)}): write it as"
                " text, a number, or a list of them"
            )
    number = 0
    with _told(title):
        for batch in opened.iter_batches(BATCH, columns=columns):
            cells = [batch.column(name).to_pylist() for name in columns]
            for row in zip(*cells, strict=True):
                number += 1
                yield number, list(row)


def _nested(kind: Any) -> bool:
    """True for a type that is more than a value, or a list of values."""
    import pyarrow.types as kinds

    is_list = kinds.is_list(kind) or kinds.is_large_list(kind)
    nested: bool = kinds.is_nested(kind.value_type if is_list else kind)
    return nested


def _open(file: BinaryIO) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(file)


@contextlib.contextmanager
def _told(title: str) -> Iterator[None]:
    """Turns what pyarrow raises into a UserError."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{title} is no whole Parquet file: {one_line(str(error), 200)}") from error
