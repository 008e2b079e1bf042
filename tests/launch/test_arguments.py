"""Flags are checked at the door: each mistake is one line, before anything is loaded."""

import dataclasses
import os

import pytest
from absl import flags
from programs import ROOT

from launch import arguments
from launch.arguments import with_flag_files
from thaw.config_files import load
from trainer.config import Experiment
from trainer.errors import UserError

HEAD = "from trainer.config import *\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("phases[0]", "is a group of settings: give one of them"),
        ("model", "is a group of settings: give one of them, as --config.model"),
        ("phases", r"is a group of settings.*phases\[0\]"),
        ("task", "is a group of settings: give one of them, as --config.task"),
        ("task.names", "config.task has no field 'names'"),
        ("phases[-1].steps", r"has no field 'phases\[-1\]'"),
        ("phases[3].steps", r"there is no config\.phases\[3\]: the index is over 0"),
        ("phases[999999999].steps", "the index is over 0"),
        ("phases[9999999999].steps", "has no field"),
        ("phases[0", "has no field"),
        ("phases[0][0].steps", "has no field"),
        ("phases['a']", "has no field"),
        ("phases.append", "config.phases has no field 'append'"),
        ("phases[0].train[0]", r"this is no list: leave out \[0\]"),
        ("a.__class__", "config has no field 'a'"),
        ("__class__", "config has no field '__class__'"),
        ("model.__class__.__name__", "config.model has no field '__class__'"),
        ("seed.real", "config.seed has no field 'real'"),
        ("model.widht", "config.model has no field 'widht': is it width"),
        ("", "config has no field ''"),
        (".seed", "config has no field ''"),
        ("ſeed", "has no field"),
        ("a" * 9000, "config has no field .a{80}.…: it has data,"),
    ],
)
def test_a_name_that_is_no_setting(name, said):
    with pytest.raises(UserError, match=said):
        arguments._check_field(Experiment(), name)


@pytest.mark.parametrize(
    "name",
    ["seed", "model.width", "task.text", "task.metrics", "phases[0].train", "phases[0].steps"],
)
def test_a_name_that_is_a_setting(name):
    arguments._check_field(Experiment(), name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class E(BaseException): pass\ndef get_config(): raise E('x')\n", "E: x"),
        ("def get_config(): return get_config()\n", "RecursionError"),
        ("def get_config(): raise MemoryError\n", "MemoryError"),
        ("raise GeneratorExit\n", "GeneratorExit"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("class E(Exception):\n  def __str__(self): raise E\nraise E\n", "E: no message"),
        ("import sys\nsys.exit(0)\n", "ends the program"),
        ("get_config = 5\n", "TypeError"),
        ("def get_config(a, b): pass\n", "TypeError"),
        ("def get_config(): return None\n", r"must return a trainer\.config\.Experiment"),
        (b"a\0b", "null bytes"),
        ("x = 'größe'\n".encode("latin-1"), "SyntaxError|codec"),
        ("x = " + "(" * 5000 + ")" * 5000, "too many nested|MemoryError|RecursionError"),
    ],
)
def test_a_config_file_that_fails_in_its_own_way(tmp_path, text, said):
    path = tmp_path / "odd.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=said) as caught:
        load(str(path), "--config")
    assert str(caught.value).startswith(f"--config={path}")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gs://b/c.py", "is a URL"),
        ("~nobody-here/c.py", "there is no user"),
        ("", "--config is empty"),
        ("/dev/zero", "is no regular file"),
        ("/", "Is a directory"),
        ("/nowhere.py", "No such file"),
    ],
)
def test_a_config_that_is_no_file(text, said):
    with pytest.raises(UserError, match=said):
        load(text, "--config")


def test_a_config_is_made_with_its_argument(tmp_path):
    path = tmp_path / "seed.py"
    path.write_text(HEAD + "def get_config(seed):\n    return Experiment(seed=int(seed))\n")
    assert load(f"{path}:7", "--config").seed == 7


TASK = """from __future__ import annotations
from dataclasses import dataclass
from trainer.config import Experiment
from trainer.tasks.task import Task

@dataclass
class Own(Task):
    margin: float = 0.2
    names: {names} = ()

def get_config():
    return Experiment(task=Own())
"""


def test_fields_of_a_task_have_types_where_their_annotations_are_texts(tmp_path):
    """Or no flag could change them."""
    path = tmp_path / "own.py"
    path.write_text(TASK.format(names="tuple[str, ...]"))
    kinds = {spec.name: spec.type for spec in dataclasses.fields(load(str(path), "--config").task)}
    assert kinds == {"margin": float, "names": tuple[str, ...]}
    kinds = {
        spec.type
        for spec in dataclasses.fields(load(str(ROOT / "configs" / "smoke.py"), "--config").task)
    }
    assert kinds == {str, float, bool, tuple[str, ...], tuple[float | str, ...]}
    path.write_text(TASK.format(names="Nowhere"))
    with pytest.raises(UserError, match=r"own\.py: config\.task: NameError: .*Nowhere"):
        load(str(path), "--config")


def test_flag_files(tmp_path):
    file = tmp_path / "flags"
    file.write_text("--a=1\n# a comment\n--b=2\n")
    assert with_flag_files(["p", f"--flagfile={file}", "--c"]) == ["p", "--a=1", "--b=2", "--c"]
    file.write_bytes(b"\x7fELF\xff\xfe")
    for name, said in (
        (file, "cannot read it as text"),
        ("/nowhere", "--flagfile=/nowhere: No such file"),
        (tmp_path, "Is a directory"),
        ("", "--flagfile is empty"),
        ("/dev/zero", "is no regular file"),
    ):
        with pytest.raises(UserError, match=said):
            with_flag_files(["p", f"--flagfile={name}"])
    with pytest.raises(UserError, match="--flagfile is empty"):
        with_flag_files(["p", "--flagfile"])
    for line in ("--flagfile=/dev/zero", "  -flagfile=/dev/zero", "--a=1\r\n--flagfile /dev/zero"):
        file.write_text(line)
        with pytest.raises(UserError, match="names another flag file: put its flags there"):
            with_flag_files(["p", "--flagfile", str(file)])


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (os.fsdecode(b"--texts=a\xff"), "bytes that are not UTF-8"),
        (os.fsdecode(b"\xff"), "bytes that are not UTF-8"),
        ("--texts=a\0b", "holds a NUL byte"),
        ("--texts=" + "a" * 2**17, "'--texts' has 131,080 characters"),
    ],
)
def test_an_argument_that_is_no_text(argument, said):
    with pytest.raises(UserError, match=said) as caught:
        arguments.parse(["program", argument])
    str(caught.value).encode()
    assert len(str(caught.value)) < 500


def test_a_path_flag():
    values = flags.FlagValues()
    parser = arguments._PathParser("output")
    flags.DEFINE(parser, "output", None, "", values, flags.ArgumentSerializer())
    with pytest.raises(UserError, match="--output='gs://b' is a URL"):
        values(["program", "--output=gs://b"])
    values(["program", "--output=runs/[1]"])
    assert str(values.output) == "runs/[1]"


def test_an_integer_of_5000_digits(launch, few):
    ended = launch(*few.flags, f"--config.seed={'9' * 5000}")
    assert ended.status == 2
    assert len(ended.stderr) < 1200
    assert ended.stderr.startswith("error: flag --config.seed=999")
    assert ended.stderr.endswith("; --print_config shows what it may be\n")
    assert not few.workdir.exists()


def test_nothing_behind_the_equals_sign_is_no_element_of_a_tuple():
    config = Experiment()
    config.data.exclude = config.phases[0].train = ("",)
    config.data.mixture = ("", "b")
    arguments.emptied(config)
    assert config.data.exclude == config.phases[0].train == ()
    assert config.data.mixture == ("", "b")
