"""Code that the settings of a workdir name: whose it is, and what is said of a stranger's."""

import runpy

import pytest
from programs import ROOT

from trainer.config import Data, Experiment, Model
from trainer.errors import UserError
from trainer.imports import OWN, load
from trainer.tasks.classification import Classification
from trainer.tasks.stored import OWN_TASKS, StoredTask
from trainer.tasks.task import Task
from trainer.trust import check_trusted, foreign, packages


def test_the_librarys_own_code_is_trusted():
    check_trusted(Experiment(), (), "config.json")
    for path in OWN:
        assert callable(load(path, "config.model.factory"))
        check_trusted(Experiment(model=Model(factory=path)), (), "config.json")


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_here_names_the_librarys_own(config):
    assert packages(runpy.run_path(str(config))["get_config"]()) == []


@pytest.mark.parametrize(
    "factory",
    [
        *(
            "runs.nice.evil:build",
            "runs.nice.evil",
            "os:system",
            "trainer.imports:importlib.reload",
        ),
        *("trainer.models.network:build ", "trainer.models.network:keras.Model", ""),
        *("launch.train:main", "trainer.models.network.build", ":", "trainer.x:os.system"),
        "runs" * 1000 + ":f",
    ],
)
def test_code_of_others_is_refused_and_the_flag_is_named(factory):
    top = factory.partition(":")[0].split(".")[0]
    with pytest.raises(UserError, match=r"run/config\.json names code") as caught:
        check_trusted(Experiment(model=Model(factory=factory)), ("other",), "run/config.json")
    said = str(caught.value)
    advice = "use that version, or train the run again" if top == "trainer" else "give --trust="
    assert said.endswith(advice if top == "trainer" else f"{advice}{top[:100]}")
    assert f"config.model.factory={factory[:100]!r}" in said
    assert len(said) < 400


@pytest.mark.parametrize(
    ("name", "is_foreign"),
    [
        ("glue/mrpc", False),
        ("glue/mrpc:2.0.0", False),
        ("imdb_reviews:1.0.0", False),
        ("imdb_reviews/plain_text:1.*.*", False),
        ("people:dataset", True),
        ("people:dataset/config:1.0.0", True),
    ],
)
def test_a_dataset_of_a_community_is_code_and_a_version_is_none(name, is_foreign):
    config = Experiment(data=Data(name=name))
    assert (foreign(config) == {"config.data.name": name}) == is_foreign
    assert bool(packages(config)) == is_foreign


def test_what_an_older_version_named():
    config = Experiment(model=Model(factory="trainer.models.classifier:build"))
    said = r"not offer, config\.model\.factory='trainer\.models\.classifier:build'; another version"
    with pytest.raises(UserError, match=said):
        check_trusted(config, (), "run/config.json")
    check_trusted(config, packages(config), "run/config.json")


def test_a_package_or_a_module_in_it_is_trusted_by_its_name():
    config = Experiment(task=Classification(metrics=("mine.parts.metrics:recall",)))
    assert foreign(config) == {"config.task.metrics[0]": "mine.parts.metrics:recall"}
    for trusted in ("mine", "mine.parts", "mine.parts.metrics"):
        check_trusted(config, [trusted], "config.json")
    for trusted in ("min", "mine.part", "parts", "mine.parts.metrics:recall", ""):
        with pytest.raises(UserError, match=r"--trust=mine$"):
            check_trusted(config, [trusted], "config.json")


def test_every_field_that_names_code_counts():
    config = Experiment(
        data=Data(name="huggingface:own/reviews"),
        model=Model(factory="a.b:build"),
        task=Classification(loss="b:loss", metrics=("c:one", "a:two")),
    )
    assert packages(config) == ["a", "b", "c", "huggingface"]
    with pytest.raises(UserError, match=r"config\.task\.metrics\[0\]='c:one'.*--trust=c"):
        check_trusted(config, ("a", "b", "huggingface"), "config.json")
    check_trusted(config, packages(config), "config.json")
    assert packages(Experiment(task=Classification(loss="focal"))) == []


class Mine(Classification):
    """A task that is not this library's; its settings are those of one that is."""


@pytest.mark.parametrize("task", [Task(), Mine(), StoredTask("mine.tasks:Mine", {"loss": "b:c"})])
def test_a_task_is_code(task):
    path = (
        task.path
        if isinstance(task, StoredTask)
        else f"{type(task).__module__}:{type(task).__name__}"
    )
    config = Experiment(task=task)
    assert foreign(config) == {"config.task": path}
    top = path.split(":")[0].split(".")[0]
    assert packages(config) == [top]
    said = (
        r"--trust=\w+$" if top != "trainer" else "this library does not offer, config.task='trainer"
    )
    with pytest.raises(UserError, match=said):
        check_trusted(config, (), "config.json")
    check_trusted(config, [top], "config.json")


def test_the_tasks_of_this_library_are_trusted():
    for path in OWN_TASKS:
        task = load(path, "config.task")()
        assert foreign(Experiment(task=task)) == {}
    assert foreign(Experiment(task=StoredTask(OWN_TASKS[0] + "x"))) != {}
