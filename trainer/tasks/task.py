"""The contract of a task: what is learned from a row, and how a whole set is judged.

A task is a dataclass: its fields are its settings (`config.task`), its methods are pure functions.
It sees no strategy, tape, optimizer, flag or file: exact gradients, phases, precision,
accumulation, resuming and distribution are the step's and the loop's, for all tasks alike.
docs/own_task.md builds one from nothing.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from trainer.batch import (
    DECODER_IDS,
    FEATURES,
    ID,
    INPUTS,
    POSITIONS,
    ROW_START,
    SAMPLE,
    SELECTED,
    STEP,
    TARGET,
    TARGET_MASK,
    WEIGHT,
)
from trainer.data.columns import KINDS, TEXT, WORDS, Column, Row
from trainer.errors import UserError, shown
from trainer.imports import blamed_on
from trainer.lazy import tf
from trainer.models.writing import Writing, writing_for
from trainer.tasks.shown import Shown

if TYPE_CHECKING:
    from pathlib import Path

    import keras

    from trainer.data.encode import Encoded, TextEncoder
    from trainer.data.subwords import Subwords
    from trainer.models.architecture import Architecture

Batch = dict[str, Any]
"""Tensors by name."""
Gold = Mapping[str, Any]
"""Arrays of the N rows of a set on the host: those of `Task.arrays`, [N] or, with an axis of
tokens, [sum of lengths], and a further axis where a value is several numbers; of texts `Strings`;
"rows" int64 [N], of the source; "lengths" int32 [N], in tokens, of a row without its target."""


# Keys of batches, tables and Gold that are no task's own.
_TAKEN = {*INPUTS, TARGET, TARGET_MASK, DECODER_IDS, POSITIONS, SELECTED, SAMPLE, FEATURES}
_TAKEN |= {WEIGHT, ID, STEP, ROW_START}
_TAKEN |= {"tokens", "offsets", "second", "rows", "lengths"}
_NAME = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)
DTYPES = ("int8", "uint8", "int32", "float32", "float64")  # of arrays of numbers
TEXTS = "text"  # of an array of texts, which stay on the host
ANSWERS = ("bool", "int8", "uint8", "int32", "int64")  # and floats: types of answers


class Array(NamedTuple):
    """A column that a task adds to the tokens of each row.

    Attributes:
      dtype: one of DTYPES; in a batch whole numbers are int32. Or TEXTS, of which batches have
        nothing.
      axis: "" for a value a row, "input" for one a token.
      pad: what stands at padding, of rows and of tokens.
      size: numbers of a value; 0: one number, which is no list.
    """

    dtype: str
    axis: str = ""
    pad: float = 0
    size: int = 0


class Piece(NamedTuple):
    """A row of the cache, made of a row of the data, of a part of one, or of several.

    Attributes:
      row: which of the given rows it is made of, or begins with.
      tokens: its tokens.
      values: by the name of an array: a number, or one for each token.
    """

    row: int
    tokens: Encoded
    values: dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """Losses and answers of a model for a set's rows, in their order.

    Attributes:
      losses: by name, float [N], the sum of each row's weighted losses.
      weights: by name, float [N], the sum of each row's weights.
      answers: by name, [N, ...]: see `Task.answers`. An axis of tokens is as long as in the longest
        batch; what is behind a row's end means nothing.
      measures: by name, float [N]: sums of `Task.measures`.
    """

    losses: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]
    measures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def mean_losses(self, name: str) -> np.ndarray:
        """Each row's loss of that name, float [N]: 0 for a row without weight."""
        weights = self.weights[name]
        return np.divide(self.losses[name], weights, np.zeros_like(weights), where=weights > 0)

    def mean_loss(self) -> float:
        """The objective of the whole set: the sum of the mean of each loss."""
        return sum(
            float(np.sum(self.losses[n], dtype=np.float64) / np.sum(w, dtype=np.float64))
            for n, w in self.weights.items()
        )


class Examples(NamedTuple):
    """Some rows of a set.

    Attributes:
      rows: int [K], their places in it. ids: their rows in the source.
      texts: as the model has them. tokens: of each, special ones included.
    """

    rows: np.ndarray
    ids: Sequence[int]
    texts: Sequence[str]
    tokens: Sequence[Sequence[str]]


@dataclass
class Task:
    """A task: what is learned from a batch, and how a whole set is judged.

    A batch holds INPUTS and WEIGHT of `trainer.batch`, and the task's arrays. `prepare`, `weights`,
    `losses` and `answers` run in the graph, on a part of the rows of a global batch; the others on
    the host, in NumPy.

    Attributes:
      metric: chooses the best weights, unless config.evaluation.metric names another.
      lower: metrics of which a lower value is better.
      kind: what the model gives outputs for: "sequence", each row, [B, C], or "tokens", each token,
        [B, T, C].
      causal: whether the encoder must see the tokens before a place only, or on both sides; None:
        either will do.
      facts: what `learn` found, kept with the run; empty before `bound`.
      of_losses: names of facts that change losses alone: rows are the same without them.
      tokenizer: the run's; None before `bound`.
    """

    metric: ClassVar[str] = "loss"
    lower: ClassVar[tuple[str, ...]] = ("loss",)
    kind: ClassVar[str] = "sequence"
    causal: ClassVar[bool | None] = None
    facts: ClassVar[Any] = {}
    of_losses: ClassVar[tuple[str, ...]] = ()
    tokenizer: ClassVar[Any] = None  # a Subwords

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Blames what methods of a class of the user's own raise on `config.task`."""
        super().__init_subclass__(**kwargs)
        path = f"{cls.__module__}:{cls.__qualname__}"
        if not _is_own(path):
            for name, method in [*vars(cls).items()]:
                if inspect.isfunction(method) and not name.startswith("_") and hasattr(Task, name):
                    setattr(cls, name, _blamed(method, path))

    # Before a run: settings, and what they mean for the data.

    def validate(self) -> None:
        """Checks the settings against each other; each alone is checked before.

        Raises:
          UserError: what is wrong.
        """

    def columns(self) -> list[Column]:
        """The columns that it reads: its fields made by `settings.column`, unless they are ""."""
        return [
            Column(spec.name, getattr(self, spec.name), spec.metadata["column"])
            for spec in dataclasses.fields(self)
            if "column" in spec.metadata and getattr(self, spec.name)
        ]

    @property
    def text_columns(self) -> list[Column]:
        """Columns that a model reads, and that a row to predict has."""
        return [column for column in self.columns() if column.kind in (TEXT, WORDS)]

    def cells_of(self, text: str) -> dict[str, Any]:
        """The cells of a row of which a plain text is given.

        Raises:
          UserError: a text is not enough.
        """
        columns = self.text_columns
        if len(columns) != 1 or columns[0].kind != TEXT:
            raise UserError(
                "the model takes more than a text: give the rows as columns, --input or --format"
                " csv, tsv or jsonl"
            )
        return {columns[0].key: text}

    @property
    def example(self) -> str:
        """A text to try a prediction with, in the commands that a run ends with."""
        return "a text of your own"

    @property
    def pairs(self) -> bool:
        """True if a row has two texts, so that tokens have types."""
        return len(self.text_columns) > 1

    def stratum(self, row: Row) -> str:
        """The kind of row that validation and test should have their share of, such as a label."""
        return ""

    def texts(self, row: Row) -> list[str]:
        """The texts of a row, on which a tokenizer is trained."""
        cells = [row[column.key] for column in self.text_columns]
        return [cell if isinstance(cell, str) else " ".join(cell) for cell in cells]

    def identity(self, row: Row) -> list[str]:
        """The texts of a row by which it is known: rows with equal ones go to one set."""
        return self.texts(row)

    def learn(
        self, rows: Iterator[Row], title: str, known: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Facts of the training rows that the task needs; JSON can hold them.

        Args:
          rows: read if they are asked for.
          title: what is read, for a message.
          known: by a column's key, names that the dataset has for its labels, in order.

        Raises:
          UserError: nothing can be learned from these rows.
        """
        return {}

    def for_some(self, facts: Mapping[str, Any], rows: Sequence[Row]) -> Task:
        """The task with settings for a few of its training rows, which may show less than all do.

        Args:
          facts: what it learned from all of them.
          rows: those few.
        """
        return self

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Checks facts that come from a file, and may be damaged.

        Raises:
          trainer.storage.fields.Invalid: `learn` would give no such facts.
        """

    def bound(self, facts: Mapping[str, Any], tokenizer: Subwords | None = None) -> Task:
        """The task of one run. Raises UserError where `start` does."""
        made = copy.copy(self)
        vars(made).update(facts=facts, tokenizer=tokenizer)
        made.start()
        return made

    def start(self) -> None:
        """Makes what the methods below share, and checks the settings against the facts.

        Raises:
          UserError: they do not fit.
        """

    def alone(self) -> Task:
        """The bound task for rows that stand each by itself, as texts to predict do.

        Its `pieces` may differ; its model is that of the task.
        """
        return self

    # The rows

    def arrays(self) -> dict[str, Array]:
        """Columns of the cache besides the tokens."""
        raise NotImplementedError

    cuts_in_windows: ClassVar[bool] = (
        False  # whether `pieces` does, so that config.data.cut is idle
    )

    @property
    def longest_target(self) -> int:
        """Tokens of the longest text that a decoder writes; 0: the model has none.

        If not 0, the second part of each piece's tokens is the target of the first.
        """
        return 0

    def pieces(self, rows: Sequence[Row], encoder: TextEncoder) -> list[Piece]:
        """Rows of the cache, in order, and what is known of them without labels.

        By default one of each row, of its one or two texts.

        Raises:
          UserError: a row that cannot be used.
        """
        firsts, *more = zip(*(self.texts(row) for row in rows), strict=True)
        encoded = encoder.encode(list(firsts), list(more[0]) if more else None)
        return [Piece(i, tokens, {}) for i, tokens in enumerate(encoded)]

    def joined(self, pieces: Iterator[Piece], encoder: TextEncoder) -> Iterator[Piece]:
        """The pieces of a whole set made into others, in order: texts into blocks of one length.

        By default they stay as they are.
        """
        return pieces

    def gold(self, row: Row, piece: Piece) -> dict[str, Any]:
        """The values of the arrays that `pieces` did not give, of a piece of the row.

        Raises:
          UserError: a label that cannot be used.
        """
        return {}

    # The model

    @property
    def outputs(self) -> int:
        """Numbers that the model gives for a row, or for a token."""
        return 1

    @property
    def answer_size(self) -> int:
        """Numbers that `answers` gives for a row, or for a token."""
        return self.outputs

    def head(self, architecture: Architecture) -> keras.layers.Layer | None:
        """A head of the task's own: see `trainer.models.network.Network`.

        None: the one that config.model.head says.
        """
        return None

    @property
    def own_head(self) -> bool:
        """True if the task makes its head itself."""
        return type(self).head is not Task.head

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in order; empty where they have none."""
        return []

    @property
    def output_unit(self) -> str:
        """The way from the model's outputs to an answer, for a card; empty: it is an output."""
        return ""

    @property
    def native_kind(self) -> str:
        """The kind of its head, see `trainer.models.families`; empty: transformers has none."""
        return "" if self.own_head else self.kind

    def native_config(self) -> dict[str, Any] | None:
        """Fields of config.json of an export for transformers, besides those of the encoder.

        None: transformers has no head for this task.
        """
        return None

    def named_outputs(self) -> dict[str, Any]:
        """The names of the outputs, as transformers has them in config.json."""
        names = self.output_names or [f"LABEL_{i}" for i in range(self.outputs)]
        return {
            "id2label": {str(i): name for i, name in enumerate(names)},
            "label2id": {name: i for i, name in enumerate(names)},
        }

    # In the graph

    inputs: ClassVar[tuple[str, ...]] = INPUTS  # arrays of a prepared batch that the model takes

    def prepare(self, batch: Batch, training: bool) -> Batch:
        """The batch as it is trained on: with masked words or noise; or as it is evaluated.

        Random numbers come from `models.random`, which draws by place in the global batch, and in
        evaluation by place in the set. The batch may have no INPUTS, where a frozen encoder's
        features stand in their place.
        """
        return batch

    def weights(self, batch: Batch) -> dict[str, tf.Tensor]:
        """The weight of each row [B] or token [B, T], by the name of a loss.

        A function of the batch alone, 0 at padding. With several losses the objective is
        the sum of their means, each over its own weights.
        """
        raise NotImplementedError

    def losses(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """The losses, unweighted, with the names and shapes of `weights`.

        Args:
          batch: prepared.
          outputs: what the model gives, first axis B; in training 0 in a row of weight 0.
        """
        raise NotImplementedError

    def measures(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """Further numbers that evaluation sums over a row, [B] or [B, T]: words that are right.

        Args: see `losses`.
        """
        return {}

    def answers(self, batch: Batch, outputs: Any) -> dict[str, tf.Tensor]:
        """The part of the outputs that evaluation and prediction keep: [B], [B, k], [B, T], small.

        Args:
          batch: what the model was given: INPUTS alone of a text to predict, `inputs` of a set.
          outputs: what the model gives, first axis B.
        """
        raise NotImplementedError

    def written(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """Further answers, for which the model writes texts: of evaluation alone, in the graph.

        Args:
          model: as it is evaluated.
          batch: prepared.
        """
        return {}

    # Whether `answers` says something of a text alone, so that a SavedModel can serve it.
    serves: ClassVar[bool] = True
    word_pattern: ClassVar[str] = ""  # of a word in a plain text, where answers are of words: RE2's

    def serve(self, answers: Mapping[str, tf.Tensor], fitted: Any) -> dict[str, tf.Tensor]:
        """Outputs of a SavedModel.

        Args:
          answers: of `answers`; with a `word_pattern`, for plain texts, those at the first token of
            each word, and "place" int32 [B, W], of that token, -1 where there is none.
          fitted: of `load_fitted`.
        """
        return dict(answers)

    # On the host: the judgement of a set

    def metric_names(self) -> list[str]:
        """The metrics that can choose the best weights.

        Raises:
          UserError: one of the user's own cannot be had.
        """
        right = [self.correct_name] if type(self).correct is not Task.correct else []
        return list(dict.fromkeys([self.metric, "loss", *right]))

    def about(
        self, sets: Mapping[str, Gold], cut: Collection[str], fresh: bool = True
    ) -> tuple[list[str], list[str]]:
        """Says what the rows of train, validation and test hold.

        Args:
          sets: by name, "train" among them.
          cut: those of the sets that were cut from train.
          fresh: whether the run begins: one that goes on is not refused any more.

        Returns:
          Lines to print at the start, and notes on what looks like a mistake.

        Raises:
          UserError: what is scored could not be learned.
        """
        return [], []

    def check_kept(self, gold: Gold, scores: Scores) -> None:
        """Checks arrays that come from a file, and may be damaged; their lengths are checked.

        Raises:
          trainer.storage.fields.Invalid: no evaluation gives these.
        """

    def check(self, gold: Gold, split: str, chosen: str) -> None:
        """Refuses a set that could not be judged, before hours are spent on training.

        Args:
          gold: of the set.
          split: its name.
          chosen: the metric that chooses the best weights on this set; empty: none does.

        Raises:
          UserError: which metric, and why.
        """

    def judge(self, gold: Gold, scores: Scores) -> dict[str, Any]:
        """Metrics of a set by name, and "examples", how many rows of the data it has.

        By default the loss, and the share of rows that are `correct`.
        """
        right = self.correct(gold, scores)
        metrics: dict[str, Any] = {"loss": scores.mean_loss()}
        if right is not None:
            metrics[self.correct_name] = float(right.mean())
        return {**metrics, "examples": len(np.unique(gold["rows"]))}

    # Parts of a set that are judged each by itself, such as the rows of each label: a word for one,
    # and the metrics of each. "": there are none.
    group: ClassVar[str] = ""
    group_metrics: ClassVar[tuple[str, ...]] = ()

    def judge_groups(self, gold: Gold, scores: Scores) -> dict[str, dict[str, Any]]:
        """Metrics of each group of a set by the group's name, in any order.

        Returns:
          For each group `group_metrics` and "support", how much of the set belongs to it.
        """
        return {}

    correct_name: ClassVar[str] = "accuracy"  # of the share of rows that are right

    def correct(self, gold: Gold, scores: Scores) -> np.ndarray | None:
        """True for each row of the data that is right, in order: reports compare runs by it.

        Returns:
          bool, as many as gold["rows"] has different values; None: rows are not right or wrong.
        """
        return None

    def mistakes(self, gold: Gold, scores: Scores) -> np.ndarray:
        """Places in the set of pieces that the model got wrong, int [K], the worst first.

        By default those of rows that are not `correct`, or all, with the largest losses first.
        """
        right = self.correct(gold, scores)
        loss = np.add.reduce(list(scores.losses.values()))
        wrong = np.arange(len(loss))
        if right is not None:
            _, row = np.unique(gold["rows"], return_inverse=True)
            wrong = np.flatnonzero(~right[row])
        return wrong[np.argsort(-loss[wrong], kind="stable")]

    def captions(self, gold: Gold, answers: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        """A word or two for each of some rows: of its label, of what was answered.

        Args:
          gold: arrays of those rows alone.
          answers: of those rows.
        """
        return {}

    def show(
        self, gold: Gold, scores: Scores, mistakes: Examples, fitted: Any = None
    ) -> list[Shown]:
        """Tables and figures of a set, the given mistakes among them.

        Args:
          gold, scores: of the set.
          mistakes: those to show.
          fitted: what `fit` gave, when the run is over.
        """
        return []

    def sampled(self, model: Any, batch: Batch) -> dict[str, tf.Tensor]:
        """Outputs of the model for a few rows of validation, in the graph, for `samples`.

        Args:
          model: called with the task's `inputs`, as in evaluation.
          batch: of the rows, always the same ones; random numbers are those of evaluation.
        """
        return {}

    def samples(self, batch: Batch, sampled: Mapping[str, tf.Tensor]) -> list[Shown]:
        """Tables of what the model makes of a few rows of validation, while it trains.

        Args:
          batch: of the rows.
          sampled: of them.
        """
        return []

    def fit(self, step: int, gold: Gold, scores: Scores) -> Fitted | None:
        """Fits on validation what predictions need besides the weights of `step`; or None."""
        return None

    def load_fitted(self, path: Path) -> Any:
        """Reads what `Fitted.save` wrote; None where there is no such file.

        Raises:
          UserError: it was damaged.
        """
        return None

    def note(self, fitted: Any, result: Mapping[str, Any] | None) -> str:
        """A remark for users of its predictions; empty for none.

        Args:
          fitted: of `load_fitted`.
          result: result.json; None: the run has not ended.
        """
        return ""

    def check_results(self, values: Mapping[str, Any]) -> None:
        """Checks what `results` gave, in a result.json that may be damaged.

        Raises:
          trainer.storage.fields.Invalid: it would give no such values.
        """

    def results(self, fitted: Any, gold: Gold, scores: Scores) -> dict[str, Any]:
        """Further entries of result.json: what was fitted, and what it gives on the test set."""
        return {}

    def summary(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Lines about a run that ended: titles, and a line each.

        Args:
          result: what result.json holds; it has validation or test.
        """
        test, title = result.get("test"), "Test"
        if test is None:
            test, title = result["validation"], "Validation"
        names = dict.fromkeys((self.metric, "loss"))
        said = ", ".join(f"{name} {test[name]:.4f}" for name in names if name in test)
        return [(title, f"{said} on {test['examples']:,} examples")]

    # On the host: predictions

    line_fields: ClassVar[tuple[str, ...]] = ()  # what each prediction has, for a file of them

    def rule(self, fitted: Any, threshold: str) -> Any:
        """Makes the rule that turns answers into predictions.

        Args:
          fitted: of `load_fitted`.
          threshold: the user's choice; empty: none.

        Raises:
          UserError: the choice does not fit this task.
        """
        if threshold:
            raise UserError("--threshold is for two classes: leave it out")
        return fitted

    def line(
        self, row: Row, pieces: Sequence[Piece], answers: Mapping[str, np.ndarray], rule: Any
    ) -> dict[str, Any]:
        """A prediction as an object of JSON, without its id.

        Args:
          row: the row; it has no labels.
          pieces: of `pieces` for it.
          answers: by name, one for each piece; an axis of tokens may be too long.
          rule: of `rule`.

        Raises:
          UserError: the answers are not finite.
        """
        raise NotImplementedError

    def table_columns(self) -> list[str]:
        """The columns of a table of predictions: by default a field of `line_fields` each."""
        return [f"predicted {name}" for name in self.line_fields] or ["prediction"]

    def cells(self, line: Mapping[str, Any]) -> list[Any]:
        """The cells of those columns: texts, or what JSON can hold; None is an empty one.

        Args:
          line: of `line`; without `line_fields` it is the one cell.
        """
        return [line[name] for name in self.line_fields] if self.line_fields else [dict(line)]

    @property
    def writes(self) -> bool:
        """True if models of this task continue texts."""
        return type(self).continuing is not Task.continuing

    def continuing(self) -> Task | None:
        """The use of a language model that continues texts; None: it does not."""
        return None

    def writing(self, positions: int, **given: Any) -> Writing:
        """Settings of the texts that it writes, given some of them; see `writing_for`."""
        return writing_for(positions, **given)

    def scoring(self) -> Task | None:
        """The use of a language model whose predictions are the probabilities of texts, or None."""
        return None

    @property
    def scores_texts(self) -> bool:
        """True if models of this task give texts a probability."""
        return type(self).scoring is not Task.scoring

    calibrates: ClassVar[bool] = False  # whether `fit` gives a temperature
    explains: ClassVar[bool] = False  # whether `explained` gives something

    def explained(self, line: Mapping[str, Any]) -> tuple[int, str, float] | None:
        """The output that a prediction is of, its name and its share; None: nothing to explain."""
        return None


class Fitted:
    """Values that a task fits on validation when the run is over: a temperature, thresholds.

    Attributes:
      step: the step of the weights that they fit, which `fit` was told.
    """

    step: int

    def save(self, path: Path) -> None:
        """Writes it as sealed JSON, whole or not at all."""
        raise NotImplementedError


def _is_own(path: str) -> bool:
    """True for the import path of a class of this library."""
    return path.partition(".")[0] == __name__.partition(".")[0]


def _blamed(method: Callable[..., Any], path: str) -> Callable[..., Any]:
    """The method of a class at `path`; what it raises is said of that class."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with blamed_on(path, "config.task"):
            return method(*args, **kwargs)

    @functools.wraps(method)
    def each(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with blamed_on(path, "config.task"):
            yield from method(*args, **kwargs)

    return each if inspect.isgeneratorfunction(method) else call


def class_path(task: Task) -> str:
    """The import path of a task's class, "package.module:Class"."""
    return f"{type(task).__module__}:{type(task).__qualname__}"


def encoding_of(task: Task) -> list[Any]:
    """Everything of a task that decides what `pieces` and `gold` make; JSON can hold it.

    A class of the user's own counts by its source: who changes it gets other rows.
    """
    path, code = class_path(task), ""
    foreign = not _is_own(path)
    if foreign:
        with contextlib.suppress(OSError, TypeError):
            code = inspect.getsource(inspect.getmodule(type(task)) or type(task))
    held = {
        spec.name: getattr(task, spec.name)
        for spec in dataclasses.fields(task)
        if "column" in spec.metadata or "encodes" in spec.metadata or foreign
    }
    return [path, code, held, task.facts]


def unnamed(task: Task) -> list[Column]:
    """The columns that the task needs and does not name: they are found in the file."""
    specs = [spec for spec in dataclasses.fields(task) if spec.metadata.get("needed")]
    keys = [spec.name for spec in specs if not getattr(task, spec.name)]
    if not keys:
        return []
    named = copy.copy(task)
    vars(named).update({key: key for key in keys})
    return [column._replace(name="") for column in named.columns() if column.key in keys]


def check_columns(task: Task) -> None:
    """Refuses outputs or a column of an unknown kind, or a column that is named twice.

    Raises:
      UserError: which.
    """
    if task.kind not in ("sequence", "tokens"):
        raise UserError(f"{class_path(task)}.kind={task.kind!r} is neither 'sequence' nor 'tokens'")
    names: dict[str, str] = {}
    for column in task.columns():
        if column.kind not in KINDS:
            raise UserError(f"{column.field} is of an unknown kind {column.kind!r}: {[*KINDS]}")
        if column.name in names:
            raise UserError(
                f"{column.field}={column.name!r} is {names[column.name]} too: name another column"
            )
        names[column.name] = column.field
    count = len(task.text_columns)
    if not count and not unnamed(task):
        raise UserError(f"config.task of {class_path(task)} has no column of text or words")
    if count > 2 and type(task).pieces is Task.pieces:
        raise UserError(
            f"config.task of {class_path(task)} has {count} columns of text, and a piece is made of"
            " one or two: give it a method `pieces`"
        )


def check_arrays(task: Task) -> None:
    """Refuses arrays of a task of the user's own that no table can have.

    Raises:
      UserError: which, and why.
    """
    path = class_path(task)
    with blamed_on(path, "config.task"):
        arrays = task.arrays()
    if not isinstance(arrays, dict):
        raise UserError(f"config.task={path!r}: arrays must return Array by name, a dict")
    for name, array in arrays.items():
        said = f"config.task={path!r}: array {shown(name)}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(f"{said}: name it by a word of letters, digits and _")
        if name in _TAKEN:
            raise UserError(f"{said}: this name is taken, as {', '.join(sorted(_TAKEN))} are")
        if not isinstance(array, Array):
            raise UserError(f"{said} must be a trainer.tasks.task.Array, is {shown(array)}")
        if not isinstance(array.dtype, str) or array.dtype not in (*DTYPES, TEXTS):
            names = _names((*DTYPES, TEXTS))
            raise UserError(f"{said}: dtype={shown(array.dtype)}: name one of {names}")
        if array.axis not in ("", "input"):
            raise UserError(f"{said}: axis={shown(array.axis)}: give '' or 'input'")
        if array.dtype == TEXTS:
            if array != Array(TEXTS):
                raise UserError(f"{said} holds texts: it has no axis, pad or size")
            continue
        if not _holds(array.dtype, array.pad):
            raise UserError(f"{said} is {array.dtype}, which cannot hold pad={shown(array.pad)}")
        if type(array.size) is not int or not 0 <= array.size <= 10**6:
            raise UserError(f"{said}: size={shown(array.size)} must be 0 to 1,000,000")


def _names(of: Sequence[str]) -> str:
    return ", ".join(map(repr, of))


def _holds(dtype: str, value: object) -> bool:
    """True for a finite number of this type."""
    if not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    number = value.item() if isinstance(value, np.generic) else value
    if dtype.startswith("float"):
        return abs(number) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return int(limits.min) <= number <= int(limits.max) and number == int(number)


def check_finite(answer: np.ndarray, row: Row) -> None:
    """Refuses answers to a row that are not finite. Raises UserError."""
    if not np.isfinite(answer).all():
        raise UserError(
            f"the model's outputs for {row.where} are not finite: its weights are too large, or"
            " damaged"
        )


def weighted_sums(task: Task, batch: Batch, outputs: Any) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """For each loss the sum of weighted losses and the sum of weights, scalars.

    A row of weight 0 has loss 0 and passes an exactly zero gradient to its outputs, even where they
    are infinite or NaN: they are replaced before the losses see them, because in the backward pass
    0 × NaN would be NaN.
    """
    weights = task.weights(batch)
    losses = task.losses(batch, _without_padding(outputs, list(weights.values())))
    sums = []
    for name in weights:  # in whose order the step has the sums of weights
        each = losses[name]
        weight = tf.cast(weights[name], each.dtype)
        counted = tf.where(weight > 0, each, tf.zeros_like(each))
        sums.append((tf.reduce_sum(weight * counted), tf.reduce_sum(weight)))
    return sums


def _without_padding(outputs: Any, weights: Sequence[tf.Tensor]) -> Any:
    """The outputs, with zeros in rows in which nothing has a weight."""
    counted = [tf.reduce_any(tf.reshape(w > 0, [tf.shape(w)[0], -1]), 1) for w in weights]
    counts = tf.reduce_any(tf.stack(counted), 0)

    def without(output: tf.Tensor) -> tf.Tensor:
        # Of version 1, which takes a condition for each row, and copies whole rows.
        return tf.compat.v1.where(counts, output, tf.zeros_like(output))

    return tf.nest.map_structure(without, outputs)
