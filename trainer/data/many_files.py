"""Files that settings name: one, those of a folder, or those that match a pattern."""

import difflib
import functools
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from trainer import config
from trainer.data.columns import Column, LabelTypes, Row
from trainer.data.files import WHOLE, FileRecords, OfFiles, Share, format_for
from trainer.data.parallel_files import ParallelFiles
from trainer.data.rows import listed
from trainer.data.sources import Records
from trainer.errors import UserError, shown
from trainer.storage.paths import below

_REMARKS = 3  # files whose oddities are said
_SHARE = re.compile(r"(.+)\[(?:(\d{1,2})%)?:(?:(\d{1,3})%)?\]")  # of a file, as TFDS has it


class ManyFiles(OfFiles):
    """Several files, whose rows are read one file after the other.

    Args:
      title: what to call them in a message.
      files: at least one.
      left_out: names of files beside them that are of no kind that can be read.
    """

    def __init__(self, title: str, files: Sequence[FileRecords], left_out: Sequence[str]):
        self.title, self._files, self._left_out = title, files, left_out
        self.columns = files[0].columns

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 in hex of those of all files, in their order; names do not count."""
        all_ = " ".join(each.fingerprint for each in self._files)
        return hashlib.sha256(all_.encode()).hexdigest()

    @property
    def shares(self) -> list[Share]:
        return [share for each in self._files for share in each.shares]

    @property
    def remarks(self) -> str:
        """Oddities found by the last reading of all rows, in one line; empty if none."""
        said = [f"{each.title}: {each.remarks}" for each in self._files if each.remarks]
        more = [f"and so in {len(said) - _REMARKS:,} more files"] if len(said) > _REMARKS else []
        left = f"left out, as their endings are not known: {listed(self._left_out)}"
        return "; ".join([*said[:_REMARKS], *more, *([left] if self._left_out else [])])

    def look(self) -> None:
        """Reads the first row of each. Raises UserError: the name or header of one is wrong."""
        for each in self._files:
            each.look()

    def rows(self) -> Iterator[Row]:
        """The rows, with ids that go on from file to file. Raises UserError: see FileRecords."""
        start = 0
        for each in self._files:
            count = 0
            for row in each.rows():
                count = row.id + 1
                yield Row(row, start + row.id, row.title, row.id)
            start += count


def open_records(
    data: config.Data, columns: Sequence[Column], sets: Mapping[str, str]
) -> tuple[dict[str, Records], dict[str, Sequence[str]]]:
    """The files of each set; a file has no names for its labels but those that stand in it.

    Args:
      data: the settings.
      columns: those that are read; one without a name has it from the first set.
      sets: paths, folders or patterns by the name of a set.

    Raises:
      UserError: there is no such file, or it has not these columns.
    """
    opened: dict[str, FileRecords | ManyFiles | ParallelFiles] = {}
    types = LabelTypes()
    for name, where in sets.items():
        made = _opened(config.field_of(name), data, where, columns, types)
        opened[name], columns = made, made.columns  # as found in the first of them, train
    for each in opened.values():
        each.look()
    return {**opened}, {}


def _opened(
    field: str, data: config.Data, where: str, columns: Sequence[Column], types: LabelTypes
) -> FileRecords | ManyFiles | ParallelFiles:
    """The file, a part of it, the folder or the pattern that a field names."""
    if data.format == "parallel":
        return _parallel(field, data, where, columns)
    found, share = _found(data, where), WHOLE
    said = f"config.data.{field}={shown(where, 200)}"
    part = _SHARE.fullmatch(where)
    if part and not isinstance(found, Path):
        found, share = _found(data, part[1]), (int(part[2] or 0), int(part[3] or 100))
        if not isinstance(found, Path) or found.is_dir() or not share[0] < share[1] <= 100:
            raise UserError(f"{said} must be a part of one file, such as 'all.txt[:90%]'")
    if isinstance(found, Path) and not os.path.lexists(found):
        beside = [path.name for path in found.parent.glob("*")]
        raise UserError(_missing(field, said, found, where, beside))
    if isinstance(found, Path) and not found.is_dir():
        return FileRecords(field, found, columns, data, share=share, label_types=types)
    paths = _below(found, said) if isinstance(found, Path) else found
    read = [path for path in paths if format_for(path.name, columns, data)]
    if not paths and isinstance(found, Path):
        raise UserError(f"{said} is a folder without files: name a file, or one that holds some")
    if not paths:
        raise UserError(f"{said}: there is no such file: name a file, a folder with files or *.txt")
    if not read:
        names = listed([path.name for path in paths])
        raise UserError(
            f"{said}: no file there has an ending that says how to read it, as .txt, .jsonl and"
            f" .csv.gz do ({names}): name others, or say it as config.data.format"
        )
    files: list[FileRecords] = []
    for path in read:
        files.append(FileRecords(field, path, columns, data, label_types=types))
        columns = files[-1].columns
    what = "files" if isinstance(found, list) else "folder"
    return ManyFiles(f"{what} {where}", files, [p.name for p in paths if p not in set(read)])


def _parallel(
    field: str, data: config.Data, where: str, columns: Sequence[Column]
) -> ParallelFiles:
    """The files of lines, one a column, whose names begin with what a field names."""
    said, share = f"config.data.{field}={shown(where, 200)}", WHOLE
    part = _SHARE.fullmatch(where)
    if part:
        where, share = part[1], (int(part[2] or 0), int(part[3] or 100))
        if not share[0] < share[1] <= 100:
            raise UserError(f"{said} must be a part of the rows, such as 'all[:90%]'")
    paths = []
    for column in columns:
        if not column.name:
            raise UserError(
                f"{column.field} is empty: with config.data.format='parallel' a column is named by"
                " the ending of its files, as 'en' in train.en"
            )
        name = f"{where}.{column.name}"
        found = _found(data, name)
        if not isinstance(found, Path) or not os.path.lexists(found):
            path = Path(data.data_dir).expanduser() / name
            of_column = f"{said} with {column.field}={shown(column.name, 40)}"
            raise UserError(_missing(field, of_column, path, name))
        paths.append(found)
    return ParallelFiles(paths, columns, share)


def _missing(field: str, said: str, path: Path, where: str, beside: Sequence[str] = ()) -> str:
    """A line on a name of which there is no file; `beside` are names that may be meant."""
    at = f" at {path}" if str(path) != where else ""
    near = difflib.get_close_matches(path.name, beside, 1)
    mends = [f"is it {shown(near[0], 100)}? Correct the name" if near else "correct the name"]
    if not Path(where).is_absolute():
        mends.append("say where it lies as config.data.data_dir (--data_dir after training)")
    if not field.endswith("train"):
        mends.append(f"leave it out: --config.data.{field}=")
    return f"{said}: there is no such file or folder{at}: {', or '.join(mends)}"


def _below(folder: Path, said: str) -> list[Path]:
    """All files in a folder, however deep, but for hidden ones and those in hidden folders."""
    try:
        held = [path.relative_to(folder) for path in below(folder)]
    except OSError as error:
        raise UserError(f"{said}: cannot read {error.filename}: {error.strerror}") from error
    seen = [path for path in held if not any(part.startswith(".") for part in path.parts)]
    return _files(folder, map(str, seen))


def _files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Names in a folder that are files, in alphabetical order."""
    paths = sorted({folder / name for name in names}, key=lambda path: path.parts)
    return [path for path in paths if path.is_file()]


def _found(data: config.Data, name: str) -> Path | list[Path]:
    """The path of a file or folder, or of a file's .gz, or the files that match a pattern.

    It lies in config.data.data_dir or its subfolder config.data.name.
    """
    path, folder = Path(name).expanduser(), Path(data.data_dir).expanduser()
    parts = Path(data.name).parts
    places = [folder, *(folder.joinpath(*parts[i:]) for i in range(len(parts)))]
    if not data.data_dir or path.is_absolute():
        places = [folder]
    for place in places:
        for each in (place / path, place / f"{path}.gz"):
            if os.path.lexists(each):
                return each
    if glob.has_magic(name):
        for place in places:
            matched = glob.glob(str(path), root_dir=place, recursive=True)
            if matched:
                return _files(place, matched)
        return []
    return folder / path
