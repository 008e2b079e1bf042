"""Tasks in config.json: whose class it is, and that a stranger's is imported only if trusted."""

import dataclasses
import importlib
import json
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
import tiny
from sealing import DERIVED, reseal
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from trainer import settings
from trainer.config import Experiment, differences, from_dict, to_dict, validate
from trainer.data.columns import TEXT, Row
from trainer.errors import UserError
from trainer.storage import fields
from trainer.storage.workdir import Workdir
from trainer.tasks import stored
from trainer.tasks.classification import Classification
from trainer.tasks.multi_label import MultiLabel
from trainer.tasks.stored import StoredTask, check_class
from trainer.tasks.task import Task, check_columns, class_path, encoding_of

OWN = "trainer.tasks.classification:Classification"


@dataclass
class Margin(Classification):
    """A task of the user's own."""

    margin: float = 0.2
    layers: tuple[int, ...] = (1,)

    def check_facts(self, facts):
        super().check_facts(facts)
        if facts["labels"][0] == "odd":
            raise fields.Invalid("no label may be odd")


MINE = f"{__name__}:Margin"


def as_json(task: Task) -> dict:
    return json.loads(json.dumps(stored.to_dict(task)))


def test_a_task_of_this_library_comes_back_as_it_was():
    task = Classification(text="review", labels=("b", "a"), class_weights=(1.0, 2.0))
    held = as_json(task)
    assert held["class"] == OWN
    assert held["labels"] == ["b", "a"]
    assert stored.from_dict(held) == task
    assert held["class"] == OWN  # what was given is as it was


@pytest.fixture
def evil(tmp_path, monkeypatch) -> Iterator[str]:
    """The import path of a task whose module must not be imported."""
    (tmp_path / "evil_task.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    yield "evil_task:Evil"
    assert "evil_task" not in sys.modules


def test_a_strangers_class_is_kept_as_it_stands_and_not_imported(evil):
    held = {"class": evil, "depth": [1, {"a": None}], "text": 5}
    task = stored.from_dict(held)
    assert task == StoredTask(evil, {"depth": [1, {"a": None}], "text": 5})
    assert stored.to_dict(task) == held
    config = from_dict(to_dict(Experiment()) | {"task": held})
    validate(config)
    check_class(config.task)
    assert to_dict(config)["task"] == held
    assert differences(config, Experiment(task=StoredTask(evil, {"depth": 2, "text": 5}))) == [
        "config.task.depth: [1, {'a': None}] -> 2"
    ]
    lines = differences(config, Experiment())
    assert f"config.task: '{evil}' -> '{OWN}'" in lines
    assert "config.task.depth: [1, {'a': None}] -> 'absent'" in lines
    assert "config.task.text: 5 -> 'text'" in lines


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, r"config\.task\.class must be the import path of a task"),
        ({"class": None}, r"config\.task\.class must be the import path of a task"),
        ({"class": ["a:b"]}, r"config\.task\.class must be the import path of a task"),
        ({"class": OWN}, r"config\.task\.class_weights is missing"),
        ({**as_json(Classification()), "size": 1}, "config.task has an unknown field: size"),
        ({**as_json(Classification()), "x" * 999: 1}, "has an unknown field: x{100}$"),
        ({**as_json(Classification()), "facts": {}}, "config.task has an unknown field: facts"),
    ],
)
def test_fields_that_a_task_has_not_are_refused(values, said):
    with pytest.raises(UserError, match=said) as caught:
        stored.from_dict(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [spec.name for spec in dataclasses.fields(Classification)])
def test_a_field_that_is_missing_is_named(name):
    held = as_json(Classification())
    del held[name]
    with pytest.raises(UserError, match=rf"^config\.task\.{name} is missing$"):
        stored.from_dict(held)


@pytest.mark.parametrize("value", [None, {}, [["a"]], {"a": [1]}, [None], True, "1"])
@pytest.mark.parametrize("name", ["labels", "mask_share", "class_weights"])
def test_values_of_another_type_are_refused_when_they_are_checked(name, value):
    held = to_dict(Experiment())
    held["task"][name] = value
    with pytest.raises(UserError, match=rf"config\.task\.{name} must be "):
        validate(from_dict(held))


def test_the_class_of_the_callers_own_task_is_known():
    held = as_json(Margin(margin=0.5, layers=(1, 2)))
    assert isinstance(stored.from_dict(held), StoredTask)
    assert stored.from_dict(held, like=Classification()) == StoredTask(MINE, held_fields(held))
    assert stored.from_dict(held, like=Margin()) == Margin(margin=0.5, layers=(1, 2))
    assert stored.from_dict(held).imported() == Margin(margin=0.5, layers=(1, 2))
    with pytest.raises(UserError, match=r"config\.task\.margin is missing"):
        stored.from_dict({k: v for k, v in held.items() if k != "margin"}).imported()
    with pytest.raises(UserError, match=r"config\.task has an unknown field: more"):
        stored.from_dict({**held, "more": 1}).imported()


def held_fields(held: dict) -> dict:
    return {name: value for name, value in held.items() if name != "class"}


def function() -> None:
    pass


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{__name__}:function", "is no dataclass of trainer.tasks.task.Task"),
        ("math:sqrt", "is no dataclass of trainer.tasks.task.Task"),
        ("builtins:dict", "is no dataclass of trainer.tasks.task.Task"),
        ("trainer.config:Data", "is no dataclass of trainer.tasks.task.Task"),
        ("no_such_module:Task", "there is no module 'no_such_module'"),
        (f"{__name__}:Nothing", "has no 'Nothing'"),
        (f"{__name__}:MINE", "is of type str, not a function"),
        ("no colon", "is not an import path"),
    ],
)
def test_what_is_no_task_is_told(path, said):
    with pytest.raises(UserError, match=said) as caught:
        StoredTask(path, {}).imported()
    assert str(caught.value).startswith(f"config.task='{path}'")


def test_a_class_that_no_other_process_could_find_is_refused():
    check_class(Classification())
    check_class(Margin())
    check_class(StoredTask("nowhere:Task"))

    @dataclass
    class Local(Classification):
        pass

    with pytest.raises(UserError, match=r"Local'.* define the class at the top of a module"):
        check_class(Local())
    config = {"__name__": "config"}  # as a config file is run: under a name that is no module
    exec(SOURCE, config)
    with pytest.raises(UserError, match=r"config\.task='config:Mine'"):
        check_class(config["get_config"]().task)
    other = type("Margin", (Margin,), {})  # hides behind the name of another
    other.__module__ = __name__
    with pytest.raises(UserError, match="define the class at the top of a module of its own"):
        check_class(other())


SOURCE = """
from dataclasses import dataclass
from trainer.config import Experiment
from trainer.tasks.classification import Classification

@dataclass
class Mine(Classification):
    pass

def get_config():
    return Experiment(task=Mine())
"""


# In a workdir


def begun(folder, config: Experiment) -> Workdir:
    """A workdir with the settings of a run."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]")),
        unk_token="[UNK]",
        pad_token="[PAD]",
    )
    workdir = Workdir(folder / "run")
    derived = {k: v for k, v in DERIVED.items() if k != "tokenizer_files"}
    workdir.begin(config, derived, tokenizer)
    return workdir


def test_a_task_of_the_users_is_imported_when_it_is_trusted(tmp_path):
    workdir = begun(tmp_path, tiny.experiment(task=Margin(margin=0.5)))
    assert isinstance(workdir.read()[0].task, StoredTask)
    assert workdir.read(Experiment(task=Margin()))[0].task == Margin(margin=0.5)
    top = __name__.partition(".")[0]
    with pytest.raises(UserError, match=f"config.task='{MINE}'.*--trust={top}"):
        workdir.read_to_run(())
    assert workdir.read_to_run([top])[0].task == Margin(margin=0.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": "evil_task:loss"}, "config.task.loss='evil_task:loss': if you know it"),
        ({"metrics": ["evil_task:f"]}, r"config.task.metrics\[0\]='evil_task:f': if you know it"),
        ({"metrics": 5}, "cannot read .*config.json: config.task.metrics must be a tuple of str"),
        ({"text": ""}, "cannot read .*config.json: config.task.text is empty"),
    ],
)
@pytest.mark.usefixtures("evil")
def test_what_the_fields_of_a_trusted_task_name_is_not_trusted_with_it(tmp_path, change, said):
    workdir = begun(tmp_path, tiny.experiment(task=Margin()))
    reseal(workdir.config_file, lambda values: values["task"].update(change))
    with pytest.raises(UserError, match=said):
        workdir.read_to_run([__name__])


def test_facts_of_a_trusted_task_are_checked_by_it(tmp_path):
    workdir = begun(tmp_path, tiny.experiment(task=Margin()))
    facts = {"labels": ["odd", "even"]}
    reseal(workdir.config_file, lambda values: values["derived"].update(facts=facts))
    assert workdir.read()[1]["facts"] == facts
    said = r"cannot read .*config\.json: no label may be odd; another version"
    with pytest.raises(UserError, match=said):
        workdir.read_to_run([__name__])
    with pytest.raises(UserError, match=said):
        workdir.read(Experiment(task=Margin()))


@pytest.mark.parametrize(
    "facts",
    [{}, {"labels": None}, {"labels": []}, {"labels": ["a"]}, {"labels": ["a", "a"]},
     {"labels": ["a", 1]}, {"labels": {"a": 1}}, {"labels": [["a"], ["b"]]}],
)  # fmt: skip
def test_facts_that_classification_would_not_learn(tmp_path, facts):
    workdir = begun(tmp_path, tiny.experiment())
    reseal(workdir.config_file, lambda values: values["derived"].update(facts=facts))
    with pytest.raises(UserError, match=r"cannot read .*labels .*; another version"):
        workdir.read()


# Tokens that are kept for a task


def test_the_encoding_is_of_columns_facts_and_class():
    base = Classification()
    same = [
        Classification(loss="focal", mask_share=0.5, class_weights=(1.0, 2.0)),
        Classification(label_smoothing=0.1, precision_target=0.5, metrics=("a:b",)),
        Classification(labels=("a", "b")),  # what they are is a fact
    ]
    for each in same:
        assert encoding_of(each) == encoding_of(base)
    others = [
        Classification(text="review"),
        Classification(text_pair="other"),
        Classification(label="stars"),
        tiny.classification(["a", "b"]),
        tiny.classification(["b", "a"]),
        Margin(),
        Margin(margin=0.3),  # a task of the user's may use it, without saying so
    ]
    found = [json.dumps(encoding_of(each), sort_keys=True) for each in (base, *others)]
    assert len(set(found)) == len(found)


def test_the_encoding_changes_with_the_source_of_a_users_class(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file, found = tmp_path / "changing_task.py", []
    for more in ("", "# changed\n", ""):
        file.write_text(SOURCE + more)
        sys.modules.pop("changing_task", None)
        importlib.invalidate_caches()
        linecache.checkcache()
        module = importlib.import_module("changing_task")
        found.append(encoding_of(module.Mine()))
    sys.modules.pop("changing_task")
    assert found[0][:2] == ["changing_task:Mine", SOURCE]
    assert found[1] != found[0] == found[2]


# Columns


@dataclass
class Odd(Classification):
    """With columns that do not go together."""

    words: str = settings.column("words")
    second: str = settings.column("no such kind")


@dataclass
class Three(Classification):
    """With more texts than `pieces` takes."""

    text_pair: str = settings.column(TEXT, "b")
    third: str = settings.column(TEXT, "c")


def test_columns_are_checked():
    check_columns(Classification(text_pair="b"))
    check_columns(Odd(words="w"))
    with pytest.raises(
        UserError, match=r"config\.task\.second is of an unknown kind 'no such kind'"
    ):
        check_columns(Odd(second="s"))
    with pytest.raises(UserError, match=r"config\.task\.words='label' is config.task.label too"):
        check_columns(Odd(words="label"))
    with pytest.raises(UserError, match=r"Three has 3 columns of text, and a piece is made of one"):
        check_columns(Three())
    with pytest.raises(UserError, match=r"trainer\.tasks\.task:Task has no column of text or word"):
        check_columns(Task())


class Spelt(Classification):
    """With outputs of no kind that there is."""

    kind = "token"


def test_the_kind_of_outputs_is_checked():
    with pytest.raises(UserError, match=r"Spelt\.kind='token' is neither 'sequence' nor 'tokens'"):
        check_columns(Spelt())


@dataclass
class Several(MultiLabel):
    """Of the user's own, with several labels."""

    share: float = 0.3


def test_a_class_of_ones_own_with_several_labels_comes_back():
    task = Several(label="tags", share=0.4)
    found = stored.from_dict(as_json(task)).imported()
    assert (type(found), found) == (Several, task)
    bound = found.bound({"labels": ["a", "b"]})
    assert bound.gold(Row({"label": ["b"]}, 0, "f"), None)["label"].tolist() == [0, 1]


def test_a_class_has_its_import_path():
    assert class_path(Classification()) == OWN
    assert class_path(Margin()) == MINE


class Undecorated(Margin):
    share: float = 0.5
    least: ClassVar[float] = 0.1


def test_a_class_that_is_no_dataclass_of_its_own_is_named():
    with pytest.raises(UserError, match="share is no setting: write @dataclass above the class"):
        check_class(Undecorated())
