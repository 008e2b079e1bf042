"""Settings of generation: how a model writes texts."""

from dataclasses import dataclass
from typing import Any

from trainer.errors import UserError, shown

MOST_BY_DEFAULT = 64
MOST_TOKENS = 1_000_000  # of a continuation, whatever the model's positions
# From and to: far outside of what is useful, and inside of what float32 can compute with.
TEMPERATURES = 0.001, 1_000
TOP_PS = 1e-6, 1
PENALTIES = 0.01, 100
LENGTH_PENALTIES = -5, 5
LENGTH_NORMS = ("power", "gnmt")


@dataclass(frozen=True)
class Writing:
    """Settings of writing texts: greedily, unless one asks for another way.

    Greedy: each token is the most probable one. A `temperature`, `top_k` or `top_p` asks for
    sampling, `beams` for beam search.

    Attributes:
      max_new_tokens: length of the longest continuation, the end token included.
      temperature: divides the logits of a draw, 0.001 to 1,000; 1 where only top_k or top_p is
        given.
      top_k: number of most probable tokens to draw from; None: all.
      top_p: draws from the fewest most probable tokens that have this probability together (nucleus
        sampling, Holtzman et al., 2020), 1e-6 to 1; None: from all.
      repetition_penalty: divides positive logits, and multiplies negative ones, of all tokens of
        the prompt and the continuation so far (Keskar et al., 2019), 0.01 to 100; 1: none.
      beams: hypotheses that beam search follows; 1: no search.
      length_penalty: power of the length that divides a hypothesis' log-probability, -5 to 5: above
        0 favours long ones.
      length_norm: that length: "power", the number n of new tokens, as in transformers; "gnmt",
        (5 + n) / 6 (Wu et al., 2016, equation 14).
      n_best: number of hypotheses that are given, the best first; at most `beams`.
      stop: texts that end a continuation, and are not part of it.

    Raises:
      UserError: a setting is out of its bounds, or has no effect beside another.
    """

    max_new_tokens: int = MOST_BY_DEFAULT
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    beams: int = 1
    length_penalty: float = 1.0
    length_norm: str = "power"
    n_best: int = 1
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks each setting for itself, and sampling against beams."""
        _whole("max_new_tokens", self.max_new_tokens, MOST_TOKENS)
        _whole("beams", self.beams, 1_000)
        if self.temperature == 0 and not isinstance(self.temperature, bool):
            raise UserError(
                "temperature=0 leaves nothing to draw: leave temperature, top_k and top_p out, and"
                " each token is the most probable one (greedy)"
            )
        if self.temperature is not None:
            _number("temperature", self.temperature, TEMPERATURES)
        if self.top_k is not None:
            _whole("top_k", self.top_k, MOST_TOKENS)
        if self.top_p is not None:
            _number("top_p", self.top_p, TOP_PS)
        _number("repetition_penalty", self.repetition_penalty, PENALTIES)
        _number("length_penalty", self.length_penalty, LENGTH_PENALTIES)
        _whole("n_best", self.n_best, 1_000)
        if self.length_norm not in LENGTH_NORMS:
            raise UserError(
                f"length_norm={shown(self.length_norm)} must be one of: {', '.join(LENGTH_NORMS)}"
            )
        if not isinstance(self.stop, tuple) or not all(
            isinstance(text, str) and text for text in self.stop
        ):
            raise UserError(
                f"stop={shown(self.stop)} must be a text, or a list of texts, of at least one"
                " character each"
            )
        if self.samples and self.beams > 1:
            raise UserError(
                "beams search and do not draw: leave temperature, top_k and top_p out, or beams"
            )
        if self.n_best > self.beams:
            raise UserError(
                f"n_best={self.n_best} is more than beams={self.beams}, which find the texts: give"
                f" beams={self.n_best}"
            )
        if self.beams == 1 and (self.length_penalty, self.length_norm) != (1, "power"):
            raise UserError(
                "length_penalty and length_norm compare the texts of beams: give beams=4, or leave"
                " them out"
            )

    @property
    def samples(self) -> bool:
        """True if tokens are drawn."""
        return any(each is not None for each in (self.temperature, self.top_k, self.top_p))

    def check_model(self, vocabulary: int, positions: int, continues: bool = True) -> None:
        """Checks the settings against a model's.

        Args:
          vocabulary: number of its tokens.
          positions: longest text that it takes, in tokens; or, where it continues none, writes.
          continues: what it writes stands behind a prompt in these positions.

        Raises:
          UserError: the model has fewer tokens, or positions.
        """
        for name, value in (("top_k", self.top_k or 0), ("beams", self.beams)):
            if value > vocabulary:
                raise UserError(
                    f"{name}={value:,} is more than the {vocabulary:,} tokens of the vocabulary"
                )
        if not continues and self.max_new_tokens > positions:
            raise UserError(
                f"max_new_tokens={self.max_new_tokens:,} is more than the {positions:,} tokens that"
                f" the model learned to write: give at most {positions:,}"
            )
        if continues and self.max_new_tokens >= positions:
            raise UserError(
                f"max_new_tokens={self.max_new_tokens:,} leaves no room for a prompt in the model's"
                f" {positions:,} positions: give at most {positions - 1:,}"
            )

    def check_prompt(self, length: int, positions: int, where: str) -> None:
        """Checks that a prompt of `length` tokens and its continuation fit into the positions.

        `where` names the prompt in the message. Raises UserError.
        """
        if not length:
            raise UserError(f"{where} has no token to go on from: give a text to continue")
        room = positions - length
        if room < 1:
            raise UserError(
                f"{where} has {length:,} tokens, and the model {positions:,} positions: shorten it"
            )
        if room < self.max_new_tokens:
            raise UserError(
                f"{where} has {length:,} tokens, which leaves room for {room:,} more in the model's"
                f" {positions:,} positions: shorten it, or give max_new_tokens={room}"
            )


def writing_for(positions: int, **given: Any) -> Writing:
    """Settings for a model with so many positions: by default half of them are for the prompt.

    Args:
      positions: of the model.
      given: fields of `Writing`, which are taken as they are; `stop` may be a text or a list too.

    Raises:
      UserError: as `Writing`.
    """
    most = max(min(MOST_BY_DEFAULT, positions // 2), 1)
    stop = given.get("stop", ())
    if isinstance(stop, str | list):
        stop = (stop,) if isinstance(stop, str) else tuple(stop)
    return Writing(**{"max_new_tokens": most, **given, "stop": stop})


def _number(name: str, value: Any, bounds: tuple[float, float]) -> None:
    least, most = bounds
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and least <= value <= most):
        raise UserError(f"{name}={shown(value)} must be a number from {least:,} to {most:,}")


def _whole(name: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise UserError(f"{name}={shown(value)} must be a whole number from 1 to {most:,}")
