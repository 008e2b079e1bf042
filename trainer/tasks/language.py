"""The common part of language models: unlabelled texts cut into rows, and their perplexities."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.data.columns import TEXT, Row
from trainer.data.encode import Encoded
from trainer.errors import UserError
from trainer.lazy import tf
from trainer.storage import fields
from trainer.tasks.stream import Text, blocks
from trainer.tasks.task import Array, Gold, Piece, Scores, Task

if TYPE_CHECKING:
    from trainer.data.encode import TextEncoder
    from trainer.prediction.writer import Continuation

WORDS = "words"  # the loss of tokens that are predicted
COUNTS = {"words": Array("int32"), "bytes": Array("int32")}
NO_COUNTS = dict.fromkeys(COUNTS, 0)


@dataclass
class LanguageTask(Task):
    """Learns to predict tokens of texts.

    A text longer than a row is cut into windows, one after the other; with `blocks` all texts make
    one stream, which is cut into rows of equal length wherever they end.

    Gold has "words" and "bytes" int32 [N], of the texts that begin in a row. A word ends at white
    space. The end of a text counts as a word and a byte, and so do the ends of its lines, though no
    words where the tokenizer makes the same tokens of them as of blanks: nobody predicts them then.
    """

    metric: ClassVar[str] = "perplexity"
    lower: ClassVar[tuple[str, ...]] = ("loss", "perplexity", "word_perplexity", "bits_per_byte")
    kind: ClassVar[str] = "tokens"
    cuts_in_windows: ClassVar[bool] = True

    text: str = settings.column(TEXT, "text")  # column of the text; empty: found in a file
    blocks: bool = settings.encoded(False)  # one stream of all texts, cut into equal rows
    tied: bool = True  # the logits are products with the token table

    # The rows

    def arrays(self) -> dict[str, Array]:
        return dict(COUNTS)

    def pieces(self, rows: Sequence[Row], encoder: TextEncoder) -> list[Piece]:
        contents = encoder.contents([row["text"] for row in rows])
        made, stride, lines = [], self.stride(encoder), tells_lines(encoder)
        for i, (row, content) in enumerate(zip(rows, contents, strict=True)):
            counts, ids = counts_of(row["text"], lines), self.sequence(content)
            if self.blocks:
                made.append(_piece(i, ids, counts))
                continue
            for first in range(0, len(ids), stride):
                before = ids[first - 1 : first]
                row_ids = self.row(before, ids[first : first + stride], encoder)
                made.append(_piece(i, row_ids, counts))
                counts = NO_COUNTS
        return made

    def joined(self, pieces: Iterator[Piece], encoder: TextEncoder) -> Iterator[Piece]:
        if not self.blocks:
            yield from pieces
            return
        texts = (Text(p.row, p.tokens.ids, [p.values[name] for name in COUNTS]) for p in pieces)
        marks = len(self.sequence(np.zeros(0, np.int64)))
        for row, before, ids, counts in blocks(texts, self.stride(encoder), marks):
            values = dict(zip(COUNTS, counts, strict=True))
            yield _piece(row, self.row(before, ids, encoder), values)

    def sequence(self, content: np.ndarray) -> np.ndarray:
        """The tokens that a text, int64 [n], has in a sequence of texts; all are learned."""
        raise NotImplementedError

    def stride(self, encoder: TextEncoder) -> int:
        """The number of tokens of a sequence that make a row."""
        raise NotImplementedError

    def row(self, before: np.ndarray, ids: np.ndarray, encoder: TextEncoder) -> np.ndarray:
        """A row, int64, of the next tokens of a sequence, and of the one before: [0] or [1]."""
        raise NotImplementedError

    # In the graph

    def answers(self, batch: Any, outputs: Any) -> dict[str, tf.Tensor]:
        return {}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        return ["loss", *_perplexities(1.0, 1, 1, 1)]

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        lines = []
        for name, gold in sets.items():
            tokens, words = int(gold["lengths"].sum(dtype=np.int64)), _total(gold, "words")
            said = f"{tokens:,} tokens in rows, {words:,} words and ends of lines"
            lines.append(f"{name}: {said}, {_total(gold, 'bytes'):,} bytes")
        return lines, []

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        for name in COUNTS:
            if gold[name].min(initial=0) < 0:
                raise fields.Invalid(f"{name} must not be negative")

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        """Perplexities over the whole set: exp of the sum of losses over a count.

        "perplexity" counts the predicted tokens, so it compares models of one tokenizer only;
        "word_perplexity" the words, "bits_per_byte" the bytes of the texts, in bits. "tokens" are
        those that were predicted.
        """
        total = float(np.sum(scores.losses[WORDS], dtype=np.float64))
        tokens = float(np.sum(scores.weights[WORDS], dtype=np.float64))
        found = _perplexities(total, tokens, _total(gold, "words"), _total(gold, "bytes"))
        return {
            "loss": scores.mean_loss(),
            **{name: value for name, value in found.items() if name in self.metric_names()},
            "tokens": int(tokens),
            "examples": len(np.unique(gold["rows"])),
        }

    def summary(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        test, title = result.get("test"), "Test"
        if test is None:
            test, title = result["validation"], "Validation"
        names = [name for name in self.metric_names() if name in test]
        said = ", ".join(f"{name} {test[name]:.4f}" for name in names)
        return [(title, f"{said} on {test['tokens']:,} tokens")]


def _piece(row: int, ids: np.ndarray, counts: dict[str, int]) -> Piece:
    return Piece(row, Encoded(ids, len(ids), cut=False), counts)


def counts_of(text: str, lines: bool) -> dict[str, int]:
    """The words and bytes of a text and its end; with `lines` ends of lines are words too."""
    ends = text.count("\n") if lines else 0
    return {"words": len(text.split()) + ends + 1, "bytes": len(text.encode()) + 1}


def tells_lines(encoder: TextEncoder) -> bool:
    """True if the end of a line has tokens of its own, other than a blank's."""
    line, blank = encoder.contents(["a\na", "a a"])
    return not np.array_equal(line, blank)


def _total(gold: Gold, name: str) -> int:
    return int(gold[name].sum(dtype=np.int64))


def _perplexities(total: float, tokens: float, words: int, bytes_: int) -> dict[str, float]:
    """Metrics of the sum of the losses of a set, in nats."""

    def exp(value: float) -> float:
        return math.exp(value) if value < 700 else math.inf

    return {
        "perplexity": exp(total / tokens) if tokens else math.nan,
        "word_perplexity": exp(total / words) if words else math.nan,
        "bits_per_byte": total / math.log(2) / bytes_ if bytes_ else math.nan,
    }


def following(of_BT: tf.Tensor) -> tf.Tensor:
    """The next place's value at each place, [B, T], and 0 at the last, which has no next one.

    So the logits [B, T, V] of the last place need not be cut off, which would copy all of them.
    """
    return tf.pad(of_BT[:, 1:], [[0, 0], [0, 1]])


def token_losses(logits_BKV: tf.Tensor, ids_BK: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each place in nats, [B, K], in float32 or wider."""
    wide = logits_BKV if logits_BKV.dtype == tf.float64 else tf.cast(logits_BKV, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids_BK, logits=wide)


def needed(task: Task, role: str, roles: Sequence[str], why: str) -> int:
    """The id of the first special token of these roles that the tokenizer has.

    Raises:
      UserError: it has none of them.
    """
    for name in roles:
        found = task.tokenizer.id_of(name)
        if found is not None:
            return int(found)
    raise UserError(f"the tokenizer has no {role}, {why}: choose another config.tokenizer")


def rounded(value: float) -> float:
    """A number with float32's digits, so that it does not hang on the last bit of a sum."""
    return float(f"{value:.7g}")


def total(log_probs: Sequence[float]) -> float:
    """The log-probability of a text, given those of its tokens."""
    return rounded(math.fsum(log_probs))


def alternatives(name: str, found: Sequence[Continuation]) -> dict[str, Any]:
    """The field "n_best" of a prediction: texts, under `name`, the best first; or nothing."""
    if not found:
        return {}
    lines = [
        {
            name: each.text,
            "log_probability": total(each.log_probs),
            "tokens": len(each.tokens),
            "ended": each.ended,
        }
        for each in found
    ]
    return {"n_best": lines}
