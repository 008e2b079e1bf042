"""Predictions as CSV and TSV: what is kept, and how an interrupted file goes on."""

import csv
import io

import pytest
import tiny

from trainer.errors import UserError
from trainer.prediction.output import TableOutput
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Task

TASK = tiny.classification(["a", "b"])
ROWS = [
    ({"id": i, "label": "b", "probabilities": [0.25, 0.75]}, {"key": str(i), "text": text})
    for i, text in enumerate(["a", "b, c", 'say "no"', "two\nlines", "", "ä\r\n", '"', "end"])
]


def opened(path, resume=True, kept=("key", "text"), **changes):
    settings = {"with_id": False, "kept": kept, "task": TASK, **changes}
    return TableOutput(path, resume, settings.pop("task"), **settings)


def written(path, rows=ROWS, **changes):
    with opened(path, **changes) as sink:
        if sink.done:
            sink.check(sink.render(*rows[sink.done - 1]))
        for row in rows[sink.done :]:
            sink.write(sink.render(*row))
        return sink.done


def test_a_table_keeps_the_columns_of_the_input(tmp_path):
    written(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["key", "text", "predicted label", "probability of a", "probability of b"]
    assert rows == [[kept["key"], kept["text"], "b", "0.25", "0.75"] for _, kept in ROWS]


def test_it_goes_on_after_the_last_whole_row_wherever_it_was_cut(tmp_path):
    path = tmp_path / "out.csv"
    written(path)
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        done = written(path)
        assert done <= len(ROWS)
        assert path.read_bytes() == whole
    assert done == len(ROWS)


def test_tsv_has_no_quotes_and_no_cell_that_would_break_it(tmp_path):
    path = tmp_path / "out.TSV"
    rows = [row for row in ROWS if not set("\n\r") & set(row[1]["text"])]
    written(path, rows)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t")[:2] == ["key", "text"]
    assert lines[3].split("\t")[1] == 'say "no"'
    assert written(path, rows) == len(rows)
    with pytest.raises(UserError, match=r"'two\\nlines' has a tab or a line end"):
        written(tmp_path / "no.tsv", ROWS[3:4])
    assert not (tmp_path / "no.tsv").exists()


def test_other_tasks(tmp_path):
    with opened(tmp_path / "a.csv", with_id=True, kept=(), task=Tagging()) as sink:
        sink.write(sink.render({"id": "x", "tags": ["B-A"], "entities": [{"type": "A"}]}, {}))
    text = (tmp_path / "a.csv").read_text()
    assert [*csv.reader(io.StringIO(text))] == [
        ["id", "predicted tags", "predicted entities"],
        ["x", '["B-A"]', '[{"type": "A"}]'],
    ]
    with opened(tmp_path / "b.csv", kept=("key",), task=Task()) as sink:
        sink.write(sink.render({"id": 0, "own": 1.5}, {"key": None}))
    assert (tmp_path / "b.csv").read_text() == 'key,prediction\n,"{""own"": 1.5}"\n'


class Odd(Task):
    """Gives two columns, and for each row a cell."""

    line_fields = ("sum",)

    def table_columns(self):
        return ["one", "two"]


def test_cells_that_do_not_fit_the_columns(tmp_path):
    with (
        pytest.raises(UserError, match=r"Odd': cells and table_columns do not give as many"),
        opened(tmp_path / "a.csv", kept=(), task=Odd()) as sink,
    ):
        sink.write(sink.render({"id": 0, "sum": 1}, {}))
    with (
        pytest.raises(UserError, match=r"Odd' raised KeyError: 'sum'"),
        opened(tmp_path / "a.csv", kept=(), task=Odd()) as sink,
    ):
        sink.render({"id": 0}, {})
    assert not (tmp_path / "a.csv").exists()


def test_what_cannot_go_on_is_left_as_it_is(tmp_path):
    path = tmp_path / "out.csv"
    for held in (b"a,b\n1,2\n", b'{"id": 0}\n', b"key,text\n", b"\xff\n", b'"open'):
        path.write_bytes(held)
        with pytest.raises(UserError, match="holds no predictions with these columns"):
            opened(path)
        assert path.read_bytes() == held
    path.unlink()
    written(path)
    other = [({**values, "label": "a"}, kept) for values, kept in ROWS]
    with pytest.raises(UserError, match="line 8, is not what would stand there now"):
        written(path, other)
    with pytest.raises(UserError, match="is there already"):
        written(path, resume=False)
    with pytest.raises(UserError, match="two columns 'predicted label': name those to keep"):
        opened(tmp_path / "b.csv", kept=("predicted label",))
    with pytest.raises(UserError, match="two columns 'id'"):
        opened(tmp_path / "b.csv", kept=("id",), with_id=True)
    assert not (tmp_path / "b.csv").exists()


def test_a_start_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match="no row"), opened(tmp_path / "out.csv"):
        raise UserError("no row")
    assert not (tmp_path / "out.csv").exists()
