"""Text to text: a text is written for each text, as in translation."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainer import settings
from trainer.batch import DECODER_IDS, ID, IDS, INPUTS, MASK, TARGET, TARGET_MASK, WEIGHT
from trainer.data.columns import TEXT, Column, Row
from trainer.data.encode import Encoded
from trainer.errors import UserError
from trainer.lazy import tf
from trainer.models.writing import LENGTH_NORMS, LENGTH_PENALTIES, Writing, writing_for
from trainer.storage import fields
from trainer.tasks import text_metrics
from trainer.tasks.language import alternatives, needed, token_losses, total
from trainer.tasks.shown import Shown, Table
from trainer.tasks.task import TEXTS, Array, Examples, Gold, Piece, Scores, Task

if TYPE_CHECKING:
    import keras

    from trainer.data.encode import TextEncoder
    from trainer.models.architecture import Architecture
    from trainer.tasks.task import Batch

WORDS = "words"  # the name of the loss
_SHOWN = 200  # characters of a text in a table
_EDGES = (0.25, 0.5, 0.75)  # quantiles of the lengths of sources, between slices


@dataclass
class TextToText(Task):
    """Learns to write the target of each source, token by token (Sutskever et al., 2014).

    The decoder reads a start token and the target, and learns the target and an end token. The loss
    is the mean over all target tokens, in evaluation without smoothing. Gold has "source" and
    "target", texts, and "cut", 1 where the target has more tokens than `target_length`; answers
    have the ids that the model writes, their number and the sum of their log-probabilities.
    """

    metric: ClassVar[str] = "bleu"
    lower: ClassVar[tuple[str, ...]] = ("loss", "perplexity")
    inputs: ClassVar[tuple[str, ...]] = (*INPUTS, DECODER_IDS)
    serves: ClassVar[bool] = False
    line_fields: ClassVar[tuple[str, ...]] = ("text", "log_probability", "tokens", "ended")

    source: str = settings.column(TEXT, "source")  # its column
    target: str = settings.column(TEXT, "target")  # its column; rows to predict need none
    prefix: str = settings.encoded("")  # before each source, such as "summarize: "
    # Tokens of a target, its end included.
    target_length: int = settings.number(
        128, 2, 65_536, encodes=True, unset=settings.FROM_ROWS, sized=True
    )
    label_smoothing: float = settings.number(0.0, 0.0, 0.99)
    # What the decoder begins with; empty: the tokenizer's first token, or its padding.
    start_token: str = ""
    tied: bool = True  # the decoder's outputs are products with the table of token vectors
    beams: int = settings.number(1, 1, 1_000)  # of evaluation
    length_penalty: float = settings.number(0.6, *LENGTH_PENALTIES)  # of these beams
    length_norm: str = settings.one_of(*LENGTH_NORMS, default="gnmt")  # see Writing
    # Rows with one source are a text and its references: evaluation writes one text for them.
    several_references: bool = settings.encoded(False)

    @property
    def text_columns(self) -> list[Column]:
        return [column for column in self.columns() if column.key == "source"]

    def texts(self, row: Row) -> list[str]:
        return [row[key] for key in ("source", "target") if key in row]

    def identity(self, row: Row) -> list[str]:
        return [row["source"]]  # whatever is written for it

    def start(self) -> None:
        if self.tokenizer is not None:
            self._start, self._end = start_and_end(self, self.start_token)

    @property
    def start_id(self) -> int:
        """The token that the decoder begins with."""
        return self._start

    @property
    def end_id(self) -> int:
        """The token at the end of a written text."""
        return self._end

    # The rows

    @property
    def longest_target(self) -> int:
        return self.target_length

    def arrays(self) -> dict[str, Array]:
        held = {"source": Array(TEXTS), "target": Array(TEXTS), "cut": Array("uint8")}
        return held | ({"first": Array("uint8")} if self.several_references else {})

    def pieces(self, rows: Sequence[Row], encoder: TextEncoder) -> list[Piece]:
        sources = self.sources([row["source"] for row in rows], encoder)
        targets = encoder.contents([row.get("target", "") for row in rows])
        made = []
        for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
            if "target" in rows[i] and not len(target):
                raise UserError(
                    f"{rows[i].where}: the target {self.target!r} is empty: leave the row out"
                )
            cut = len(target) >= self.target_length
            written = np.append(target[: self.target_length - 1], self._end)
            ids = np.concatenate([source.ids, written])
            tokens = Encoded(ids, len(source.ids), source.cut)
            made.append(Piece(i, tokens, {"cut": int(cut)}))
        return made

    def sources(self, texts: Sequence[str], encoder: TextEncoder) -> list[Encoded]:
        """The tokens of sources behind the prefix, cut where they are too long.

        Raises:
          UserError: the prefix leaves no room for them, or would be cut off.
        """
        encoder.check_prefix(self.prefix, "config.task.prefix")
        return encoder.encode([self.prefix + text for text in texts])

    def joined(self, pieces: Iterator[Piece], encoder: TextEncoder) -> Iterator[Piece]:
        seen = set()
        for piece in pieces:
            if self.several_references:
                source = piece.values["source"]
                piece.values["first"] = int(source not in seen)
                seen.add(source)
            yield piece

    def gold(self, row: Row, piece: Piece) -> dict[str, Any]:
        return {"source": row["source"], "target": row["target"]}

    # The model

    def head(self, architecture: Architecture) -> keras.layers.Layer:
        from trainer.models.heads import WordHead

        if self.beams > architecture.vocab_size:
            raise UserError(
                f"config.task.beams={self.beams:,} is more than the {architecture.vocab_size:,}"
                " tokens of the vocabulary"
            )
        return WordHead(architecture, transforms=False, tied=self.tied)

    @property
    def native_kind(self) -> str:
        return "text" if type(self).head is TextToText.head else ""

    def native_config(self) -> dict[str, Any]:
        return {"decoder_start_token_id": self._start, "eos_token_id": self._end}

    # In the graph

    def prepare(self, batch: Batch, training: bool) -> Batch:
        target_BM = batch[TARGET]
        smoothing = tf.constant(self.label_smoothing if training else 0.0)
        return {**batch, DECODER_IDS: shifted(target_BM, self._start), "smoothing": smoothing}

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        row_B1 = tf.cast(batch[WEIGHT], tf.float32)[:, None]
        return {WORDS: tf.cast(batch[TARGET_MASK], tf.float32) * row_B1}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """Cross-entropy in nats against 1 - smoothing on the token plus smoothing / V on all.

        Szegedy et al., 2016, section 7.
        """
        losses_BM = token_losses(outputs, batch[TARGET])
        if not self.label_smoothing:
            return {WORDS: losses_BM}
        wide = outputs if outputs.dtype == tf.float64 else tf.cast(outputs, tf.float32)
        uniform_BM = tf.reduce_logsumexp(wide, -1) - tf.reduce_mean(wide, -1)
        share = tf.cast(batch["smoothing"], losses_BM.dtype)
        return {WORDS: (1 - share) * losses_BM + share * uniform_BM}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        return {}

    def written(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        if not self.several_references:
            return self._written(model, batch)
        first_B = batch["first"] > 0
        at_K = tf.where(first_B)[:, 0]
        at_K = tf.cond(tf.size(at_K) > 0, lambda: at_K, lambda: tf.zeros([1], tf.int64))
        some = {name: tf.gather(batch[name], at_K) for name in (IDS, MASK)}
        some[ID] = tf.gather(tf.where(first_B, batch[ID], -1), at_K)
        found = self._written(model, some)
        for name, of_K in found.items():
            rest = [1] * (of_K.shape.rank - 1)
            of_B = tf.scatter_nd(at_K[:, None], of_K, [tf.shape(first_B)[0], *of_K.shape[1:]])
            # Nothing but zeros in a row that is none of these, in any company.
            wrote_B = tf.reshape(first_B, [-1, *rest])
            found[name] = tf.where(wrote_B, of_B, tf.zeros_like(of_B))
        return found

    def _written(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """The ids [B, N] of the texts that the model writes, their counts and log-probabilities."""
        from trainer.models.encoder_decoder import CachedDecoder
        from trainer.models.generate import Generation
        from trainer.models.random import draw_key

        writing = self.writing(self.target_length)
        steps = Generation(CachedDecoder(model, self._start), writing, self._end)
        found = steps.whole(
            batch[IDS], batch[MASK], batch[ID], draw_key(0), stopped_B=batch[ID] < 0
        )
        return {
            "ids": found.ids_BN,
            "count": found.lengths_B,
            "log_probability": tf.reduce_sum(found.log_probs_BN, 1),
        }

    # The judgement of a set

    def metric_names(self) -> list[str]:
        return ["bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL", "loss", "perplexity"]

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        notes = []
        for name, gold in sets.items():
            if count := int(gold["cut"].sum(dtype=np.int64)):
                notes.append(
                    f"{name}: {count:,} targets were cut to config.task.target_length="
                    f"{self.target_length} tokens, and are judged by their whole texts"
                )
        return [], notes

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        answers = scores.answers
        if answers.keys() != {"ids", "count", "log_probability"} or answers["ids"].ndim != 2:
            raise fields.Invalid("answers must hold ids, count and log_probability")
        count, most = answers["count"], answers["ids"].shape[1]
        if any(answers[name].dtype.kind not in "iu" for name in ("ids", "count")):
            raise fields.Invalid("ids and count must be whole numbers")
        if count.ndim != 1 or count.min() < 0 or count.max() > most or answers["ids"].min() < 0:
            raise fields.Invalid("written texts have lengths that they cannot have")
        if answers["ids"].max() >= 2**31:
            raise fields.Invalid("written texts have ids that no vocabulary has")

    def hypotheses(self, scores: Scores, rows: np.ndarray | None = None) -> list[str]:
        """The texts that the model wrote, of all rows or of some, int [K]."""
        ids, count = scores.answers["ids"], scores.answers["count"]
        places = range(len(ids)) if rows is None else rows
        return [self._text(ids[i, : count[i]]) for i in places]

    def _text(self, ids: np.ndarray) -> str:
        """The text of written tokens."""
        found = [int(id_) for id_ in ids if id_ != self._end]
        return self.tokenizer.backend_tokenizer.decode(found, skip_special_tokens=True)

    def _writers(self, gold: Gold) -> np.ndarray:
        """The row that has each row's text, int [N]: with several references its source's first."""
        places, first = range(len(gold["rows"])), dict[str, int]()
        if not self.several_references:
            return np.array(places)
        return np.array([first.setdefault(gold["source"][i], i) for i in places])

    def _judged(self, gold: Gold, scores: Scores) -> tuple[list[str], list[list[str]], np.ndarray]:
        """Texts that the model wrote, the references of each, and the rows that have them."""
        first, text_of = np.unique(self._writers(gold), return_inverse=True)
        references: list[list[str]] = [[] for _ in first]
        for i, text in enumerate(text_of):
            references[text].append(gold["target"][i])
        return self.hypotheses(scores, first), references, first

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        """BLEU and chrF (0 to 100, of the whole set), exact matches and ROUGE (0 to 1).

        "loss" is the mean over target tokens, "perplexity" its exponential; "examples" are the
        texts that were judged.
        """
        hypotheses, references, _ = self._judged(gold, scores)
        loss = scores.mean_loss()
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            **text_metrics.score(hypotheses, references),
            "tokens": int(scores.weights[WORDS].sum(dtype=np.float64)),
            "examples": len(hypotheses),
        }

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        """All rows, those with the largest loss a token first."""
        return np.argsort(-scores.mean_losses(WORDS), kind="stable")

    def show(
        self, gold: Gold, scores: Scores, mistakes: Examples, fitted: Any = None
    ) -> list[Shown]:
        """The signature of BLEU, its values by the length of sources, and some texts."""
        hypotheses, references, first = self._judged(gold, scores)
        lengths = [len(gold["source"][i].split()) for i in first]
        edges = np.unique(np.quantile(lengths, _EDGES).astype(int)).tolist()
        slices = text_metrics.by_length(lengths, hypotheses, references, edges)
        signature = text_metrics.bleu_signature(references)
        shown: list[Shown] = [
            Table(
                "BLEU by length of the source",
                ("words", "texts", "BLEU"),
                [(_range(each), each.texts, each.bleu) for each in slices],
            ),
            Table("signature of BLEU", ("signature",), [(signature,)]),
        ]
        return [*shown, *self._examples(gold, scores, mistakes)]

    def _examples(self, gold: Gold, scores: Scores, mistakes: Examples) -> list[Shown]:
        """Tables of written texts, of rows spread over the set and of the mistakes."""
        shown: list[Shown] = []
        writers = self._writers(gold)
        evenly = np.linspace(0, len(gold["rows"]) - 1, min(20, len(gold["rows"]))).astype(int)
        for name, rows in (("written texts", evenly), ("largest losses", mistakes.rows)):
            shown.append(self._table(name, gold, self.hypotheses(scores, writers[rows]), rows))
        return shown

    def _table(
        self, name: str, gold: Gold, hypotheses: Sequence[str], rows: Sequence[int] | np.ndarray
    ) -> Table:
        texts = [
            (gold["source"][i], gold["target"][i], written)
            for i, written in zip(rows, hypotheses, strict=True)
        ]
        cells = [tuple(text[:_SHOWN] for text in each) for each in texts]
        return Table(name, ("source", "target", "written"), cells)

    def sampled(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        return self._written(model, batch)  # for each row, not for each source

    def samples(self, batch: Batch, sampled: Mapping[str, tf.Tensor]) -> list[Shown]:
        """Sources, their targets, and the texts that the model writes for them."""
        written, counts = (sampled[name].numpy() for name in ("ids", "count"))
        sources, targets = (
            [self._text(ids[mask > 0]) for ids, mask in zip(ids_BT, mask_BT, strict=True)]
            for ids_BT, mask_BT in (
                (batch[IDS].numpy(), batch[MASK].numpy()),
                (batch[TARGET].numpy(), batch[TARGET_MASK].numpy()),
            )
        )
        new = [self._text(ids[:n]) for ids, n in zip(written, counts, strict=True)]
        rows = [tuple(t[:_SHOWN] for t in row) for row in zip(sources, targets, new, strict=True)]
        return [Table("samples", ("source", "target", "written"), rows)]

    def results(self, fitted: Any, gold: Gold, scores: Scores) -> dict[str, Any]:
        _, references, _ = self._judged(gold, scores)
        return {
            "bleu_signature": text_metrics.bleu_signature(references),
            "chrf_signature": text_metrics.chrf_signature(references),
        }

    def summary(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        test, title = result.get("test"), "Test"
        if test is None:
            test, title = result["validation"], "Validation"
        said = f"BLEU {test['bleu']:.2f}, chrF {test['chrf']:.2f}, loss {test['loss']:.4f}"
        line = (title, f"{said} on {test['examples']:,} examples")
        return [line, ("BLEU", result["bleu_signature"]), ("chrF", result["chrf_signature"])]

    # Predictions

    def continuing(self) -> Task:
        return self

    def writing(self, positions: int, **given: Any) -> Writing:
        """Settings as of evaluation, but for those that are given; see `writing_for`."""
        own: dict[str, Any] = {"max_new_tokens": self.target_length}
        draws = given.keys() & {"temperature", "top_k", "top_p"}
        beams = given.get("beams", 1 if draws else self.beams)
        if beams != 1:
            own |= {"length_penalty": self.length_penalty, "length_norm": self.length_norm}
        return writing_for(positions, **{**own, "beams": beams, **given})

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, Any], rule: Any
    ) -> dict[str, Any]:
        """The written text, its log-probability, how many tokens it has, and what ended it."""
        return {
            "text": answers["text"],
            "log_probability": total(answers["log_probs"]),
            "tokens": len(answers["tokens"]),
            "ended": answers["ended"],
            **alternatives("text", answers["n_best"]),
        }


def start_and_end(task: Task, start: str = "") -> tuple[int, int]:
    """The tokens that a decoder begins with, and that a written text ends with.

    Args:
      task: with its tokenizer.
      start: the first of them; empty: the tokenizer's first token, or its padding.

    Raises:
      UserError: the tokenizer has none.
    """
    why = "which a written text ends with"
    end = needed(task, "end token", ("eos_token", "sep_token"), why)
    if start:
        found = task.tokenizer.get_vocab().get(start)
        if found is None:
            raise UserError(f"config.task.start_token={start!r} is no token of the tokenizer")
        return found, end
    why = "which a decoder begins with"
    roles = ("bos_token", "cls_token", "pad_token", "eos_token")
    return needed(task, "start token", roles, why), end


def shifted(target_BM: tf.Tensor, start: int) -> tf.Tensor:
    """The tokens that a decoder reads to write the target: a start token, and all but the last."""
    start_B1 = tf.fill([tf.shape(target_BM)[0], 1], start)
    return tf.concat([start_B1, target_BM[:, :-1]], 1)


def _range(of: text_metrics.Slice) -> str:
    return f"{of.least} to {of.most}" if of.most else f"{of.least} and more"
