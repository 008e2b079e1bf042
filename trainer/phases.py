"""Phases are data: the parameters that train, at what rate, for how long."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from trainer import config as config_lib
from trainer.errors import UserError

HIGH_RATE = 1e-3  # for pretrained weights


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

    def notes(self, steps_per_epoch: int, pretrained: bool) -> list[str]:
        """Settings of it that waste time or hurt, a line each.

        Args:
          steps_per_epoch: of the training data.
          pretrained: whether the model began with pretrained weights.
        """
        at, found = f"config.phases[{self.index}]", []
        if self.settings.cache_features and self.total_steps < steps_per_epoch:
            found.append(
                f"{at}.cache_features computes more than it saves in a phase of less than an"
                " epoch: leave it out"
            )
        if self.warmup_steps > self.total_steps / 2:
            found.append(
                f"{at} warms up for {self.warmup_steps:,} of its {self.total_steps:,} steps:"
                f" {at}.warmup_share=0.1 in the place of warmup_steps is usual"
            )
        rate = self.settings.learning_rate
        thaws = any(not name.startswith("head/") for name in self.factors)
        if pretrained and thaws and rate > HIGH_RATE:
            found.append(
                f"{at}.learning_rate={rate:g} is high for pretrained weights, which forget what"
                " they know: 1e-5 to 3e-4 is usual"
            )
        return found


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
            f"{at}.warmup_steps={phase.warmup_steps} is not shorter than the phase ({total}"
            f" steps): give {at}.warmup_share=0.1 and {at}.warmup_steps=0 instead"
        )
    factors = dict.fromkeys(matched, 1.0)
    if phase.layer_decay != 1:
        if max(layer_depths(names).values()) < 2:
            raise UserError(f"{at}.layer_decay has no effect: no parameter is in a '…block_N/'")
        falling = rate_factors(names, phase.layer_decay)
        factors = {name: falling[name] for name in matched}
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
    """The number of lowest levels without a parameter that trains; see `layer_depths`."""
    depths = layer_depths(names)
    return min(depths[name] for name in trained)


def layer_depths(names: list[str]) -> dict[str, int]:
    """The level of each parameter: embeddings 0, block i at i + 1, what follows above all.

    What all blocks share, the bias of relative positions, stands where it first acts: at 1. A
    decoder stands on the encoder: its embeddings are one above the encoder's last block.
    """
    blocks = {name: _block(name) for name in names}
    first, tops = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for of_stack in _stacks(names):
        below = max(tops.values())
        top = below + max(blocks[name] + 1 for name in of_stack)
        for name in of_stack:
            first[name], tops[name] = below, top + 1

    def depth(name: str) -> int:
        if blocks[name] >= 0:
            return first[name] + blocks[name] + 1
        if name.startswith("head/"):
            return tops[name]
        if "relative_bias/" in name:
            return first[name] + 1
        return first[name] if "embeddings/" in name else tops[name]

    return {name: depth(name) for name in names}


def rate_factors(names: list[str], decay: float) -> dict[str, float]:
    """Factors on the rates, which fall for each layer further down (Howard & Ruder, 2018).

    An encoder's layers are counted from its own top, not from the decoder's.
    """
    depths = layer_depths(names)
    factors: dict[str, float] = {}
    for of_stack in _stacks(names):
        top = max(depths[name] for name in of_stack)
        factors |= {name: decay ** (top - depths[name]) for name in of_stack}
    return {name: factors[name] for name in names}


def _stacks(names: list[str]) -> list[list[str]]:
    """The parameters of the encoder, and those of the decoder and the head; or all, without one."""
    upper = [name for name in names if name.startswith(("decoder/", "head/"))]
    if not any(name.startswith("decoder/") for name in upper):
        return [names]
    return [[name for name in names if name not in upper], upper]


def _block(name: str) -> int:
    """The number of the block that a parameter is of; -1: of none.

    A head may have blocks of its own: the generator of replaced tokens.
    """
    found = None if name.startswith("head/") else re.search(r"block_(\d+)/", name)
    return int(found[1]) if found else -1
