"""One file is enough: configs/files.py on CSV, Parquet and JSONL."""

import csv
import json
import re

import pyarrow
import pyarrow.parquet
import pytest
import tickets
from programs import points
from task_runs import ok, refused

pytestmark = pytest.mark.end_to_end
CONFIG = "--config=configs/files.py"
TINY = (  # little is compiled, for one length
    *("--config.model.width=16", "--config.model.heads=2", "--config.model.ffn_width=16"),
    *("--config.data.buckets=1", "--config.runtime.xla=off"),
)
SHORT = "--config.max_steps=4"


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "tickets.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        tickets.write(file, 120)
    return path


def chosen(workdir):
    return json.loads((workdir / "config.json").read_text())


@pytest.mark.long
def test_a_file_of_few_rows_trains_resumes_and_is_evaluated(launch, csv_file, tmp_path, cache):
    workdir = tmp_path / "run"
    flags = [CONFIG, *TINY, f"--config.data.train={csv_file}", f"--workdir={workdir}", cache]
    said = ok(launch(*flags, SHORT)).stderr
    assert "Columns found: config.task.text='message', config.task.label='queue'\n" in said
    assert re.search(r"Chosen for 9\d rows of train: config\.global_batch_size=16, ", said)
    begun = chosen(workdir)
    assert begun["global_batch_size"] == 16
    assert begun["task"]["text"] == "message"
    test = json.loads((workdir / "result.json").read_text())["test"]
    again = ok(launch(*flags, "--config.max_steps=8"))
    assert "Chosen for" not in again.stderr
    assert "Goes on with what the run began with: config.global_batch_size=16, " in again.stderr
    assert "Resuming at step 4" in again.stderr
    assert chosen(workdir)["phases"] == begun["phases"]
    assert max(step for step, _ in points(workdir)) == 8
    found = ok(launch(f"--workdir={workdir}", cache, program="launch.evaluate"))
    assert json.loads(found.stdout)["examples"] == test["examples"]
    said = refused(launch, workdir, *flags, "--config.global_batch_size=8")
    assert "config.global_batch_size: 16 -> 8" in said


@pytest.mark.long
def test_parquet_gives_the_same_run_as_csv(launch, csv_file, tmp_path, cache):
    with csv_file.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    table = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "tickets.parquet")
    results = []
    for name in ("tickets.csv", "tickets.parquet"):
        path, workdir = tmp_path / name, tmp_path / f"of-{name}"
        flags = [CONFIG, *TINY, f"--config.data.train={path}", f"--workdir={workdir}", SHORT, cache]
        ok(launch(*flags))
        results.append(json.loads((workdir / "result.json").read_text())["test"])
    assert results[0] == results[1]


@pytest.mark.long
def test_other_tasks_take_a_file_alike(launch, tmp_path, cache):
    rows = list(tickets.rows(100))
    made = {
        "labels": [{"message": r[3], "labels": [r[4], "any"]} for r in rows],
        "regression": [{"message": r[3], "price": 100 + len(r[3])} for r in rows],
        "tagging": [{"words": r[3].split(), "tags": ["O", "B-A"] * 40} for r in rows],
    }
    for row in made["tagging"]:
        row["tags"] = row["tags"][: len(row["words"])]
    for name, of in made.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in of), encoding="utf-8")
        where = [f"--config.data.train={path}", f"--workdir={tmp_path / name}", SHORT, cache]
        said = ok(launch(f"{CONFIG}:{name}", *TINY, *where)).stderr
        assert "Columns found: " in said
        assert json.loads((tmp_path / name / "result.json").read_text())["test"]["examples"]


def test_files_that_cannot_be_learned_from(launch, tmp_path, cache):
    for text, expected in (
        ("text,label\na,b\n", "has 1 distinct labels: at least 2 are needed"),
        ("text,label\na,b\nc,d\n", "leaves no example for validation"),
        ("text,label\n" + "".join(f"t {i},{i}\n" for i in range(200)), "has 200 distinct labels"),
        ("", "is empty"),
        ("amount\n1\n2\n", "which of its columns holds text? Name it: --config.task.text="),
    ):
        path = tmp_path / "few.csv"
        path.write_text(text)
        flags = [CONFIG, f"--config.data.train={path}", f"--workdir={tmp_path / 'no'}", cache]
        assert expected in refused(launch, tmp_path / "no", *flags)
    assert not (tmp_path / "no").exists()
    said = refused(launch, tmp_path / "no", CONFIG, f"--workdir={tmp_path / 'no'}", cache)
    assert "config.data.train is empty: name the split or file, --config.data.train=" in said
