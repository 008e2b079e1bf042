"""The rows of a file, predicted and written chunk by chunk."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from trainer.data.columns import Row
from trainer.errors import Interrupted, UserError
from trainer.imports import blamed_on
from trainer.prediction.attribution import Explainer
from trainer.prediction.inputs import Given
from trainer.prediction.page import MOST, Explained
from trainer.prediction.predictor import Answered, chunks
from trainer.tasks.task import Task, class_path


class Sink(Protocol):
    """The place that lines go to; the first `done` of them are there already."""

    done: int

    def render(self, values: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
        """The line of a prediction."""

    def check(self, line: str) -> None:
        """Refuses to go on unless it is the last line there."""

    def write(self, line: str) -> None:
        """Appends a line."""


class Answering(Protocol):
    """Gives the answers that `task` makes lines of, for so many rows at once."""

    task: Task
    at_once: int

    def run(self, rows: Sequence[Row]) -> list[Answered]:
        """The answers to rows, in their order. Raises Interrupted, UserError."""


class Job:
    """Predicts rows.

    Args:
      predictor: gives the answers.
      rule: what turns them into predictions, see `Task.rule`.
      explainer: adds attributions, if it is there.
      stop: asked between batches.

    Attributes:
      explained: the first MOST explanations, for a page.
      written: how many predictions were.
    """

    def __init__(
        self,
        predictor: Answering,
        rule: Any,
        explainer: Explainer | None,
        stop: Callable[[], bool],
    ):
        self._predictor, self._rule = predictor, rule
        self._explainer, self._stop = explainer, stop
        self._task = predictor.task
        self.explained: list[Explained] = []
        self.written = 0
        self._started: tuple[float, int] | None = None  # when `rate` begins, and what was written

    @property
    def rate(self) -> float | None:
        """Predictions a second since the first chunk, which waits for a compilation.

        None: there was one chunk only.
        """
        if self._started is None or self.written == self._started[1]:
            return None
        began, before = self._started
        return (self.written - before) / (time.monotonic() - began)

    def run(self, given: Iterator[Given], sink: Sink, advance: Callable[[int], None]) -> None:
        """Predicts what `sink` has not got yet.

        Args:
          given: the rows from the first on, whatever is done.
          sink: takes the lines.
          advance: told after every chunk how many rows it had.

        Raises:
          Interrupted: a signal came; whole lines are written.
          UserError: a row cannot be read, what is done belongs to other rows or another model, or
            a line cannot be written.
        """
        number = 0
        for chunk in chunks(given, self._predictor.at_once):
            done = max(sink.done - number, 0)
            if done <= len(chunk):  # all of it is scored: results depend slightly on the batch
                answered = self._predictor.run([each.row for each in chunk])
                pairs = list(zip(chunk, answered, strict=True))
                if done:
                    each, answers = pairs[done - 1]
                    sink.check(sink.render(self._values(each, answers), each.kept))
                for each, answers in pairs[done:]:
                    sink.write(sink.render(self._values(each, answers), each.kept))
                    self.written += 1
                self._started = self._started or (time.monotonic(), self.written)
            number += len(chunk)
            advance(len(chunk))
        if sink.done > number:
            raise UserError(
                f"--output has {sink.done} lines already, there are {number} texts: --resume needs"
                " the same texts as before"
            )

    def _values(self, given: Given, answered: Answered) -> dict[str, Any]:
        row = given.row
        with blamed_on(class_path(self._task), "config.task"):
            line: dict[str, Any] = {"id": given.id, **self._task.line(row, *answered, self._rule)}
        if self._explainer and (what := self._task.explained(line)):
            if self._stop():
                raise Interrupted
            output, name, share = what
            (text,) = self._task.texts(row)
            found = self._explainer.explain(text, output)
            pairs = zip(found.tokens, found.values.tolist(), strict=True)
            line["attributions"] = [[token, float(f"{value:.6g}")] for token, value in pairs]
            if len(self.explained) < MOST:
                self.explained.append(Explained(given.id, text, name, share, found))
        return line
