"""The user's mistakes: each one clear line, exit status 2, and nothing half-written."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import ROOT, contents, environment, newest, replaced, run

from trainer.data.survey import place_of

CONFIGS = {
    "raises": "def get_config():\n    return 1 / 0\n",
    "raises_on_import": "import nowhere_to_be_found\n",
    "exits": "import sys\n\nsys.exit('no such machine')\n",
    "syntax": "def get_config(:\n",
    "no_get_config": "def config():\n    return None\n",
    "a_dict": "def get_config():\n    return {'seed': 1}\n",
    "wrong_type": "from trainer.config import *\n\n\n"
    "def get_config():\n    return Experiment(model=Model(width='8'))\n",
    "unknown_field": "from trainer.config import *\n\n\n"
    "def get_config():\n    return Experiment(model=Model(widht=8))\n",
    "no_phases": "from trainer.config import *\n\n\n"
    "def get_config():\n    return Experiment(phases=[])\n",
}


def state(workdir: Path) -> dict | None:
    """Everything in the folder, or that there is none."""
    return contents(workdir) if workdir.is_dir() else None


def refused(launch, few, *flags: str, program: str = "launch.train") -> str:
    """Runs it and checks how it is refused; the line that says why."""
    before = state(few.workdir)
    ended = launch(*few.flags, *flags, program=program)
    assert ended.status == 2, ended.stderr
    return only_line(ended.stderr, few.workdir, before)


def only_line(stderr: str, workdir: Path, before: dict | None) -> str:
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, stderr
    assert errors[0].startswith("error: "), stderr
    assert stderr.endswith(f"{errors[0]}\n")
    assert state(workdir) == before
    return errors[0]


# Flags and config files


@pytest.mark.long
@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.nosuch=1", "nosuch"),
        ("--config.model.nosuch=1", "nosuch"),
        ("--config.phases[0].nosuch=1", "nosuch"),
        ("--config.phases[7].steps=1", r"phases\[7\]|index"),
        ("--config.seed=abc", "seed.*abc"),
        ("--config.seed=1.5", r"seed.*1\.5"),
        ("--config.model.dropout=high", "dropout.*high"),
        ("--config.runtime.xla=perhaps", "xla.*perhaps"),
        ("--config.phases[0].steps=many", "steps.*many"),
        ("--config.phases[0].train=7", "train"),
        ("--config.model.dropout=2", r"config\.model\.dropout=2\.0 must be between 0\.0 and 0\.95"),
        ("--config.max_steps=-1", r"config\.max_steps=-1 must be between 0 and 1000000000000"),
        ("--config.model.norm=both", "config.model.norm='both' is not one of: post, pre"),
        ("--config.model.heads=3", r"width=8 is not a multiple of config\.model\.heads=3"),
        ("--config.phases[0].epochs=2", "needs either steps or epochs, and not both"),
        ("--config.phases[0].warmup_steps=4", "is not shorter than the phase"),
        ("--config.phases[0].train=('(',)", r"'\(' is not a regular expression"),
        ("--config.phases[0].train=('tail/.*',)", "'tail/.*' matches no parameter; there are: "),
        ("--config.phases[0].train=()", r"phases\[0\]\.train is empty"),
        ("--config.task.loss=least_squares", "not one of: cross_entropy, focal"),
        ("--config.task.class_weights=(1.0,)", "class_weights has 1 values, the data 2"),
        ("--config.evaluation.metric=speed", "evaluation.metric='speed' is not one of: loss"),
        ("--config.evaluation.metric=f1_macro", r"='f1_macro' is not one of: .*: is it f1\?$"),
        ("--config.runtime.gpus=(99,)", r"names GPU 99, this machine has \d"),
        ("--nosuch=1", "nosuch"),
        ("--cpu_devices=none", "cpu_devices"),
        ("--cpu_devices=0", "cpu_devices"),
        ("extra", "unknown argument 'extra'"),
    ],
)
def test_a_wrong_flag(launch, few, flag, said):
    line = refused(launch, few, flag)
    assert re.search(said, line), line


def test_a_flag_that_is_missing(launch, few):
    for name in ("config", "workdir"):
        flags = [flag for flag in few.flags if not flag.startswith(f"--{name}=")]
        flags = [flag for flag in flags if name != "config" or not flag.startswith("--config.")]
        ended = launch(*flags)
        assert ended.status == 2
        assert f"--{name}" in only_line(ended.stderr, few.workdir, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", r"missing\.py"),
        ("raises", "ZeroDivisionError: division by zero"),
        ("raises_on_import", "nowhere_to_be_found"),
        ("exits", "ends the program: no such machine"),
        ("syntax", "invalid syntax"),
        ("no_get_config", "get_config"),
        ("a_dict", r"get_config\(\) must return a trainer\.config\.Experiment"),
        ("wrong_type", r"config\.model\.width must be of type int, is '8'"),
        ("unknown_field", "widht"),
        ("no_phases", r"config\.phases is empty"),
    ],
)
def test_a_wrong_config_file(launch, few, tmp_path, name, said):
    path = tmp_path / f"{name}.py"
    if name in CONFIGS:
        path.write_text(CONFIGS[name])
    ended = launch(f"--config={path}", f"--workdir={few.workdir}")
    assert ended.status == 2, ended.stderr
    line = only_line(ended.stderr, few.workdir, None)
    assert re.search(said, line), line
    assert path.name in line or name in ("a_dict", "wrong_type", "no_phases")


# Data


def test_missing_data(launch, few):
    few.train.unlink()
    line = refused(launch, few)
    assert f"config.data.train='{few.train}': there is no such file or folder" in line


def test_unreadable_data(launch, few):
    few.train.unlink()
    few.train.mkdir()
    assert f"{str(few.train)!r} is a folder without files" in refused(launch, few)


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split(launch, few, split):
    few.write(getattr(few, split), [])
    assert f"{split}.csv" in refused(launch, few)


def test_an_empty_file(launch, few):
    few.test.write_bytes(b"")
    assert "test.csv has no column 'text'; its columns: none" in refused(launch, few)


def test_no_example_left_for_validation(launch, few):
    line = refused(launch, few, "--config.data.validation_share=0.0001")
    assert "leaves no example for validation" in line


def test_a_missing_column(launch, few):
    few.write(few.test, [("a film", "good")], header=("review", "label"))
    line = refused(launch, few)
    assert f"file {few.test} has no column 'text'; its columns: 'review', 'label'" in line


def test_a_row_with_too_many_cells(launch, few):
    few.write(few.train, [("a film", "good"), ("a film", "that", "bad")])
    assert "train.csv, row 2 (line 3): 3 cells under 2 columns" in refused(launch, few)


def test_an_unknown_label(launch, few):
    few.write(few.test, [("a film", "good"), ("a film", "fair")])
    assert (
        "test.csv, row 2: label 'fair' is not one of the labels of train: 'bad', 'good'"
        in refused(launch, few)
    )


def test_one_label_only(launch, few):
    few.write(few.train, [("a film", "good"), ("a show", "good")])
    assert "train.csv has 1 distinct labels: at least 2 are needed" in refused(launch, few)


def test_a_text_that_is_not_utf_8(launch, few):
    few.train.write_bytes(few.train.read_bytes() + b"\x93caf\xe9\x94,good\n")
    line = refused(launch, few)
    assert f"file {few.train}, line 26: not UTF-8 (byte 0x93 at position 0)" in line


def test_broken_json(launch, few):
    few.test = few.test.with_suffix(".jsonl")
    few.test.write_text('{"text": "a film", "label": "good"}\n{"text": "a fi\n')
    assert "test.jsonl, row 2: not JSON" in refused(launch, few)


def test_an_unknown_kind_of_file(launch, few):
    few.test = few.test.rename(few.test.with_suffix(".xlsx"))
    assert "must end in .csv, .tsv, .jsonl" in refused(launch, few)


def test_selecting_on_the_split_that_is_reported(launch, few):
    line = refused(launch, few, f"--config.data.validation={few.test}")
    assert "selecting on the split that is reported" in line


def test_reporting_on_examples_that_were_trained_on(launch, few):
    few.test = few.train
    assert "report on examples that were trained on" in refused(launch, few)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.data.data_dir=/nowhere", "/nowhere.*scripts/fetch_sample.py"),
        ("--config.data.test=tset", "no split 'tset'.*its splits: 'test', 'train'"),
        ("--config.data.test=test[:0]", r"'test\[:0\]'.* is empty"),
        (
            "--config.task.text=review",
            "task.text='review' is no feature of .*: 'label', 'text'|'text', ",
        ),
        ("--config.data.validation=test", "selecting on the split that is reported"),
    ],
)
def test_wrong_tfds_data(launch, smoke, few, flag, said):
    ended = launch(*smoke, f"--workdir={few.workdir}", flag)
    assert ended.status == 2, ended.stderr
    line = only_line(ended.stderr, few.workdir, None)
    assert re.search(said, line), line


def test_a_class_that_only_validation_has(launch, few):
    assert place_of("text 5") < 0.4
    few.write(few.train, [*few.rows, ("text 5", "rare")])
    line = refused(launch, few)
    assert "all rows of label 'rare' (1) fell into the validation part of train" in line


@pytest.mark.long
def test_what_is_odd_about_the_data_is_told_before_the_first_step(launch, few):
    few.test = few.test.with_suffix(".TSV")
    few.test.write_text('text\tlabel\n"a film"\tgood\n\tbad\na show\tbad\n')
    assert place_of("a film\nof two lines") > 0.4
    few.write(few.train, [*few.rows, *(("a film\nof two lines", "good ") for _ in range(3))])
    ended = launch(*few.flags)
    assert ended.status == 0, ended.stderr
    said = ended.stderr[: ended.stderr.index("Phase 'all'")]
    assert "\n3 classes, rows in train, validation, test:\n  0  'bad' " in said
    assert "\n  2  'good '  3  0  0\n" in said
    assert "Note: train: cells that span lines: 3, the longest from line 26 to 27: " in said
    assert "Note: test: cells that begin and end with a quote, which is read as part" in said
    assert "Note: classes that differ only in case, blanks, " in said
    assert "'good' and 'good '" in said
    assert json.loads((few.workdir / "result.json").read_text())["test"]["examples"] == 3
    assert re.search(r"\b1\b.*empty", ended.stderr), ended.stderr


@pytest.mark.long
def test_a_damaged_token_cache_is_built_again(launch, few, tmp_path):
    few.cache = tmp_path / "cache"
    assert launch(*few.flags).status == 0
    first = (few.workdir / "result.json").read_text()
    whole = {path: path.read_bytes() for path in few.cache.rglob("*.bin")}
    assert len(whole) == 15  # five arrays of three splits
    for path, content in whole.items():
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 0xFF]))
    few.workdir = tmp_path / "again"
    ended = launch(*few.flags)
    assert ended.status == 0, ended.stderr
    assert ended.stderr.count("building it again") == 3
    assert {path: path.read_bytes() for path in whole} == whole
    again = (few.workdir / "result.json").read_text()
    assert json.loads(again)["test"] == json.loads(first)["test"]


def test_a_metric_that_this_validation_split_cannot_give(launch, few):
    """Before the first step, not after the first phase."""
    few.test.write_text("text,label\na film,bad\n")
    validation = few.train.with_name("validation.csv")
    few.write(validation, [("a fine film", "good"), ("a fine show", "good")])
    flags = (f"--config.data.validation={validation}", "--config.evaluation.metric=auc")
    line = refused(launch, few, *flags)
    assert "config.evaluation.metric='auc' cannot choose the best weights" in line
    assert "validation has examples of 'good' only" in line


def test_a_metric_of_another_number_of_classes_is_refused_before_a_tokenizer_is_trained(
    launch, few, tmp_path
):
    few.cache = tmp_path / "cache"
    line = refused(launch, few, "--config.evaluation.metric=f1_macro")
    assert line.endswith("is it f1?")
    assert not few.cache.exists()


def test_a_header_that_is_a_row_of_the_data(launch, few):
    """The message quotes no more of it than fits."""
    few.train.write_text(f'"{"word " * 12_000}",good\n\x1b[2J,bad\n')
    line = refused(launch, few)
    assert "has no column 'text'" in line
    assert len(line) < 1100
    assert line.endswith("'word word word word word word word word '…, 'good'")


# The tokenizer and the model


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.model.width=65536", r"parameters: 3 numbers for each .* this machine has"),
        ("--config.model.depth=100000", "depth=100000 must be between 0 and 256"),
        ("--config.model.vocab_size=2000000000000", "must be between 0 and 10000000"),
        ("--config.runtime.cpu_devices=100000", "must be between 0 and 64"),
        ("--cpu_devices=100000", "not an integer in the range"),
    ],
)
def test_sizes_no_machine_can_hold(launch, few, flag, said):
    assert re.search(said, refused(launch, few, flag))


def test_a_tokenizer_larger_than_the_model(launch, few):
    line = refused(launch, few, "--config.model.vocab_size=20")
    assert re.search(r"the tokenizer has \d+ tokens, config\.model\.vocab_size is 20", line)


def test_no_such_tokenizer(launch, few):
    line = refused(launch, few, f"--config.tokenizer.pretrained={few.train.parent / 'none'}")
    assert "cannot load tokenizer" in line


def test_a_global_batch_smaller_than_the_replicas(launch, few):
    line = refused(launch, few, "--cpu_devices=4", "--config.global_batch_size=3")
    assert "config.global_batch_size=3 is smaller than the 4 replicas" in line


def test_an_earlier_run_that_is_not_there(launch, few):
    line = refused(launch, few, f"--config.model.initial_run={few.train.parent / 'none'}")
    assert str(few.train.parent / "none") in line


# The workdir


def test_a_workdir_that_is_a_file(launch, few):
    few.workdir.write_text("mine")
    assert f"--workdir={few.workdir}: {few.workdir} is a file" in refused(launch, few)
    assert few.workdir.read_text() == "mine"


def test_a_workdir_below_a_file(launch, few):
    few.workdir = few.train / "run"
    assert f"--workdir={few.workdir}: {few.train} is a file" in refused(launch, few)


def test_a_workdir_with_other_files(launch, few):
    few.workdir.mkdir()
    (few.workdir / "notes.txt").write_text("mine")
    assert "is not empty and holds no run: choose an empty folder" in refused(launch, few)


@pytest.mark.long
def test_a_workdir_that_holds_another_run(launch, few):
    assert launch(*few.flags).status == 0
    line = refused(launch, few, "--config.model.dropout=0.2")
    assert "holds another run (config.model.dropout: -1.0 -> 0.2)" in line
    few.write(few.test, [("another film", "good"), ("another show", "bad")])
    assert "holds a run on other data (data_fingerprint differ)" in refused(launch, few)


def test_a_workdir_whose_config_is_broken(launch, few):
    few.workdir.mkdir()
    (few.workdir / "config.json").write_text('{"seed": ')
    assert f"cannot read {few.workdir / 'config.json'}" in refused(launch, few)


@contextlib.contextmanager
def mounted(folder: Path, options: str):
    """A small file system in memory; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount program")
    if done.returncode:
        pytest.skip("only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_workdir_on_a_disk_that_is_read_only(launch, few, tmp_path):
    with mounted(tmp_path / "disk", "ro") as disk:
        few.workdir = disk / "run"
        assert f"--workdir={few.workdir} is not writable" in refused(launch, few)


@pytest.mark.parametrize("program", ["predict", "export", "report"])
def test_a_folder_that_may_not_be_looked_into(tmp_path, program):
    """As another user, where this one is root: who may look everywhere."""
    (tmp_path / "locked").mkdir(mode=0o000)
    script = (
        f"import os, launch.main, launch.{program} as module\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "launch.main.run(module.main, '', texts=bool(module.main.__code__.co_argcount))\n"
    )
    flags = [f"--workdir={tmp_path}/run", f"--output={tmp_path}/locked/o/x"]
    flags += ["--format=savedmodel"] if program == "export" else []
    ended = subprocess.run(
        [sys.executable, "-c", script, *flags], cwd=ROOT, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/locked/o")
    assert line.endswith(
        ": Permission denied: name a place that this user may read and write, or change its rights"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workdir_without_permission(launch, few, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    few.workdir = tmp_path / "locked" / "run"
    assert f"--workdir={few.workdir} is not writable" in refused(launch, few)


@pytest.mark.long
def test_a_full_disk_while_saving(launch, few, tmp_path):
    """The checkpoint before survives, and with room again the same command goes on."""
    with mounted(tmp_path / "disk", "size=32m") as disk:
        few.workdir = disk / "run"
        wide = ("--config.model.width=256", "--config.histograms_every_steps=0")  # 4 MB to save
        assert launch(*few.flags, *wide, "--config.max_steps=2").status == 0
        before = contents(newest(few.workdir / "checkpoints"))
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler = disk / "filler"
        filler.write_bytes(b"x" * (free - 1_000_000))

        ended = launch(*few.flags, *wide)
        assert ended.status == 2, ended.stderr
        assert "Traceback" not in ended.stderr
        last = ended.stderr.splitlines()[-1]
        assert last.startswith("error: cannot save the checkpoint of step 4"), last
        assert "the disk is full" in last
        assert contents(newest(few.workdir / "checkpoints")) == before
        assert not list((few.workdir / "checkpoints").glob(".*"))

        filler.unlink()
        ended = launch(*few.flags, *wide)
        assert ended.status == 0, ended.stderr
        assert "Resuming at step 2" in ended.stderr


@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("launch.train", ("--workdir={}",)),
        ("launch.train", ("--cache_dir={}",)),
        ("launch.train", ("--config.data.train={}",)),
        ("launch.export", ("--workdir=x", "--format=keras", "--output={}")),
        ("launch.report", ("--workdir=x", "--output={}")),
        ("launch.predict", ("--workdir=x", "--input={}")),
        ("launch.evaluate", ("--workdir=x", "--data_dir={}")),
    ],
)
def test_a_url_is_no_path(launch, few, program, flags):
    url = "gs://bucket/run"
    given = [flag.format(url) for flag in flags]
    ended = launch(*replaced(few.flags if "train" in program else (), *given), program=program)
    assert ended.status == 2, ended.stderr
    line = only_line(ended.stderr, few.workdir, None)
    assert f"='{url}' is a URL, and no path of this machine" in line
    assert not (ROOT / "gs:").exists()


@pytest.mark.slow
@pytest.mark.end_to_end
def test_a_workdir_whose_name_is_a_pattern(launch, few, tmp_path):
    """TensorFlow would look for other files; a run, and what is done with it, is as elsewhere."""
    folder = tmp_path / "runs [1e-3,5e-4] größe\\{a}?*"
    folder.mkdir()
    plain, few.workdir = few.workdir, folder / "run"
    cut = launch(*few.flags, "--config.max_steps=2")
    assert cut.status == 0, cut.stderr
    ended = launch(*few.flags)
    assert ended.status == 0, ended.stderr
    assert "Resuming at step 2" in ended.stderr
    again = launch(*few.flags, "--config.max_steps=1")
    assert again.status == 0
    assert "Note: config.max_steps=1 is below the 4 steps that are done" in again.stderr
    where = f"--workdir={few.workdir}"
    evaluated = launch(where, few.flags[-1], program="launch.evaluate")
    result = json.loads((few.workdir / "result.json").read_text())
    assert json.loads(evaluated.stdout)["loss"] == result["test"]["loss"]
    predicted = launch(where, "--texts=a film", program="launch.predict")
    assert json.loads(predicted.stdout)["label"] in ("good", "bad")
    for kind in ("savedmodel", "keras"):
        made = launch(
            where, f"--format={kind}", f"--output={folder / kind}", program="launch.export"
        )
        assert made.status == 0, made.stderr
    assert launch(where, program="launch.report").status == 0
    few.workdir = plain
    assert launch(*few.flags).status == 0
    assert contents(newest(plain / "checkpoints")) == contents(
        newest(folder / "run" / "checkpoints")
    )


# launch.evaluate


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--workdir=/nowhere",), "/nowhere holds no run"),
        (("--workdir=/nowhere", "--split=dev"), "/nowhere holds no run"),
        ((), "--workdir"),
    ],
)
def test_evaluating_what_is_not_there(launch, flags, said):
    ended = launch(*flags, program="launch.evaluate")
    assert ended.status == 2
    assert said in only_line(ended.stderr, Path("/nowhere"), None)


# As a person would start it


@pytest.mark.long
@pytest.mark.end_to_end
def test_the_real_program_says_it_in_one_line(few):
    ended = run(*few.flags, "--config.model.nosuch=1")
    assert ended.status == 2
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""
    few.test.unlink()
    ended = run(*few.flags, cwd=ROOT)
    assert ended.status == 2
    said = f"config.data.test='{few.test}': there is no such file or folder"
    assert said in only_line(ended.stderr, few.workdir, None)
