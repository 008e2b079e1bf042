"""Settings for a file of rows or texts, of any size: configs/files.py and files_pretrained.py."""

import copy

from trainer.config import FROM_ROWS, Data
from trainer.errors import UserError, shown
from trainer.tasks.causal import Causal
from trainer.tasks.classification import Classification
from trainer.tasks.masked import MaskedWords
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Task
from trainer.tasks.text_to_text import TextToText

TASKS: dict[str, Task] = {  # columns without a name are looked for
    "classification": Classification(text="", label="", mask_share=0.1, label_smoothing=0.1),
    "labels": Classification(text="", label="", mask_share=0.1, multi_label=True),
    "regression": Regression(text="", score="", mask_share=0.1, standardized=True),
    "tagging": Tagging(words="", tags=""),
    "masked": MaskedWords(text=""),
    "causal": Causal(text=""),
    "text_to_text": TextToText(source="", target="", target_length=FROM_ROWS, label_smoothing=0.1),
}


def data() -> Data:
    """A file, config.data.train, cut into train, validation and test."""
    return Data(
        source="files",
        train="",
        test="",
        validation_share=0.1,
        test_share=0.1,
        stratify=True,
        max_length=FROM_ROWS,
        buckets=16,
    )


def task(name: str) -> Task:
    """The task of that name in TASKS, its columns still to be found. Raises UserError."""
    if name not in TASKS:
        raise UserError(
            f"{shown(name)} is none of {', '.join(TASKS)}, which stand behind the config's path"
        )
    return copy.copy(TASKS[name])
