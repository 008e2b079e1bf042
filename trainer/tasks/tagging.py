"""Tagging: a tag for each word of a sentence, as for the names in it.

The first token of a word stands for it; a long sentence is cut into windows, in which each word is
judged once. Tags are learned in BIO, whatever scheme the data has (`trainer.tasks.entities`).
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import regex

from trainer import settings
from trainer.batch import WEIGHT
from trainer.data.columns import TAGS, WORDS, Row
from trainer.data.rows import listed
from trainer.errors import UserError, shown
from trainer.lazy import tf
from trainer.storage import fields
from trainer.tasks import entities, labels
from trainer.tasks.entities import OUTSIDE, Entity
from trainer.tasks.parts import METRICS
from trainer.tasks.shown import Marked, Matrix, Shown, Span
from trainer.tasks.task import Array, Examples, Gold, Piece, Scores, Task, check_finite
from trainer.tasks.windows import windows

if TYPE_CHECKING:
    from trainer.data.encode import TextEncoder
    from trainer.data.subwords import Subwords
    from trainer.tasks.task import Batch

MAX_TYPES = 1_000
_SCHEMES = ("BIO", "IOB1", "BIOES")
_BEGINS = ("\u0120", "\u2581")  # as a word's first token begins with in some vocabularies
_NONE = "none"  # where a type is named and there is no entity
# Words of a plain text: abbreviations, words with what joins them, "'s", and single marks. Letters
# have their accents and vowel signs (M) and joiners. Written so that RE2 reads the same.
_W, _SPACE = "\\p{L}\\p{N}\\p{M}_\u200c\u200d", r"\t\n\v\f\r\x1c-\x1f\x85\p{Z}"
_PATTERN = rf"(?:[{_W}]\.){{2,}}|[@#]?[{_W}]+(?:[-.,:/][{_W}]+)*|'[{_W}]+|[^{_W}{_SPACE}]"
_WORD = regex.compile(_PATTERN)


@dataclass
class Tagging(Task):
    """Learns the tag of each word.

    Arrays are of tokens: "word" is the number of the word that a token stands for, -1 for others;
    "tag" the id of its tag. Answers have "tag" int [N, T] and "probability" float [N, T]. The facts
    are the types of entities, "types", and the scheme of the data, "scheme".
    """

    metric: ClassVar[str] = "f1"
    kind: ClassVar[str] = "tokens"
    group: ClassVar[str] = "type"
    group_metrics: ClassVar[tuple[str, ...]] = METRICS
    correct_name: ClassVar[str] = "sentences right"

    words: str = settings.column(WORDS, "tokens")  # their column; empty: found in a file
    tags: str = settings.column(TAGS, "ner_tags")  # their column; empty: found in a file
    scheme: str = settings.one_of("found", *_SCHEMES)  # of the data; found: as its tags show it
    # Tokens that two windows share, at most half of one.
    context: int = settings.number(32, 0, 10_000, encodes=True)
    label_smoothing: float = settings.number(0.0, 0.0, 0.99)

    # The rows

    word_pattern: ClassVar[str] = _PATTERN

    def cells_of(self, text: str) -> dict[str, Any]:
        found = list(_WORD.finditer(text))
        return {
            "words": [match[0] for match in found],
            "spans": [match.span() for match in found],
            "text": text,
        }

    def learn(
        self, rows: Iterator[Row], title: str, known: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Reads all rows: the types, and the scheme unless it is named."""
        seen: set[str] = set()
        row: Row | None = None

        def tags_of_rows() -> Iterator[list[str]]:
            nonlocal row
            for row in rows:
                tags = self._tags(row)
                seen.update(self._kind(tag, row) for tag in tags)
                if len(seen) > MAX_TYPES + 1:
                    raise UserError(
                        f"{row.where}: over {MAX_TYPES:,} types of entities so far: is"
                        f" {self.tags!r} the column of tags? (config.task.tags)"
                    )
                yield tags

        scheme = self.scheme
        try:
            if scheme == "found":
                scheme = entities.scheme_of(tags_of_rows())
            else:
                collections.deque(tags_of_rows(), maxlen=0)
        except entities.WrongTag as error:
            raise UserError(f"{title}: {error}: mend them, or name config.task.scheme") from error
        if row is None:
            raise UserError(f"{title} is empty: it has no sentence")
        types = sorted(seen - {""})
        if not types:
            raise UserError(f"{title} has no entity: is {self.tags!r} the column of tags?")
        return {"types": types, "scheme": scheme}

    def for_some(self, facts: Mapping[str, Any], rows: Sequence[Row]) -> Tagging:
        return dataclasses.replace(self, scheme=facts["scheme"])

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        types = fields.items(facts, "types", MAX_TYPES)
        if not types or not all(isinstance(name, str) for name in types):
            raise fields.Invalid("types must hold texts")
        if not all(name.strip() for name in types):
            raise fields.Invalid("types must not be empty")
        if len(set(types)) < len(types):
            raise fields.Invalid("types must hold each name once")
        if fields.text(facts, "scheme") not in _SCHEMES:
            raise fields.Invalid(f"scheme must be one of {', '.join(_SCHEMES)}")

    def start(self) -> None:
        self.types: list[str] = list(self.facts["types"])
        self.names = [OUTSIDE, *(f"{p}-{kind}" for kind in self.types for p in "BI")]
        self._ids = {name: i for i, name in enumerate(self.names)}

    def arrays(self) -> dict[str, Array]:
        return {"word": Array("int32", "input", -1), "tag": Array("int32", "input", -1)}

    cuts_in_windows: ClassVar[bool] = True

    def pieces(self, rows: Sequence[Row], encoder: TextEncoder) -> list[Piece]:
        """One of each sentence, or the windows of a long one."""
        sentences = [row["words"] for row in rows]
        found = []
        tokenizer: Subwords | None = self.tokenizer
        unknown = tokenizer.unk_token_id if tokenizer else None
        context = min(self.context, encoder.room // 2)
        before = len(encoder.template[0])
        for i, (words, tokens) in enumerate(
            zip(sentences, encoder.of_words(sentences), strict=True)
        ):
            ids, of = tokens
            missing = np.setdiff1d(np.arange(len(words)), of)
            if len(missing) and unknown is None:
                raise UserError(
                    f"{rows[i].where}: the tokenizer makes nothing of the word"
                    f" {shown(words[missing[0]])}, and has no token for unknown ones: leave it out"
                )
            if len(missing):
                order = np.argsort(np.concatenate([of, missing]), kind="stable")
                ids = np.concatenate([ids, np.full(len(missing), unknown)])[order]
                of = np.concatenate([of, missing])[order]
            first = np.concatenate([[True], of[1:] != of[:-1]])  # the first token of its word
            for window in windows(of, encoder.room, context):
                part = slice(window.first, window.end)
                encoded = encoder.join(ids[part])
                owned = (of[part] >= window.owned[0]) & (of[part] < window.owned[1])
                word = np.full(len(encoded.ids), -1, np.int32)
                inside = np.where(first[part] & owned, of[part], -1)
                word[before : before + len(inside)] = inside
                found.append(Piece(i, encoded, {"word": word}))
        return found

    def gold(self, row: Row, piece: Piece) -> dict[str, Any]:
        word = piece.values["word"]
        if "in BIO" not in row:  # the same for all windows of a sentence
            row["in BIO"] = np.array([self._ids[tag] for tag in self._in_bio(row)], np.int32)
        return {"tag": np.where(word >= 0, row["in BIO"][word], -1).astype(np.int32)}

    def _in_bio(self, row: Row) -> list[str]:
        """The tags of a sentence in BIO."""
        tags = self._tags(row)
        for tag in tags:
            kind = self._kind(tag, row)
            if kind and kind not in self.types:
                raise UserError(
                    f"{row.where}: tag {shown(tag)} is of no type of train: {listed(self.types)}"
                )
        try:
            return entities.tagged(entities.entities(tags, self.facts["scheme"]), len(tags))
        except entities.WrongTag as error:
            raise UserError(
                f"{row.where}: {error}, in {self.facts['scheme']}: mend it, or name"
                " config.task.scheme"
            ) from error

    def _tags(self, row: Row) -> list[str]:
        words, tags = row["words"], row["tags"]
        if len(words) != len(tags):
            raise UserError(
                f"{row.where}: {len(words):,} words and {len(tags):,} tags: give a tag a word"
            )
        if not words:
            raise UserError(f"{row.where} has no word: leave it out")
        return tags

    def _kind(self, tag: str, row: Row) -> str:
        try:
            return entities.split(tag)[1]
        except entities.WrongTag as error:
            raise UserError(f"{row.where}: {error}") from error

    # The model

    @property
    def outputs(self) -> int:
        return len(self.names)

    @property
    def answer_size(self) -> int:
        return 2

    def native_config(self) -> dict[str, Any] | None:
        return self.named_outputs()

    @property
    def output_names(self) -> list[str]:
        return self.names

    # In the graph

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        counts = tf.cast(batch["tag"] >= 0, batch[WEIGHT].dtype)
        return {"loss": counts * batch[WEIGHT][:, None]}

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        wide = outputs if outputs.dtype == tf.float64 else tf.cast(outputs, tf.float32)
        log_probabilities = tf.nn.log_softmax(wide)
        tag = tf.maximum(batch["tag"], 0)
        at = tf.one_hot(tag, len(self.names), on_value=True, off_value=False)
        # By mask and sum, whose gradient is deterministic everywhere.
        own = tf.reduce_sum(tf.where(at, log_probabilities, tf.zeros_like(wide)), -1)
        if not self.label_smoothing:
            return {"loss": -own}
        uniform = tf.reduce_mean(log_probabilities, -1)
        return {"loss": -(1 - self.label_smoothing) * own - self.label_smoothing * uniform}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(tf.cast(outputs, tf.float32))
        return {
            "tag": tf.argmax(outputs, -1, tf.int32),
            "probability": tf.reduce_max(probabilities, -1),
        }

    def serve(self, answers: Mapping[str, tf.Tensor], fitted: Any) -> dict[str, tf.Tensor]:
        """Tags by name and their probabilities; "" and 0 where a word has no token: at padding, and
        beyond the tokens that the model takes.
        """
        tags, sure = tf.gather(tf.constant(self.names), answers["tag"]), answers["probability"]
        if "place" in answers:
            there = answers["place"] >= 0
            tags, sure = tf.where(there, tags, ""), tf.where(there, sure, tf.zeros_like(sure))
        return {"tags": tags, "probabilities": sure}

    # The judgement of a set

    def metric_names(self) -> list[str]:
        return ["loss", "f1", "precision", "recall", "accuracy"]

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        lines, notes = [f"tags in {self.facts['scheme']}, learned in BIO"], []
        begins = [self._ids[f"B-{kind}"] for kind in self.types]
        found: dict[str, np.ndarray] = {}
        for name, gold in sets.items():
            counts = np.bincount(gold["tag"][gold["tag"] >= 0], minlength=len(self.names))
            found[name] = counts[begins]
            parts = len(gold["rows"]) - len(np.unique(gold["rows"]))
            more = f", {parts:,} more windows of long ones" if parts else ""
            lines.append(
                f"{name}: {len(np.unique(gold['rows'])):,} sentences{more}, {counts.sum():,} words"
            )
            if name != "train" and not found[name].any():
                notes.append(f"{name} has no entity: its precision, recall and F1 are 0")
        if fresh:
            labels.check_learned(self.types, found, cut, ("type", "entities"))
        words = ("types", "entities")
        lines.append(labels.table(self.types, found, words))
        notes += labels.notes(self.types, found["train"], self.tags, words)
        return lines, notes

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        if chosen in ("f1", "precision", "recall") and (gold["tag"] <= 0).all():
            raise UserError(
                f"config.evaluation.metric={chosen!r} cannot choose the best weights: {split} has"
                " no entity; choose another metric, or give other data for validation"
            )

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        count = len(self.names)
        none = np.zeros(0)
        for values in (gold["tag"], scores.answers.get("tag", none)):
            within = values.min(initial=0) >= -1 and values.max(initial=0) < count
            if values.dtype.kind != "i" or not within:
                raise fields.Invalid(f"a tag is not one of {count}")
        answered, length = scores.answers["tag"], int(gold["lengths"].max())
        if answered.ndim != 2 or answered.shape[1] < length or answered.min() < 0:
            raise fields.Invalid("a tag for each token is needed")
        sure = scores.answers.get("probability", none)
        if sure.shape != answered.shape or sure.dtype.kind != "f":
            raise fields.Invalid("a probability for each token is needed")
        word = gold["word"]
        if word.dtype.kind != "i" or word.ndim != 1 or word.max() > 10**7:
            raise fields.Invalid("a word's number is out of range")
        if gold["tag"].shape != word.shape or ((gold["tag"] >= 0) != (word >= 0)).any():
            raise fields.Invalid("a tag for each word is needed")

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        sentences = self._sentences(gold, scores.answers["tag"])
        total, _ = entities.scores(*self._entities(sentences))
        right = sum(int((each.gold == each.found).sum()) for each in sentences)
        return {
            "loss": scores.mean_loss(),
            "f1": total.f1,
            "precision": total.precision,
            "recall": total.recall,
            "accuracy": right / max(sum(len(each.gold) for each in sentences), 1),
            "examples": len(sentences),
        }

    def judge_groups(self, gold: Gold, scores: Scores) -> dict[str, dict[str, Any]]:
        """The entities of each type."""
        _, found = entities.scores(
            *self._entities(self._sentences(gold, scores.answers["tag"])), self.types
        )
        return {kind: score._asdict() for kind, score in found.items()}

    def correct(self, gold: Gold, scores: Scores) -> np.ndarray:
        sentences = self._sentences(gold, scores.answers["tag"])
        return np.array([bool((each.gold == each.found).all()) for each in sentences])

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        """Pieces with wrong tags, those with the surest one first."""
        starts = np.cumsum([0, *gold["lengths"]])
        worst = np.zeros(len(gold["rows"]))
        for i, (start, end) in enumerate(itertools.pairwise(starts)):
            tags, found = gold["tag"][start:end], scores.answers["tag"][i, : end - start]
            wrong = (tags >= 0) & (tags != found)
            sure = scores.answers["probability"][i, : end - start]
            worst[i] = (sure * wrong).max(initial=0)
        order = np.argsort(-worst, kind="stable")
        return order[worst[order] > 0]

    def show(
        self, gold: Gold, scores: Scores, mistakes: Examples, fitted: Any = None
    ) -> list[Shown]:
        """Confusions of types, and wrong sentences with their spans."""
        sentences = self._sentences(gold, scores.answers["tag"])
        starts = np.cumsum([0, *gold["lengths"]])
        marked = []
        for row, id_, _, tokens in zip(*mistakes, strict=True):
            tags = gold["tag"][starts[row] : starts[row + 1]]
            found = scores.answers["tag"][row, : len(tags)]
            marked.append((id_, self._spans(tags, found, tokens)))
        return [
            Matrix("types of words", self._confusions(sentences), [*self.types, _NONE]),
            Marked("wrong sentences", marked),
        ]

    def _sentences(self, gold: Gold, answered: np.ndarray) -> list[_Sentence]:
        """The tags of all sentences, put together from their windows, in order."""
        lengths = gold["lengths"].astype(np.int64)
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        held = np.flatnonzero(gold["word"] >= 0)
        held = held[np.lexsort((gold["word"][held], gold["rows"][row[held]]))]
        of = gold["rows"][row[held]]
        ends = np.flatnonzero(np.diff(of)) + 1
        tags = np.split(gold["tag"][held], ends)
        found = np.split(answered[row[held], place[held]], ends)
        return [_Sentence(*both) for both in zip(tags, found, strict=True)]

    def _entities(
        self, sentences: Sequence[_Sentence]
    ) -> tuple[list[list[Entity]], list[list[Entity]]]:
        """The entities of each sentence by its labels, and by the predictions.

        A predicted I- that nothing of its type comes before begins one, as the shared task's
        program has it.
        """
        real = [entities.entities([self.names[i] for i in each.gold]) for each in sentences]
        return real, [self._found(each.found) for each in sentences]

    def _found(self, tags: np.ndarray) -> list[Entity]:
        return entities.entities([self.names[i] for i in tags], "IOB1")

    def _confusions(self, sentences: Sequence[_Sentence]) -> np.ndarray:
        """Counts of words of a type (row) that were given another (column); the last is none."""
        count = len(self.types)
        of = np.array([count] + [i // 2 for i in range(2 * count)])
        cells = np.zeros((count + 1, count + 1), np.int64)
        for each in sentences:
            np.add.at(cells, (of[each.gold], of[each.found]), 1)
        cells[count, count] = 0  # which would outshine the others
        return cells

    def _spans(self, tags: np.ndarray, found: np.ndarray, tokens: Sequence[str]) -> list[Span]:
        """A piece's text in runs of words with the same label and prediction."""
        spans: list[Span] = []
        tokenizer: Subwords | None = self.tokenizer
        special = set(tokenizer.all_special_tokens if tokenizer else ())
        begins = any(token.startswith(_BEGINS) for token in tokens)  # else "##" is what goes on
        for i, token in enumerate(tokens[: len(tags)]):
            if token in special and tags[i] < 0:
                continue
            text = token.removeprefix("##").lstrip("".join(_BEGINS))
            goes_on = not token.startswith(_BEGINS) if begins else token.startswith("##")
            if tags[i] < 0 and goes_on and spans:
                spans[-1] = spans[-1]._replace(text=spans[-1].text + text)
                continue
            label = prediction = ""  # of the context of a window nothing is judged
            if tags[i] >= 0:
                label, prediction = (self._type(each[i]) for each in (tags, found))
            if spans and (spans[-1].label, spans[-1].prediction) == (label, prediction):
                spans[-1] = spans[-1]._replace(text=f"{spans[-1].text} {text}")
            else:
                spans += [Span(" ", "", "")] if spans else []
                spans.append(Span(text, label, prediction))
        return spans

    def _type(self, tag: int) -> str:
        return self.names[tag].partition("-")[2] if tag > 0 else ""

    # Predictions

    line_fields: ClassVar[tuple[str, ...]] = ("tags", "entities")

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, np.ndarray], rule: Any
    ) -> dict[str, Any]:
        """Tags of the words, and entities: of a plain text with where they stand in it."""
        words, spans = row["words"], row.get("spans")
        tags, sure = np.zeros(len(words), np.int64), np.zeros(len(words))
        for i, piece in enumerate(pieces):
            at = np.flatnonzero(piece.values["word"] >= 0)
            of = piece.values["word"][at]
            if not words:
                continue
            tags[of], sure[of] = answers["tag"][i, at], answers["probability"][i, at]
        check_finite(sure, row)
        found = []
        for first, end, kind in self._found(tags):
            entity: dict[str, Any] = {"type": kind, "words": [first, end]}
            if spans:
                start, stop = spans[first][0], spans[end - 1][1]
                entity |= {"start": start, "end": stop, "text": row["text"][start:stop]}
            else:
                entity["text"] = " ".join(words[first:end])
            entity["probability"] = float(f"{sure[first:end].min():.6g}")
            found.append(entity)
        line: dict[str, Any] = {"words": words} if spans is not None else {}
        return {**line, "tags": [self.names[i] for i in tags], "entities": found}


class _Sentence(NamedTuple):
    """Tags of a sentence's words, int [W]: those it has, and those found."""

    gold: np.ndarray
    found: np.ndarray
