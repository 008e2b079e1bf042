"""Predicts labels, scores or tags of texts with the weights that validation chose.

  python -m launch.predict --workdir=runs/quickstart --texts "a fine film" --texts "a bore"
  python -m launch.predict --workdir=runs/quickstart --input=reviews.csv --output=labels.jsonl

Reads lines of text, CSV, TSV, JSONL or words in columns from a file (its ending says which) or from
standard input, and writes a JSON object a line, in the same order: the id, and what the run's task
answers (a label and the calibrated probabilities in the order of the class ids; a score; tags and
entities).
Interrupted or killed, the same command with --resume goes on after the last whole line. Memory does
not grow with the file.

--explain adds to each line what every token speaks for, and writes a page with the words coloured.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from launch import main as program
from launch.arguments import CPU_DEVICES
from trainer.errors import Interrupted, UserError
from trainer.storage.paths import real

if TYPE_CHECKING:
    from trainer.config import Data
    from trainer.data.rows import Format, Remarks
    from trainer.prediction.inputs import Columns, Given, Input
    from trainer.prediction.page import Explained
    from trainer.tasks.task import Task
    from trainer.trained import TrainedModel

_WORKDIR = program.define_path("workdir", "Folder of a run.", required=True)
_TEXTS = flags.DEFINE_multi_string("texts", [], "A text; give the flag again for another.")
_INPUT = program.define_path("input", "File to read (default: standard input).")
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["text", "csv", "tsv", "jsonl", "columns"],
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
PIPE_CLOSED = 141  # as a shell says it of a program that SIGPIPE ended


def main() -> int:
    """Predicts; returns the exit status."""
    _check_flags()
    signals = program.Signals()
    signals.install()
    program.import_tensorflow()
    from trainer.data.progress import bar
    from trainer.prediction.attribution import Explainer
    from trainer.prediction.job import Job, Sink
    from trainer.prediction.output import Output, Pipe
    from trainer.prediction.predictor import Predictor
    from trainer.runtime import devices
    from trainer.storage.workdir import Workdir
    from trainer.trained import TrainedModel, for_prediction

    workdir = Workdir(_WORKDIR.value)
    config, _ = workdir.read_to_run(_TRUST.value)
    format_ = _format(config.data, config.task)
    columns = _columns(format_.kind, config.task)
    workdir.finished_weights()  # before devices are set up: there may be none
    settings = for_prediction(config.runtime, _CPU_DEVICES.value)
    trained = TrainedModel(workdir, devices.start(settings, config.seed), _TRUST.value)
    if trained.note:
        program.say(f"Note: {trained.note}")
    task = trained.task
    rule = task.rule(trained.fitted, _THRESHOLD.value)
    explainer = Explainer(trained, _EXPLAIN_STEPS.value) if _EXPLAIN.value else None
    signals.saves = True

    def stop() -> bool:
        return signals.requested

    job = Job(Predictor(trained, stop), rule, explainer, stop)
    with contextlib.ExitStack() as stack:
        # Without a header as the training data, unless a column has a name that is no number.
        header = config.data.header or not all(map(str.isdigit, columns.texts.values()))
        source = stack.enter_context(_input(format_, columns, header, task, stop))
        sink: Sink = Pipe()
        if _OUTPUT.value:
            sink = stack.enter_context(Output(_OUTPUT.value, _RESUME.value, task.line_fields))
        advance = stack.enter_context(bar("Predicting", source.size, source.unit))
        try:
            job.run(source.texts, sink, lambda count: advance(source.progress(count)))
        except Interrupted:
            goes_on = "the same command with --resume goes on from here"
            if not _OUTPUT.value or explainer:
                goes_on = "to go on, --resume needs --output, without --explain"
            program.say(f"Ended by a signal after whole lines: {goes_on}")
            return program.INTERRUPTED
        except BrokenPipeError:
            return PIPE_CLOSED
    if explainer:
        _write_page(job.explained, trained)
    return 0


def _format(data: "Data", task: "Task") -> "Format":
    """How the texts are given; quotes as in the training data, unless a flag says otherwise."""
    from trainer.data.columns import WORDS
    from trainer.data.rows import DELIMITERS, KINDS, format_of

    kind = _FORMAT.value or ("" if _INPUT.value else "text")
    found = format_of(str(_INPUT.value or ""), _QUOTING.value or data.quoting, kind)
    if found is None:
        raise UserError(
            f"--input={_INPUT.value}: its ending does not say how to read it: give --format="
            + "|".join(KINDS)
        )
    if _QUOTING.value and (_TEXTS.value or found.kind not in DELIMITERS):
        raise UserError("--quoting is of CSV and TSV: leave it out")
    of_words = any(column.kind == WORDS for column in task.text_columns)
    if found.kind == "text" and _INPUT.value and not _FORMAT.value and of_words:
        raise UserError(
            f"--input={_INPUT.value} may hold plain text or words in columns: give --format=text or"
            " --format=columns"
        )
    return found


def _columns(kind: str, task: "Task") -> "Columns":
    """Names of the columns; refuses those that would have no effect."""
    from trainer.prediction.inputs import Columns

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
    return Columns(names | {key: name for key, name in given.items() if name}, _ID.value)


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
        given = (Given(i, Row(task.cells_of(text), i, "--texts")) for i, text in texts)
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


def _page_file() -> Path:
    """Where the page of --explain goes."""
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
    program.run(main, __doc__)
