"""The state that training changes: parameters, moments, loss scale, counters, place in the run."""

import dataclasses
from typing import Any

import tensorflow as tf

from trainer import config as config_lib
from trainer.errors import UserError
from trainer.optim.adamw import AdamW
from trainer.optim.loss_scale import LossScale, scalar
from trainer.storage import fields


class Counters:
    """The position of the run, on the device: steps done, steps skipped, whether it failed."""

    def __init__(self):
        self.step = scalar(0, tf.int64, "step")
        self.skipped = scalar(0, tf.int64, "skipped")
        self.failed = scalar(False, tf.bool, "failed")

    def variables(self) -> dict[str, tf.Variable]:
        """The variables that a checkpoint must hold, by name. A failed run is never saved."""
        return {"step": self.step, "skipped": self.skipped}


class TrainState:
    """The model's parameters and all that their training needs. Made under the strategy's scope.

    Args:
      settings: `config.optimizer`.
      precision: `config.runtime.precision`.
      parameters: the model's trainable variables, by name.
    """

    def __init__(
        self,
        settings: config_lib.Optimizer,
        precision: str,
        parameters: dict[str, tf.Variable],
    ):
        self.parameters = parameters
        self.optimizer = AdamW(settings, parameters)
        self.loss_scale = LossScale(settings, dynamic=precision == "mixed_float16")
        self.counters = Counters()

    def variables(self) -> dict[str, tf.Variable]:
        """The variables that a checkpoint must hold besides the model's, by name."""
        parts = {
            "optimizer": self.optimizer.variables(),
            "loss_scale": self.loss_scale.variables(),
            "progress": self.counters.variables(),  # the name that checkpoints have
        }
        return {f"{part}/{k}": v for part, held in parts.items() for k, v in held.items()}


@dataclasses.dataclass
class Best:
    """The best evaluation so far, of the run or of a phase."""

    step: int
    value: float


@dataclasses.dataclass
class Position:
    """The position of the run, besides the variables: what a checkpoint holds as its meta."""

    phase: int = 0
    phase_start: int = 0
    best: Best | None = None
    phase_best: Best | None = None
    waited: int = 0  # evaluations since the phase's best

    @classmethod
    def read(cls, meta: dict[str, Any], step: int, phases: int) -> "Position":
        """The inverse of dataclasses.asdict.

        Args:
          meta: of a checkpoint.
          step: the newest that it may speak of.
          phases: how many the run has.

        Raises:
          UserError: it holds what no run of so many steps and phases gives.
        """
        try:
            return cls(
                fields.integer(meta, "phase", high=phases - 1),
                fields.integer(meta, "phase_start", high=step),
                _best(meta, "best", step),
                _best(meta, "phase_best", step),
                fields.integer(meta, "waited", high=step),
            )
        except fields.Invalid as error:
            raise UserError(f"the checkpoint of step {step} is of no such run: {error}") from error


def _best(meta: dict[str, Any], name: str, step: int) -> Best | None:
    if fields.value(meta, name) is None:
        return None
    found = fields.mapping(meta, name)
    return Best(fields.integer(found, "step", high=step), fields.number_or_nan(found, "value"))
