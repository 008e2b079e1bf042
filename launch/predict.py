"""Predicts labels, scores or tags of texts with the weights that validation chose.

  python -m launch.predict --workdir=runs/quickstart "a fine film" "a bore"
  python -m launch.predict --workdir=runs/quickstart --input=reviews.csv --output=labels.csv

Reads lines of text, CSV, TSV, JSONL, Parquet or words in columns from a file (its ending says
which) or from standard input, and writes in the same order what the run's task answers: a label and
the calibrated probability of each class; a score; tags and entities. An --output that ends in .csv
or .tsv is a table that keeps the columns of the input, any other has a JSON object a line.
Interrupted or killed, the same command with --resume goes on after the last whole line. Memory does
not grow with the file.

A language model continues the texts, a text-to-text model writes one for each: greedily, by
sampling (--temperature, --top_k, --top_p) or with --beams, of which --n_best gives a list; one text
is shown on a terminal as it is written. With --score a language model says how probable the texts
are.

  python -m launch.predict --workdir=runs/shakespeare --temperature=0.8 "ROMEO:"

--explain adds to each line what every token speaks for, and writes a page with the words coloured.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from launch import generation
from launch import main as program
from launch import writing as language
from launch.arguments import CPU_DEVICES
from thaw.trained import trained_model
from trainer.errors import Interrupted, NoColumn, UserError
from trainer.prediction.output import is_table
from trainer.storage.paths import real

if TYPE_CHECKING:
    from trainer.config import Data
    from trainer.data.rows import Format, Remarks
    from trainer.prediction.inputs import Columns, Given, Input
    from trainer.prediction.page import Explained
    from trainer.prediction.writer import Writer
    from trainer.tasks.task import Task
    from trainer.trained import TrainedModel

_WORKDIR = program.define_path("workdir", "Folder of a run.", required=True)
_TEXTS = flags.DEFINE_multi_string(
    "texts", [], "A text; give the flag again for another, or texts without a flag."
)
_INPUT = program.define_path("input", "File to read (default: standard input).")
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["text", "csv", "tsv", "jsonl", "columns", "parquet"],
    "What is read (default: by the file's ending).",
)
_QUOTING = flags.DEFINE_enum(
    "quoting",
    None,
    ["suffix", "minimal", "none"],
    "Quotes of CSV and TSV (default: as the run's config.data.quoting says).",
)
_TEXT = flags.DEFINE_string("text", "", "Column of the text (default: that of the training data).")
_TEXT_PAIR = flags.DEFINE_string("text_pair", "", "Column of the second text, for pairs.")
_ID = flags.DEFINE_string("id", "", "Column of the id (default: rows are numbered from 0).")
_OUTPUT = program.define_path("output", "File to write (default: standard output).")
_KEEP = flags.DEFINE_string(
    "keep",
    "",
    "Columns of the input that stand beside the predictions: names with commas, all or none"
    " (default: all in CSV and TSV, else none).",
)
_RESUME = flags.DEFINE_bool("resume", False, "Go on after the last whole line of --output.")
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    "",
    "For two classes: from which probability on it is the second one: a number, or the one that"
    " validation gave for 'f1' or 'precision' (default: the more probable class).",
)
_EXPLAIN = flags.DEFINE_bool("explain", False, "Add what each token speaks for, and write a page.")
_EXPLAIN_STEPS = program.define_count(
    "explain_steps", "Points on the path of integrated gradients.", 10_000, default=64
)
_PAGE = program.define_path("page", "The page of --explain (default: beside --output).")
_CPU_DEVICES = program.define_count(
    "cpu_devices", "Use this many logical CPU devices.", CPU_DEVICES
)
_TRUST = program.define_trust()
for module in (generation, language):  # --help shows their flags too
    flags.adopt_module_key_flags(module)
_JSON = ("", ".jsonl", ".json", ".ndjson")  # endings of an --output for JSON lines
PIPE_CLOSED = 141  # as a shell says it of a program that SIGPIPE ended


def main(texts: list[str]) -> int:
    """Predicts; returns the exit status."""
    _TEXTS.value.extend(texts)
    _check_flags()
    signals = program.Signals()
    signals.install()
    program.import_tensorflow()
    from trainer.data.progress import bar
    from trainer.prediction.attribution import Explainer
    from trainer.prediction.continuing import ContinuingPredictor
    from trainer.prediction.job import Answering, Job, Sink
    from trainer.prediction.output import Output, Pipe, TableOutput
    from trainer.prediction.predictor import Predictor
    from trainer.storage.workdir import Workdir

    workdir = Workdir(_WORKDIR.value)
    config, _ = workdir.read_to_run(_TRUST.value)
    format_ = _format(config.data, config.task)
    columns = _columns(format_, config.data, config.task)
    writing = language.settings(config)
    trained = trained_model(workdir.path, _TRUST.value, _CPU_DEVICES.value)
    _say_note(trained.note)
    task = language.use(trained.task)
    rule = task.rule(trained.fitted, _THRESHOLD.value)
    explainer = Explainer(trained, _EXPLAIN_STEPS.value) if _EXPLAIN.value else None
    signals.saves = True

    def stop() -> bool:
        return signals.requested

    predictor: Answering = Predictor(trained, stop, task)
    writes: ContinuingPredictor | None = None
    if writing:
        predictor = writes = ContinuingPredictor(trained, task, writing, language.seed(), stop)
        one = len(_TEXTS.value) == 1 and not _OUTPUT.value and sys.stdout.isatty()
        if one and writing.n_best == 1:
            status = _stream(writes.writer)
            _say_note(writes.note)
            return status
    job = Job(predictor, rule, explainer, stop)
    with contextlib.ExitStack() as stack:
        header = _has_header(config.data, columns.texts)
        source = stack.enter_context(_input(format_, columns, header, task, stop))
        sink: Sink = Pipe()
        if is_table(_OUTPUT.value):
            table = TableOutput(
                _OUTPUT.value,
                _RESUME.value,
                task,
                kept=columns.kept,
                with_id=bool(_ID.value and _ID.value not in columns.kept) or not columns.kept,
            )
            sink = stack.enter_context(table)
        elif _OUTPUT.value:
            sink = stack.enter_context(Output(_OUTPUT.value, _RESUME.value, task.line_fields))
        advance = stack.enter_context(bar("Predicting", source.size, source.unit, "rows"))

        shown = 0

        def progress(count: int) -> None:
            nonlocal shown
            new = source.progress(count)
            shown += new
            advance(new, job.rate)

        try:
            job.run(source.texts, sink, progress)
            left = (source.size or shown) - shown  # empty lines at the end, Parquet's footer
            advance(left, job.rate)
        except Interrupted:
            goes_on = "the same command with --resume goes on from here"
            if not _OUTPUT.value or explainer:
                goes_on = "to go on, --resume needs --output, without --explain"
            program.say(f"Ended by a signal after whole lines: {goes_on}")
            return program.INTERRUPTED
        except BrokenPipeError:
            return PIPE_CLOSED
        except NoColumn as error:
            flags_ = dict(zip(columns.texts.values(), ("text", "text_pair"), strict=False))
            if error.name not in flags_:
                raise
            flag = flags_[error.name]
            raise UserError(f"{error}: name the column of the text, --{flag}=…") from error
    if explainer:
        _write_page(job.explained, trained)
    rate = f", {job.rate:,.0f} a second" if job.rate else ""
    where = _OUTPUT.value or "standard output"
    before = f", {sink.done:,} were there" if sink.done else ""
    program.say(f"{job.written:,} predictions in {where}{rate}{before}")
    _say_note(writes.note if writes else "")
    return 0


def _say_note(note: str) -> None:
    if note:
        program.say(f"Note: {note}")


def _stream(writer: "Writer") -> int:
    """Writes to a terminal; returns the exit status."""
    try:
        language.stream(writer, _TEXTS.value[0])
    except Interrupted:
        return program.INTERRUPTED
    return 0


def _format(data: "Data", task: "Task") -> "Format":
    """The form of the texts; quotes as in the training data, unless a flag says otherwise."""
    from trainer.data.columns import WORDS
    from trainer.data.rows import DELIMITERS, KINDS, format_of

    kind = _FORMAT.value or ("" if _INPUT.value else "text")
    name, quoting = str(_INPUT.value or ""), _QUOTING.value or data.quoting
    found = format_of(name, quoting, kind)
    if found is None and data.format == "parallel":  # files of lines, which end as a column
        found = format_of(name, quoting, "text")
    if found is None:
        raise UserError(
            f"--input={_INPUT.value}: its ending does not say how to read it: give --format="
            + "|".join(KINDS)
        )
    if found.kind == "parquet" and not _INPUT.value:
        raise UserError("--format=parquet needs --input: it is not read from standard input")
    if _QUOTING.value and (_TEXTS.value or found.kind not in DELIMITERS):
        raise UserError("--quoting is of CSV and TSV: leave it out")
    of_words = any(column.kind == WORDS for column in task.text_columns)
    if found.kind == "text" and _INPUT.value and not _FORMAT.value and of_words:
        raise UserError(
            f"--input={_INPUT.value} may hold plain text or words in columns: give --format=text or"
            " --format=columns"
        )
    return found


def _has_header(data: "Data", texts: Mapping[str, str]) -> bool:
    """True if there is a header: as in the training data, unless a column is named by text."""
    return data.header or not all(map(str.isdigit, texts.values()))


def _columns(format_: "Format", data: "Data", task: "Task") -> "Columns":
    """Names of the columns; refuses those that would have no effect."""
    from trainer.prediction.inputs import Columns

    kind = format_.kind
    keys = [column.key for column in task.text_columns]
    if _TEXT_PAIR.value and len(keys) < 2:
        raise UserError(
            "--text_pair is for models of pairs, this one takes single texts: leave it out"
        )
    if kind == "text":
        task.cells_of("")  # refuses a model of pairs
        if _TEXT.value or _ID.value:
            raise UserError("--text and --id name columns, lines of text have none: leave them out")
    if kind == "columns" and _ID.value:
        raise UserError("--id is of CSV, TSV and JSONL: leave it out")
    names = {column.key: column.name for column in task.text_columns}
    given = dict(zip(keys, (_TEXT.value, _TEXT_PAIR.value), strict=False))
    texts = names | {key: name for key, name in given.items() if name}
    return Columns(texts, _ID.value, _kept(format_, _has_header(data, texts)))


def _kept(format_: "Format", header: bool) -> list[str]:
    """The columns of the input that stand beside the predictions."""
    from trainer.data.rows import header_of, unpacked

    asked = _KEEP.value or ("all" if is_table(_OUTPUT.value) else "none")
    if asked == "none":
        return []
    if format_.kind == "text":
        if asked not in ("all", "text"):
            raise UserError(f"--keep={asked}: lines of text have one column, text")
        return ["text"]
    if format_.kind == "columns":
        if _KEEP.value:
            raise UserError("--keep is of CSV, TSV, JSONL and Parquet: leave it out")
        return []
    if asked != "all":
        names = [name.strip() for name in asked.split(",") if name.strip()]
        if len(set(names)) < len(names):
            raise UserError(f"--keep={asked} names a column twice: name each once")
        return names
    path: Path | None = _INPUT.value
    if not path or (path.exists() and not path.is_file()):  # a pipe is read once
        if _KEEP.value:
            raise UserError("--keep=all needs --input, a file: of a pipe, name the columns")
        return []
    try:
        with path.open("rb") as file:
            title = f"file {path}"
            return [
                name for name in header_of(unpacked(file, format_), format_, title, header) if name
            ]
    except OSError as error:
        raise UserError(f"cannot read --input={path}: {error.strerror}") from error


@contextlib.contextmanager
def _input(
    format_: "Format", columns: "Columns", header: bool, task: "Task", stop: Callable[[], bool]
) -> "Iterator[Input]":
    """The texts to predict; `stop` is asked while standard input makes wait."""
    from trainer.data.columns import Row
    from trainer.data.rows import Remarks
    from trainer.prediction.inputs import Given, Input, Waiting, read

    remarks = Remarks()
    how: dict[str, Any] = {"remarks": remarks, "header": header}
    if _TEXTS.value:
        texts = enumerate(_TEXTS.value)
        given = (
            Given(i, Row(task.cells_of(text), i, "--texts"), {"text": text} if columns.kept else {})
            for i, text in texts
        )
        yield Input(given, len(_TEXTS.value), " texts", lambda count: count)
        return
    if not _INPUT.value:
        if sys.stdin.isatty():
            program.say(f"Reads {format_.kind} from standard input; Ctrl-D ends it")
        waiting = io.BufferedReader(Waiting(sys.stdin.fileno(), stop))
        rows = read(waiting, format_, columns, task, "standard input", **how)
        rows = _telling(rows, "standard input", remarks)
        yield Input(rows, None, " texts", lambda count: count)
        return
    path: Path = _INPUT.value
    try:
        with path.open("rb") as file:
            before = 0

            def progress(count: int) -> int:
                nonlocal before
                new, before = file.tell() - before, file.tell()
                return new

            size = path.stat().st_size
            rows = read(file, format_, columns, task, f"file {path}", **how)
            yield Input(_telling(rows, f"file {path}", remarks), size, "B", progress)
    except OSError as error:
        if error.filename != str(path):
            raise
        raise UserError(f"cannot read --input={path}: {error.strerror}") from error


def _telling(rows: "Iterator[Given]", title: str, remarks: "Remarks") -> "Iterator[Given]":
    """The rows; what is odd is told at the first such row, and in whole at the end."""
    told = ""
    try:
        for each in rows:
            if not told and str(remarks):
                told = str(remarks)
                program.say(f"Note: {title}: {told}")
            yield each
    finally:
        if str(remarks) != told:
            program.say(f"Note: {title}: {remarks}")


def _check_flags() -> None:
    """Refuses flags that exclude each other, before anything is loaded."""
    if _TEXTS.value and (_INPUT.value or _FORMAT.value or _ID.value or _TEXT.value):
        raise UserError("give --texts, or --input with --format, --text and --id: not both")
    if _RESUME.value and not _OUTPUT.value:
        raise UserError("--resume needs the --output to go on with")
    if _RESUME.value and _EXPLAIN.value:
        raise UserError("--explain is for few texts: leave --resume out and write a new --output")
    if _EXPLAIN.value and is_table(_OUTPUT.value):
        raise UserError(
            "--explain writes JSON lines and a page: name an --output such as out.jsonl"
        )
    if language.is_n_best() and is_table(_OUTPUT.value):
        raise UserError("--n_best writes lists in JSON lines: name an --output such as out.jsonl")
    if _PAGE.value and not _EXPLAIN.value:
        raise UserError("--page is that of --explain: give both")
    if _OUTPUT.value and not _OUTPUT.value.parent.is_dir():
        raise UserError(f"--output={_OUTPUT.value}: there is no such folder")
    if _OUTPUT.value and _OUTPUT.value.is_dir():
        raise UserError(f"--output={_OUTPUT.value} is a folder: name a file")
    taken = {real(path) for path in (_OUTPUT.value, _INPUT.value) if path}
    if _EXPLAIN.value and real(_page_file()) in taken:
        raise UserError(f"--page={_page_file()} is --output or --input: name another file")
    if _EXPLAIN.value and not _page_file().parent.is_dir():
        raise UserError(f"--page={_page_file()}: there is no such folder")
    if _EXPLAIN.value and _page_file().is_dir():
        raise UserError(f"--page={_page_file()} is a folder: name a file")
    if _OUTPUT.value and not is_table(_OUTPUT.value) and _OUTPUT.value.suffix.lower() not in _JSON:
        program.say(
            f"Note: --output={_OUTPUT.value} ends in neither .csv nor .tsv: it will hold JSON lines"
        )


def _page_file() -> Path:
    """The file of the page of --explain."""
    if _PAGE.value or not _OUTPUT.value:
        return _PAGE.value or Path("explained.html")
    return _OUTPUT.value.with_suffix(".html")


def _write_page(explained: "Sequence[Explained]", trained: "TrainedModel") -> None:
    from trainer.prediction.page import MOST, render
    from trainer.storage.disk import replace

    title = f"Predictions of {real(trained.workdir.path).name}, step {trained.step:,}"
    try:
        replace(_page_file(), render(explained, title))
    except OSError as error:
        raise UserError(f"cannot write --page={_page_file()}: {error.strerror}") from error
    cut = f", the first {MOST} texts" if len(explained) == MOST else ""
    program.say(f"Wrote {_page_file()}{cut}")


if __name__ == "__main__":
    program.run(main, __doc__, texts=True)
