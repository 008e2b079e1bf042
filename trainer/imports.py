"""Code that a config names by import path: model factories, losses, metrics, tasks.

Importing a module runs it. The config of `launch.train` is its user's own; one that is read from a
workdir may be a stranger's, and passes `trainer.trust` before anything of it is imported.
"""

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainer.errors import Interrupted, UserError, in_one_line
from trainer.storage.fields import Invalid

# The functions of this library that a config may name.
OWN = (
    "trainer.models.network:build",
    "trainer.models.recurrent:lstm",
    "trainer.models.recurrent:bilstm",
)


def search_current_folder() -> None:
    """Lets modules of the current folder be imported, where no other place has them.

    For code that the user asked for alone. `launch` says why it is not so from the start.
    """
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)


def load(path: str, what: str) -> Callable[..., Any]:
    """The function at `path`, written "package.module:function".

    Args:
      path: the import path; the module is imported if it was not yet.
      what: the config field that named it, for the message ("config.task.loss").

    Raises:
      UserError: no colon, no such module, no such attribute, an attribute of another module that
        it imported, not callable, or an error that it raised while it was imported.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise UserError(f'{what}={path!r} is not an import path: write "package.module:function"')
    if path not in OWN:
        search_current_folder()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = f"there is no module {error.name!r}"
        if error.name and not f"{module_name}.".startswith(f"{error.name}."):
            missing = f"{module_name} itself needs a module that is missing: {error.name!r}"
        raise UserError(
            f"{what}={path!r}: {missing}; is it installed, or its folder on PYTHONPATH?"
        ) from error
    except Exception as error:  # whatever the user's own module does wrong is theirs to mend
        raise UserError(
            f"{what}={path!r}: importing {module_name} failed: {in_one_line(error)}"
        ) from error
    function: Any = module
    for part in name.split("."):
        if not hasattr(function, part):
            raise UserError(f"{what}={path!r}: module {module_name} has no {name!r}")
        function = getattr(function, part)
        if isinstance(function, types.ModuleType):
            raise UserError(
                f"{what}={path!r}: name the module {function.__name__!r} before the colon"
            )
    if not callable(function):
        raise UserError(f"{what}={path!r} is of type {type(function).__name__}, not a function")
    return function


@contextlib.contextmanager
def blamed_on(path: str, what: str) -> Iterator[None]:
    """Around a call of the function at `path`: what it raises is a UserError, if it is not ours."""
    try:
        yield
    except (UserError, Interrupted, Invalid):  # ours, whoever raises them
        raise
    except Exception as error:
        if path.startswith("trainer."):
            raise
        raise UserError(f"{what}={path!r} raised {in_one_line(error)}") from error
