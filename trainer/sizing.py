"""Settings that follow from the rows: those at FROM_ROWS are chosen when a run begins.

The choices are rules of thumb, for a small model from scratch or a pretrained one:
docs/use/own_data.md has them as a table. A run keeps what was chosen, and goes on with it.
"""

import copy
import math
from collections.abc import Sequence

import numpy as np

from trainer.config import FROM_ROWS, Experiment, idle, sized_fields
from trainer.tasks.task import unnamed

# From so many rows of train on: rows of a step, tokens of a vocabulary.
_BATCHES = ((0, 16), (5_000, 32), (50_000, 64), (500_000, 128))
_VOCABULARIES = ((0, 2_000), (2_000, 4_000), (10_000, 8_000), (200_000, 16_000))
_AVERAGES = (0.999, 0.998, 0.995, 0.99)  # decays of averaged weights, the longest first
_EVALUATIONS = 10  # of validation, about
_SHORT, _LONG = 32, 384  # bounds of max_length
_KEPT = 0.99  # of the rows whose texts are not cut


def unsized(config: Experiment) -> list[str]:
    """The paths of the fields that are FROM_ROWS."""
    return [path for path, value in _values(config).items() if value == FROM_ROWS]


def as_begun(config: Experiment, begun: Experiment) -> Experiment:
    """The settings, with what is left to the rows, or to the file's columns, as a run has it.

    Args:
      config: as it was given.
      begun: of the run in its workdir.
    """
    config = copy.deepcopy(config)
    theirs = _values(begun)
    for path, owner, name in sized_fields(config):
        if getattr(owner, name) == FROM_ROWS and path in theirs:
            setattr(owner, name, theirs[path])
    for column in unnamed(config.task):
        setattr(config.task, column.key, getattr(begun.task, column.key, ""))
    return config


def by_rows(config: Experiment, rows: int) -> Experiment:
    """The settings with all but lengths in tokens chosen; one without effect has its default.

    Args:
      config: as it was given.
      rows: of train.
    """
    config = copy.deepcopy(config)
    for part, name in idle(config):
        if getattr(getattr(config, part), name) == FROM_ROWS:
            setattr(getattr(config, part), name, getattr(getattr(Experiment(), part), name))
    if config.global_batch_size == FROM_ROWS:
        config.global_batch_size = _from(_BATCHES, rows)
    if config.tokenizer.vocab_size == FROM_ROWS:
        config.tokenizer.vocab_size = _from(_VOCABULARIES, rows)
    for phase in config.phases:
        if phase.epochs == FROM_ROWS:
            phase.epochs = _epochs(rows, bool(config.model.pretrained))
    an_epoch = math.ceil(rows / config.global_batch_size)
    steps = sum(phase.steps or phase.epochs * an_epoch for phase in config.phases)
    if config.evaluation.every_epochs == FROM_ROWS:
        # With each goes a checkpoint, which takes seconds for a pretrained model.
        count = _EVALUATIONS // 2 if config.model.pretrained else _EVALUATIONS
        often = max(round(steps / an_epoch / count * 4) / 4, 0.25)
        config.evaluation.every_epochs = 1.0 if config.evaluation.every_steps else often
    if config.optimizer.ema == FROM_ROWS:
        fits = (decay for decay in _AVERAGES if 10 / (1 - decay) <= steps)
        config.optimizer.ema = next(fits, 0.0)
    return config


def by_lengths(
    config: Experiment,
    lengths: Sequence[int],
    most: int | None,
    written: Sequence[int] | None = None,
) -> Experiment:
    """The settings with max_length chosen, and target_length of a task that writes.

    Args:
      config: as it was given.
      lengths: of some rows of train, in tokens.
      most: tokens that a pretrained model has positions for; None: it does not matter.
      written: of their targets.
    """
    config = copy.deepcopy(config)
    if config.data.max_length == FROM_ROWS:
        config.data.max_length = min(_length(lengths), most or _LONG)
    for _, owner, name in sized_fields(config):
        if name == "target_length" and getattr(owner, name) == FROM_ROWS and written:
            setattr(owner, name, min(_length(written), most or _LONG))
    return config


def _length(lengths: Sequence[int]) -> int:
    """A length that cuts few of the texts."""
    wanted = math.ceil(float(np.quantile(lengths, _KEPT, method="inverted_cdf")) / 16) * 16
    return min(max(wanted, _SHORT), _LONG)


def chosen(config: Experiment, sized: Experiment, rows: int) -> str:
    """A line on what was chosen; settings without effect are left out.

    Args:
      config: as it was given. sized: with what was chosen. rows: of train, as `survey` counts.
    """
    parts = _filled(config, sized)
    about = "about " if config.task.cuts_in_windows else ""
    counted = "windows" if config.task.cuts_in_windows else "rows"
    return f"Chosen for {about}{rows:,} {counted} of train: {', '.join(parts)}"


def kept(config: Experiment, begun: Experiment) -> str:
    """A line on what a run that goes on has, where its command leaves it open; empty: nowhere.

    Args:
      config: as it was given. begun: as the run has it, of `as_begun`.
    """
    parts = _filled(config, begun)
    parts += [f"{c.field}={getattr(begun.task, c.key)!r}" for c in unnamed(config.task)]
    return f"Goes on with what the run began with: {', '.join(parts)}" if parts else ""


def _filled(config: Experiment, made: Experiment) -> list[str]:
    """The fields that are FROM_ROWS in the first, and have an effect, as the second has them."""
    found = _values(made)
    without = {f"config.{part}.{name}" for part, name in idle(made)}
    return [f"{path}={found[path]:g}" for path in unsized(config) if path not in without]


def _epochs(rows: int, pretrained: bool) -> float:
    """Fewer rows are seen more often: a small set needs some hundred steps to be learned."""
    if pretrained:
        return float(min(max(round(100 / math.sqrt(rows)), 1), 6))
    return float(min(max(round(400 / math.sqrt(rows)), 2), 40))


def _from(table: Sequence[tuple[int, int]], rows: int) -> int:
    return [value for least, value in table if rows >= least][-1]


def _values(config: Experiment) -> dict[str, float]:
    """The values of the fields that may be FROM_ROWS, by path."""
    return {path: getattr(owner, name) for path, owner, name in sized_fields(config)}
