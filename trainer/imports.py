"""Functions that a config names by import path: model factories, losses, metrics.

Importing a module runs it. The config of `launch.train` is its user's own; one that is read from a
workdir may be a stranger's, and passes `check_trusted` before anything of it is imported.
"""

import contextlib
import importlib
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from trainer.config import Experiment
from trainer.errors import UserError, in_one_line

_NAMESPACE = re.compile(r"[^:/]*:(?![\d*])")  # of a TFDS name; a version comes after a colon too
_HERE = __name__.partition(".")[0]
# The functions of this library that a config may name.
OWN = (
    "trainer.models.network:build",
    "trainer.models.recurrent:lstm",
    "trainer.models.recurrent:bilstm",
)
OTHER_VERSION = (
    "another version of this library may have written it: use that version, or train the run again"
)


def foreign(config: Experiment) -> dict[str, str]:
    """The code that settings name and this library does not have: import paths by field.

    A dataset name with a namespace counts: TFDS imports code of that community.
    """
    objective = config.objective
    named = {"config.model.factory": config.model.factory}
    if ":" in objective.loss:
        named["config.objective.loss"] = objective.loss
    for i, path in enumerate(objective.metrics):
        named[f"config.objective.metrics[{i}]"] = path
    if config.data.source == "tfds" and _NAMESPACE.match(config.data.name):
        named["config.data.name"] = config.data.name
    return {field: path for field, path in named.items() if path not in OWN}


def packages(config: Experiment) -> list[str]:
    """The top packages of foreign code, each once, as `check_trusted` asks for them."""
    return sorted({_module(path).partition(".")[0] for path in foreign(config).values()})


def check_trusted(config: Experiment, trusted: Collection[str], where: str) -> None:
    """Refuses settings that name code of others; imports nothing.

    Args:
      config: the settings.
      trusted: packages or modules that they may name all the same.
      where: the file that they were read from.

    Raises:
      UserError: the first such code, and the flag that allows it; or, of this library's own
        package, that it is not, or no longer, among what a config may name.
    """
    for field, path in foreign(config).items():
        parts = _module(path).split(".")
        if any(".".join(parts[: i + 1]) in trusted for i in range(len(parts))):
            continue
        if parts[0] == _HERE:
            raise UserError(
                f"{where} names code that this library does not offer, {field}={path[:100]!r};"
                f" {OTHER_VERSION}"
            )
        raise UserError(
            f"{where} names code that is not this library's own, {field}={path[:100]!r}: if you"
            f" know it and trust it, give --trust={parts[0][:100]}"
        )


def _module(path: str) -> str:
    return path.partition(":")[0]


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
      what: the config field that named it, for the message ("config.objective.loss").

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
    except UserError:
        raise
    except Exception as error:
        if path.startswith("trainer."):
            raise
        raise UserError(f"{what}={path!r} raised {in_one_line(error)}") from error
