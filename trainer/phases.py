"""Phases are data: the parameters that train, at what rate, for how long."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from trainer import config as config_lib
from trainer.errors import UserError


@dataclass(frozen=True)
class PhasePlan:
    """A phase of the config, worked out for a model and a data set.

    Attributes:
      index: its place among the phases.
      settings: `config.phases[index]`.
      total_steps: its length, where nothing ends it early.
      warmup_steps: how many of them the rate rises.
      factors: for every parameter that trains, by name, the factor on the rate.
    """

    index: int
    settings: config_lib.Phase
    total_steps: int
    warmup_steps: int
    factors: dict[str, float]

    def describe(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """A line for the log: the parameters that train, their number, and the peak rate."""
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        trained = sum(sizes[name] for name in self.factors)
        lines = [
            f"Phase {self.settings.name!r}: {self.total_steps} steps, {len(self.factors)} of"
            f" {len(sizes)} parameters train ({trained:,} of {sum(sizes.values()):,} numbers)"
        ]
        groups: dict[float, list[str]] = {}
        for name, factor in self.factors.items():
            groups.setdefault(factor, []).append(name)
        for factor, names in sorted(groups.items(), reverse=True):
            tops = sorted({"/".join(name.split("/")[:2]) for name in names})
            rate = self.settings.learning_rate * factor
            lines.append(f"  peak rate {rate:.3g}: {len(names)} in {', '.join(tops)}")
        return "\n".join(lines)


def plan_phases(
    phases: list[config_lib.Phase], names: list[str], steps_per_epoch: int
) -> list[PhasePlan]:
    """Works out every phase before the first step.

    Args:
      phases: `config.phases`.
      names: of all the model's trainable parameters, in order.
      steps_per_epoch: of the training data.

    Raises:
      UserError: a pattern that matches nothing, or a phase too short for its warm-up.
    """
    return [_plan(i, phase, names, steps_per_epoch) for i, phase in enumerate(phases)]


def _plan(index: int, phase: config_lib.Phase, names: list[str], steps_per_epoch: int) -> PhasePlan:
    at = f"config.phases[{index}]"
    matched = match(phase.train, names, f"{at}.train")
    total = phase.steps or max(1, round(phase.epochs * steps_per_epoch))
    warmup = phase.warmup_steps or int(phase.warmup_share * total)
    if warmup and warmup >= total:
        raise UserError(
            f"{at}.warmup_steps={phase.warmup_steps} is not shorter than the phase ({total} steps)"
        )
    factors = dict.fromkeys(matched, 1.0)
    if phase.layer_decay != 1:
        depths = layer_depths(names)
        if max(depths.values()) < 2:
            raise UserError(f"{at}.layer_decay has no effect: no parameter is in a '…block_N/'")
        top = max(depths.values())
        factors = {name: phase.layer_decay ** (top - depths[name]) for name in matched}
    return PhasePlan(index, phase, total, warmup, factors)


def match(patterns: tuple[str, ...], names: list[str], field: str) -> list[str]:
    """The names that any of the patterns matches as a whole, in the order of `names`.

    Raises:
      UserError: a pattern that matches none.
    """
    for pattern in patterns:
        if not any(re.fullmatch(pattern, name) for name in names):
            tops = sorted({"/".join(name.split("/")[:2]) for name in names})
            raise UserError(
                f"{field}: {pattern!r} matches no parameter; there are: {', '.join(tops)}"
                " (a pattern must match a whole name, as 'head/.*' does)"
            )
    return [name for name in names if any(re.fullmatch(p, name) for p in patterns)]


def frozen_levels(names: list[str], trained: Collection[str]) -> int:
    """How many of the lowest levels hold no parameter that trains; see `layer_depths`."""
    depths = layer_depths(names)
    return min(depths[name] for name in trained)


def layer_depths(names: list[str]) -> dict[str, int]:
    """How high each parameter stands: embeddings 0, block i at i + 1, what follows above all.

    Layer-wise rates fall by a factor for each layer further down (Howard & Ruder, 2018).
    """
    blocks = {name: re.search(r"block_(\d+)/", name) for name in names}
    top = max([int(found[1]) + 1 for found in blocks.values() if found], default=0)

    def depth(name: str) -> int:
        found = blocks[name]
        if found:
            return int(found[1]) + 1
        return 0 if "embeddings/" in name else top + 1

    return {name: depth(name) for name in names}
