"""Flags of how a model writes texts: of launch.predict, and of launch.export."""

from typing import Any

from absl import flags

from launch import main as program
from trainer.models.writing import LENGTH_NORMS, MOST_BY_DEFAULT, MOST_TOKENS

_SETTINGS: dict[str, flags.FlagHolder] = {
    "max_new_tokens": program.define_count(
        "max_new_tokens",
        f"Longest continuation (default: {MOST_BY_DEFAULT}, or half of a short model's positions;"
        " of a text-to-text model config.task.target_length).",
        MOST_TOKENS,
    ),
    "temperature": flags.DEFINE_float(
        "temperature",
        None,
        "Draws tokens, from logits divided by it (default: none is drawn, each is the most"
        " probable).",
    ),
    "top_k": flags.DEFINE_integer("top_k", None, "Draws from so many most probable tokens."),
    "top_p": flags.DEFINE_float(
        "top_p", None, "Draws from the fewest tokens with this probability together."
    ),
    "repetition_penalty": flags.DEFINE_float(
        "repetition_penalty", None, "Above 1: tokens that are there already are less probable."
    ),
    "beams": flags.DEFINE_integer(
        "beams",
        None,
        "Hypotheses of beam search (default: 1; of a text-to-text model, whose tokens are not"
        " drawn, config.task.beams).",
    ),
    "length_penalty": flags.DEFINE_float(
        "length_penalty", None, "Of beams: above 0 favours long texts (default: as for --beams)."
    ),
    "length_norm": flags.DEFINE_enum(
        "length_norm",
        None,
        LENGTH_NORMS,
        "Of beams: the length that --length_penalty is a power of: the number n of tokens, or"
        " (5 + n) / 6.",
    ),
}


def given() -> dict[str, Any]:
    """Fields of `Writing` that the command line names."""
    return {name: flag.value for name, flag in _SETTINGS.items() if flag.value is not None}
