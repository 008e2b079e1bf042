"""launch.predict as a program: formats, order, resuming, memory, and mistakes."""

import contextlib
import csv
import fcntl
import gzip
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import odd_texts
import psutil
import pytest
from programs import ROOT, environment

from trainer import config
from trainer.data.sources import open_source
from trainer.storage import sealed
from trainer.tasks.classification import Classification

REVIEWS = [*odd_texts.TEXTS, *(f"review {i}: {'good ' * (i % 70)} or not" for i in range(1500))]


def command(run: Path, *flags: object) -> list[str]:
    return [sys.executable, "-m", "launch.predict", f"--workdir={run}", *map(str, flags)]


def predict(launch, run: Path, *flags: object):
    return launch(f"--workdir={run}", *flags, program="launch.predict")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reviews") / "reviews.jsonl"
    rows = ({"text": text, "key": f"r{i}"} for i, text in enumerate(REVIEWS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def whole(launch, finished, reviews) -> Path:
    """Lines that an undisturbed run writes."""
    path = reviews.with_name("whole.jsonl")
    ended = predict(launch, finished, f"--input={reviews}", "--id=key", f"--output={path}")
    assert ended.status == 0, ended.stderr
    return path


def test_rows_are_in_order_and_probabilities_add_up(whole):
    found = lines(whole)
    assert [row["id"] for row in found] == [f"r{i}" for i in range(len(REVIEWS))]
    for row in found:
        assert list(row) == ["id", "label", "probabilities"]
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["label"] == ("neg", "pos")[row["probabilities"][1] > row["probabilities"][0]]


@pytest.mark.long
def test_the_numbers_do_not_hang_on_the_company_or_the_devices(launch, finished, whole):
    found = lines(whole)
    flags = [f"--texts={text}" for text in (REVIEWS[3], REVIEWS[40])]
    for more in ([], ["--cpu_devices=2"]):
        ended = predict(launch, finished, *flags, *more)
        assert ended.status == 0, ended.stderr
        for at, line in zip((3, 40), ended.stdout.splitlines(), strict=True):
            row = json.loads(line)
            assert row["probabilities"] == pytest.approx(found[at]["probabilities"], abs=1e-6)


@pytest.mark.long
def test_formats_agree(launch, finished, tmp_path):
    texts = ["a fine film", "what a bore, really", "so so"]
    files = {
        "a.txt": "".join(f"{text}\n" for text in texts),
        "b.CSV.gz": "x,text\n" + "".join(f'1,"{text}"\n' for text in texts),
        "c.tsv": "text\n" + "".join(f"{text}\n" for text in texts),
        "d.jsonl": "".join(json.dumps({"text": text}) + "\n" for text in texts),
    }
    said = []
    for name, content in files.items():
        data = content.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        ended = predict(launch, finished, f"--input={tmp_path / name}")
        assert ended.status == 0, ended.stderr
        said.append(ended.stdout)
    piped = subprocess.run(
        command(finished), input=files["a.txt"], capture_output=True, text=True, cwd=ROOT,
        env=environment(), check=True,
    )  # fmt: skip
    assert len({*said, piped.stdout}) == 1
    assert said[0].count("\n") == 3


@pytest.mark.long
def test_quotes_are_read_as_in_training_unless_a_flag_says_otherwise(launch, finished, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('text\n"a fine film\na bore"\n')
    ended = predict(launch, finished, f"--input={path}")
    assert ended.status == 0, ended.stderr
    assert [json.loads(line)["id"] for line in ended.stdout.splitlines()] == [0, 1]
    assert ended.stderr == "2 predictions in standard output\n"  # too few for a rate
    ended = predict(launch, finished, f"--input={path}", "--quoting=minimal")
    assert ended.status == 0, ended.stderr
    assert ended.stdout.count("\n") == 1
    assert f"Note: file {path}: cells that span lines: 1, the longest from line 2 to 3" in (
        ended.stderr
    )
    ended = predict(launch, finished, "--texts=x", "--quoting=none")
    assert (ended.status, ended.stderr) == (2, "error: --quoting is of CSV and TSV: leave it out\n")


@pytest.mark.long
def test_killed_anywhere_and_resumed_writes_each_row_once(launch, finished, reviews, whole):
    output = reviews.with_name("killed.jsonl")
    flags = (f"--input={reviews}", "--id=key", f"--output={output}", "--resume")
    process = subprocess.Popen(command(finished, *flags), cwd=ROOT, env=environment())
    deadline = time.monotonic() + 60
    while not (output.exists() and output.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    content = whole.read_bytes()
    written = output.read_bytes()
    assert content.startswith(written)
    # A kill may leave any first part of it.
    ends = [len(written), *random.Random(0).sample(range(len(content)), 2)]
    for end in ends:
        output.write_bytes(content[:end])
        assert predict(launch, finished, *flags).status == 0
        assert output.read_bytes() == content


@pytest.mark.long
def test_a_signal_ends_it_with_whole_lines(finished, reviews, whole, tmp_path):
    many = tmp_path / "many.jsonl"
    many.write_bytes(reviews.read_bytes() * 20)
    output = tmp_path / "out.jsonl"
    flags = (f"--input={many}", "--id=key", f"--output={output}")
    process = subprocess.Popen(
        command(finished, *flags), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (output.exists() and output.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "the same command with --resume goes on from here" in said
    assert output.read_bytes().endswith(b"\n")
    assert 0 < len(lines(output)) < 20 * len(REVIEWS)


@pytest.mark.long
def test_a_signal_ends_the_wait_for_standard_input(finished, tmp_path):
    output = tmp_path / "out.jsonl"
    process = subprocess.Popen(
        command(finished, f"--output={output}"), cwd=ROOT, env=environment(),
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stderr
    process.stdin.write("a fine film\n")
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not output.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 75
    assert "--resume goes on from here" in process.stderr.read()
    assert output.read_bytes() == b""
    process.stdin.close()
    process.stderr.close()


@pytest.mark.long
def test_on_a_terminal_it_says_that_it_reads(finished):
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        command(finished), cwd=ROOT, env=environment(), stdin=its_end,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.write(terminal, b"a fine film\nso so\n\x04")
    stdout, stderr = process.communicate(timeout=60)
    os.close(terminal)
    os.close(its_end)
    assert process.returncode == 0, stderr
    assert [json.loads(line)["id"] for line in stdout.splitlines()] == [0, 1]
    assert stderr.count("Reads text from standard input; Ctrl-D ends it\n") == 1


@pytest.mark.long
def test_the_bar_ends_full_though_the_file_ends_in_empty_lines(finished, tmp_path):
    (tmp_path / "few.csv").write_text("text\na fine film\nso so\n" + "\n" * 500)
    flags = (f"--input={tmp_path / 'few.csv'}", f"--output={tmp_path / 'out.csv'}", "--text=text")
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run(command(finished, *flags), cwd=ROOT, env=environment(), stderr=its_end)
    os.close(its_end)
    said = b""
    with contextlib.suppress(OSError):  # all is read, and the other end is closed
        while part := os.read(terminal, 4096):
            said += part
    os.close(terminal)
    assert re.findall(rb"Predicting: +(\d+)%", said)[-1] == b"100", said


def test_pairs_and_single_texts_are_not_mixed_up(launch, finished, tmp_path):
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    values = sealed.read(finished / "config.json")
    values["task"]["text_pair"] = "other"
    sealed.write(pairs / "config.json", values)
    (tmp_path / "a.csv").write_text("text\nx\n")
    (tmp_path / "a.txt").write_text("x\n")
    for run, flags, said in (
        (pairs, ["--texts=x"], "the model takes more than a text: give the rows as columns"),
        (
            pairs,
            [f"--input={tmp_path / 'a.txt'}"],
            "the model takes more than a text: give the rows as columns",
        ),
        (
            pairs,
            ["--format=text", "--text_pair=b"],
            "the model takes more than a text: give the rows as columns",
        ),
        (finished, [f"--input={tmp_path / 'a.csv'}", "--text_pair=text"], "takes single texts"),
        (finished, ["--texts=x", "--text_pair=text"], "takes single texts"),
        (finished, [f"--input={tmp_path / 'a.txt'}", "--id=key"], "lines of text have none"),
    ):
        ended = predict(launch, run, *flags)
        assert ended.status == 2, (flags, ended.stderr)
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert said in ended.stderr


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(finished, reviews, tmp_path):
    peaks = []
    for times in (1, 12):
        many = tmp_path / f"{times}.jsonl"
        many.write_bytes(reviews.read_bytes() * times)
        measured = (
            "import os, resource, subprocess, sys\n"
            "done = subprocess.run(sys.argv[1:])\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
            "sys.exit(done.returncode)"
        )
        flags = (f"--input={many}", f"--output={tmp_path / f'{times}.out'}")
        done = subprocess.run(
            [sys.executable, "-c", measured, *command(finished, *flags)],
            cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(int(done.stdout))
    assert peaks[1] < 2_000_000  # kB
    assert peaks[1] - peaks[0] < 60_000


@pytest.mark.slow
@pytest.mark.skipif("PREDICT_RUN" not in os.environ, reason="PREDICT_RUN= names no run")
def test_a_large_file_killed_and_resumed(tmp_path):
    """PREDICT_BYTES of reviews, by default 1 GB, half an hour; measures the whole process tree."""
    size = float(os.environ.get("PREDICT_BYTES", "1e9"))
    source = open_source(
        config.Data(name="imdb_sample", data_dir=str(ROOT / "data")), Classification()
    )
    texts = [row["text"] for row in source.rows("test")]
    large, output = tmp_path / "large.jsonl", tmp_path / "out.jsonl"
    count = 0
    with large.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            row = {"text": texts[count % len(texts)], "key": f"r{count}"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    flags = (f"--input={large}", "--id=key", f"--output={output}", "--resume")
    began, peak, ends = time.monotonic(), 0, []
    for killed in (True, False):
        process = psutil.Popen(command(Path(os.environ["PREDICT_RUN"]), *flags), cwd=ROOT)
        while process.poll() is None:
            if killed and output.exists() and output.stat().st_size > size / 50:
                process.kill()
            with contextlib.suppress(psutil.Error):
                tree = [process, *process.children(recursive=True)]
                peak = max(peak, sum(each.memory_info().rss for each in tree))
            time.sleep(0.3)
        ends.append(process.returncode)
    assert ends == [-signal.SIGKILL, 0]
    rate = count / (time.monotonic() - began)
    print(f"{count:,} texts, {rate:.0f} a second, at most {peak / 1e9:.2f} GB of memory")
    with output.open("rb") as file:
        found = 0
        for number, line in enumerate(file):
            assert json.loads(line)["id"] == f"r{number}"
            found += 1
    assert found == count
    assert peak < 2e9


def test_a_table_keeps_the_columns_and_a_text_needs_no_flag(launch, finished, reviews, tmp_path):
    path = tmp_path / "out.csv"
    ended = predict(launch, finished, f"--input={reviews}", f"--output={path}")
    assert ended.status == 0, ended.stderr
    assert re.search(
        rf"^{len(REVIEWS):,} predictions in {path}, [\d,]+ a second$", ended.stderr, re.M
    )
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    names = ["neg", "pos"]
    assert head == ["text", "key", "predicted label", *(f"probability of {n}" for n in names)]
    assert [row[:2] for row in rows] == [[text, f"r{i}"] for i, text in enumerate(REVIEWS)]
    assert all(row[2] == names[float(row[4]) > 0.5] for row in rows)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    ended = predict(launch, finished, f"--input={reviews}", f"--output={path}", "--resume")
    assert ended.status == 0, ended.stderr
    assert path.read_bytes() == whole
    ended = predict(launch, finished, f"--input={reviews}", "--keep=key", "--id=key")
    assert json.loads(ended.stdout.splitlines()[1])["row"] == {"key": "r1"}
    ended = predict(launch, finished, "a fine film", "a bore")
    assert [json.loads(line)["id"] for line in ended.stdout.splitlines()] == [0, 1]
    ended = predict(launch, finished, "a bore", f"--output={tmp_path / 'out.xlsx'}")
    assert ended.status == 0
    assert "out.xlsx ends in neither .csv nor .tsv: it will hold JSON lines\n" in ended.stderr


@pytest.mark.long
def test_a_reader_that_goes_away_is_no_error(finished, reviews):
    process = subprocess.Popen(
        command(finished, f"--input={reviews}"), cwd=ROOT, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) in (0, 141)


@pytest.mark.long
def test_a_full_disk_is_one_line(finished):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(finished, "--texts=x"), stdout=full, stderr=subprocess.PIPE, cwd=ROOT,
            env=environment(), check=False,
        )  # fmt: skip
    said = "error: cannot write standard output: No space left on device\n"
    assert (done.returncode, done.stderr.decode()) == (2, said)


@pytest.mark.long
def test_explanations(launch, finished, tmp_path):
    page = tmp_path / "out.html"
    flags = ("--texts=a fine <b>film", "--explain", f"--output={tmp_path / 'out.jsonl'}")
    ended = predict(launch, finished, *flags)
    assert ended.status == 0, ended.stderr
    (row,) = lines(tmp_path / "out.jsonl")
    tokens = [token for token, _ in row["attributions"]]
    assert tokens[0] == "[CLS]"
    assert "film" in tokens
    assert "&lt;b&gt;film" in page.read_text()


@pytest.mark.long
def test_thresholds(launch, finished):
    labels = {}
    for threshold in ("0", "1", "f1"):
        ended = predict(launch, finished, "--texts=so so", f"--threshold={threshold}")
        assert ended.status == 0, ended.stderr
        labels[threshold] = json.loads(ended.stdout)["label"]
    assert (labels["0"], labels["1"]) == ("pos", "neg")
    ended = predict(launch, finished, "--texts=so so", "--threshold=recall")
    assert ended.status == 2
    assert "'recall' is no number in [0, 1], and no threshold" in ended.stderr


@pytest.mark.long
def test_mistakes_are_one_line(launch, finished, killed, tmp_path):
    (tmp_path / "a.csv").write_text("review\nx\n")
    (tmp_path / "there.jsonl").touch()
    (tmp_path / "a.dat").touch()
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    for flags, said in (
        ([f"--workdir={tmp_path / 'none'}", "--texts=x"], "holds no run"),
        ([f"--workdir={killed}", "--texts=x"], "of which no phase has ended"),
        (["--texts=x", f"--input={tmp_path / 'a.csv'}"], "not both"),
        ([f"--input={tmp_path / 'b.csv'}"], "cannot read --input"),
        ([f"--input={tmp_path / 'a.dat'}"], "give --format="),
        (
            [f"--input={tmp_path / 'a.csv'}"],
            "no column 'text'; its columns: 'review': name the column of the text, --text=…",
        ),
        ([f"--input={tmp_path / 'a.csv'}", "--text=review", "--id=n"], "its columns: 'review'\n"),
        (["--texts=x", f"--output={tmp_path / 'there.jsonl'}"], "is there already"),
        (["--texts=x", f"--output={tmp_path}/no/out.jsonl"], "there is no such folder"),
        (["--texts=x", "--resume"], "--resume needs the --output"),
        (["--texts=x", "--page=x.html"], "give both"),
        (["--texts=x", "--explain", "--output=x.html"], "--page=x.html is --output or --input"),
        (["--texts=x", "--format=xml"], "--format"),
        (["--texts=x", "--output=."], "--output=. is a folder: name a file"),
        (["--texts=x", "--explain", "--output=/"], "--output=/ is a folder: name a file"),
        (["--texts=x", "--explain", "--page=."], "--page=. is a folder: name a file"),
        ([f"--input={loop}"], "Too many levels of symbolic links"),
        (["--texts=x", f"--output={loop}"], "Too many levels of symbolic links"),
        (["--texts=x", "--explain", f"--output={loop}/x"], "there is no such folder"),
        ([f"--workdir={loop}", "--texts=x"], "Too many levels of symbolic links"),
    ):
        own = [] if "--workdir" in flags[0] else [f"--workdir={finished}"]
        ended = launch(*own, *flags, program="launch.predict")
        assert ended.status == 2, (flags, ended.stderr)
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert said in ended.stderr
        assert ended.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("a.csv", "a.dat", "loop.csv", "there.jsonl")
    ]


@pytest.mark.long
def test_garbage_on_standard_input_is_one_line(finished):
    done = subprocess.run(
        command(finished), input=b"caf\xe9 " * 99 + b"\xff\n", capture_output=True, cwd=ROOT,
        env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert "standard input, line" in line
    assert "not UTF-8" in line
