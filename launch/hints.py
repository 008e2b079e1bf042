"""Commands that can follow a run of launch.train, each to be pasted into a shell as it stands."""

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thaw import commands
from trainer.errors import UserError
from trainer.storage.contents import SCORES
from trainer.trust import packages

if TYPE_CHECKING:
    from trainer.loop import Loop
    from trainer.tasks.task import Task


def after_training(
    loop: "Loop", result: Mapping[str, Any], cache_dir: str = ""
) -> list[tuple[str, str]]:
    """Titles, and a command each.

    Args:
      loop: of the run.
      result: what result.json holds.
      cache_dir: folder of token caches that was asked for; empty: none.
    """
    from trainer.export.huggingface import why_not
    from trainer.export.tokenizing import can_write
    from trainer.models.network import Network

    workdir, task = loop.run.workdir.path, loop.run.task
    trusted = [f"--trust={each}" for each in packages(loop.config)]
    where = shlex.join([f"--workdir={workdir}", *trusted])
    split = next((each for each in ("test", "validation") if each in result), "train")
    cache = shlex.join([f"--cache_dir={cache_dir}"] if cache_dir else [])
    found = [
        ("Look", commands.tensorboard(workdir / "tensorboard")),
        ("Evaluate", f"{commands.program('evaluate')} {where} --split={split} {cache}".strip()),
        ("Predict", _predict(task, where)),
    ]
    if split == "train" or SCORES[split] in result["sha256"]:
        found.append(("Report", f"{commands.program('report')} {where}"))
    # A form that the model can have with the packages that there are; or none.
    serves = isinstance(loop.run.model, Network) or not task.writes
    format_ = "savedmodel" if serves and can_write(task, loop.run.tokenizer) else "keras"
    if format_ == "keras" and task.own_head:
        format_ = "" if why_not(loop.config, loop.run.derived(), task) else "huggingface"
    if format_:
        output = shlex.join([f"--format={format_}", f"--output={workdir / 'exported'}"])
        found.append(("Export", f"{commands.program('export')} {where} {output}"))
    return found


def _predict(task: "Task", where: str) -> str:
    predict = f"{commands.program('predict')} {where}"
    try:
        task.cells_of(task.example)
    except UserError:  # it takes more than a text
        row = json.dumps(
            {column.name: task.example for column in task.text_columns}, ensure_ascii=False
        )
        return f"echo {shlex.quote(row)} | {predict} --format=jsonl"
    return f"{predict} {shlex.quote(task.example)}"
