"""Import paths: what loads, and what is said of those that do not."""

import sys

import pytest

from trainer.errors import UserError
from trainer.imports import load

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
        load(path, "config.task.loss")
    message = str(caught.value)
    assert message.startswith("config.task.loss=")
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
