"""Import paths: what loads, and what is said of those that do not."""

import runpy
import sys

import pytest
from programs import ROOT

from trainer.config import Data, Experiment, Model, Objective
from trainer.errors import UserError
from trainer.imports import OWN, check_trusted, foreign, load, packages

NOT_A_FUNCTION = 3


def test_loads_a_function():
    assert load("math:sqrt", "config.x")(9) == 3


def test_loads_an_attribute_of_a_class():
    assert load("builtins:dict.fromkeys", "config.x")("a") == {"a": None}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("math.sqrt", "not an import path"),
        ("math:", "not an import path"),
        (":sqrt", "not an import path"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("os.no_such_module:f", "no module 'os.no_such_module'"),
        ("math:no_such_function", "has no 'no_such_function'"),
        (f"{__name__}:NOT_A_FUNCTION", "is of type int, not a function"),
        ("trainer.storage.disk:os.system", "name the module 'os' before the colon"),
        ("trainer.storage.disk:os", "name the module 'os' before the colon"),
    ],
)
def test_says_in_one_line_what_is_wrong(path, said):
    with pytest.raises(UserError, match=said) as caught:
        load(path, "config.objective.loss")
    message = str(caught.value)
    assert message.startswith("config.objective.loss=")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import not_installed_anywhere", "itself needs a module.*'not_installed_anywhere'"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_module_that_fails_to_import(tmp_path, monkeypatch, source, said):
    (tmp_path / "broken_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("broken_module", None)
    with pytest.raises(UserError, match=said) as caught:
        load("broken_module:f", "config.model.factory")
    assert "\n" not in str(caught.value)


# Code that a workdir names


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
        ("my-lab:dataset", True),
        ("-:dataset", True),
        ("my.lab:dataset", True),
        ("my_dataset:*.*.*", False),
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
    config = Experiment(objective=Objective(metrics=("mine.parts.metrics:recall",)))
    for trusted in ("mine", "mine.parts", "mine.parts.metrics"):
        check_trusted(config, [trusted], "config.json")
    for trusted in ("min", "mine.part", "parts", "mine.parts.metrics:recall", ""):
        with pytest.raises(UserError, match=r"--trust=mine$"):
            check_trusted(config, [trusted], "config.json")


def test_every_field_that_names_code_counts():
    config = Experiment(
        data=Data(name="huggingface:own/reviews"),
        model=Model(factory="a.b:build"),
        objective=Objective(loss="b:loss", metrics=("c:one", "a:two")),
    )
    assert packages(config) == ["a", "b", "c", "huggingface"]
    with pytest.raises(UserError, match=r"config\.objective\.metrics\[0\]='c:one'.*--trust=c"):
        check_trusted(config, ("a", "b", "huggingface"), "config.json")
    check_trusted(config, packages(config), "config.json")
    assert packages(Experiment(objective=Objective(loss="focal"))) == []
