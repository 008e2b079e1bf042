"""Flags of launch.predict that are for models that write texts."""

import sys
from typing import TYPE_CHECKING

from absl import flags

from launch import generation
from launch import main as program
from trainer.errors import UserError, printable
from trainer.models.writing import Writing

if TYPE_CHECKING:
    from trainer.config import Experiment
    from trainer.prediction.writer import Writer
    from trainer.tasks.task import Task

_SCORE = flags.DEFINE_bool("score", False, "Language models: how probable each text is.")
_SEED = flags.DEFINE_integer("seed", None, "Of the draws (default: 0).", lower_bound=0)
_STOP = flags.DEFINE_multi_string(
    "stop", None, "A text that ends a continuation; give the flag again for another."
)
_N_BEST = flags.DEFINE_integer(
    "n_best", None, "Of beams: all of so many texts, the best first, in JSON lines as n_best."
)


def settings(config: "Experiment") -> Writing | None:
    """The settings of continuations by a run's model; None where texts are not continued.

    Raises:
      UserError: a flag is out of its bounds, or without effect on this model.
    """
    own = {"stop": _STOP.value, "n_best": _N_BEST.value}
    given = generation.given() | {name: v for name, v in own.items() if v is not None}
    names = [f"--{name}" for name in given] + ["--seed"] * (_SEED.value is not None)
    if not config.task.writes:
        if names or _SCORE.value:
            name, kind = (
                (names[0], "models that write") if names else ("--score", "language models")
            )
            raise UserError(f"{name} is for {kind}, this is none: leave it out")
        return None
    if _SCORE.value:
        if not config.task.scores_texts:
            raise UserError("--score is for language models, this is none: leave it out")
        if names:
            raise UserError(f"--score writes no text: leave it or {names[0]} out")
        return None
    made = config.task.writing(config.data.max_length, **given)
    if _SEED.value is not None and not made.samples:
        raise UserError(
            "--seed is of draws: give --temperature, --top_k or --top_p too, or leave it out"
        )
    return made


def use(task: "Task") -> "Task":
    """The use of a bound task that the flags ask for; the task itself if it does not write."""
    made = task.scoring() if _SCORE.value else task.continuing()
    return made or task


def is_n_best() -> bool:
    """True if each line has a list of texts."""
    return _N_BEST.value is not None


def seed() -> int:
    """Seed of the draws."""
    return _SEED.value or 0


def stream(writer: "Writer", text: str) -> None:
    """Shows a text that is continued, and what is written, on the terminal while it is written."""
    with program.standard_output() as out:

        def show(piece: str) -> None:
            out.write(program.encodable(printable(piece)).encode(sys.stdout.encoding or "utf-8"))
            out.flush()

        if writer.continues:
            show(text)
        for piece in writer.stream(text):
            show(piece)
        show("\n")
