"""Thaw in Python: train, load, predict, evaluate, export and report.

    import thaw

    config = thaw.read_config("configs/files.py")
    config.data.train = "tickets.csv"
    result = thaw.train(config, workdir="runs/tickets")
    model = thaw.load("runs/tickets")
    model.predict(["The parcel has not arrived."])

Settings are dataclasses of `trainer.config`; tasks, and what a task of one's own is made of, are in
`trainer.tasks`. A mistake of the caller's is a `UserError` with one line that says what to do.
docs/use/python.md goes through all of it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thaw import environment

NOTES = environment.prepare()  # before TensorFlow, Keras or transformers is imported

if TYPE_CHECKING:
    from thaw.config_files import read_config
    from thaw.reporting import report
    from thaw.trained import Trained, load
    from thaw.training import Result, train
    from trainer.config import (
        FROM_ROWS,
        Data,
        Evaluation,
        Experiment,
        Model,
        Optimizer,
        Phase,
        Runtime,
        Tokenizer,
    )
    from trainer.errors import Interrupted, UserError
    from trainer.tasks.classification import Classification
    from trainer.tasks.regression import Regression
    from trainer.tasks.tagging import Tagging
    from trainer.tasks.text_to_text import TextToText

_HOMES = {  # of the names that are not of trainer.config: imported at their first use
    "Classification": "trainer.tasks.classification",
    "Interrupted": "trainer.errors",
    "Regression": "trainer.tasks.regression",
    "Result": "thaw.training",
    "Tagging": "trainer.tasks.tagging",
    "TextToText": "trainer.tasks.text_to_text",
    "Trained": "thaw.trained",
    "UserError": "trainer.errors",
    "load": "thaw.trained",
    "read_config": "thaw.config_files",
    "report": "thaw.reporting",
    "train": "thaw.training",
}
__all__ = [
    "FROM_ROWS",
    "Classification",
    "Data",
    "Evaluation",
    "Experiment",
    "Interrupted",
    "Model",
    "Optimizer",
    "Phase",
    "Regression",
    "Result",
    "Runtime",
    "Tagging",
    "TextToText",
    "Tokenizer",
    "Trained",
    "UserError",
    "load",
    "read_config",
    "report",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'thaw' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "trainer.config")), name)


def __dir__() -> list[str]:
    return [*__all__]
