"""The texts of a file, predicted and written chunk by chunk."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from trainer.errors import Interrupted, UserError
from trainer.prediction.attribution import Explainer
from trainer.prediction.inputs import Text
from trainer.prediction.page import MOST, Explained
from trainer.prediction.predictor import Predictor, chunks


class Sink(Protocol):
    """Where lines go; the first `done` of them are there already."""

    done: int

    def check(self, line: str) -> None:
        """Refuses to go on unless it is the last line there."""

    def write(self, line: str) -> None:
        """Appends a line."""


class Job:
    """Predicts texts.

    Args:
      predictor: scores them.
      threshold: for two classes, from which probability on it is the second one; None: the more
        probable class.
      explainer: adds attributions, if it is there.
      stop: asked between batches.

    Attributes:
      explained: the first MOST explanations, for a page.
    """

    def __init__(
        self,
        predictor: Predictor,
        threshold: float | None,
        explainer: Explainer | None,
        stop: Callable[[], bool],
    ):
        self._predictor, self._threshold = predictor, threshold
        self._explainer, self._stop = explainer, stop
        self._names = predictor.trained.id2label
        self.explained: list[Explained] = []

    def run(self, texts: Iterator[Text], sink: Sink, advance: Callable[[int], None]) -> None:
        """Predicts what `sink` has not got yet.

        Args:
          texts: from the first on, whatever is done.
          sink: takes the lines.
          advance: told after every chunk how many texts it had.

        Raises:
          Interrupted: a signal came; whole lines are written.
          UserError: a text cannot be read, what is done belongs to other texts or another model, or
            a line cannot be written.
        """
        number = 0
        for chunk in chunks(texts):
            done = max(sink.done - number, 0)
            if done <= len(chunk):  # all of it is scored, so that each text has the same company
                rows = self._predictor.probabilities(chunk)
                pairs = list(zip(chunk, rows, strict=True))
                if done:
                    sink.check(self._line(*pairs[done - 1]))
                for text, row in pairs[done:]:
                    sink.write(self._line(text, row))
            number += len(chunk)
            advance(len(chunk))
        if sink.done > number:
            raise UserError(
                f"--output has {sink.done} lines already, there are {number} texts: --resume needs"
                " the same texts as before"
            )

    def _line(self, text: Text, row: np.ndarray) -> str:
        label = int(row.argmax() if self._threshold is None else row[1] >= self._threshold)
        probabilities = [float(f"{value:.9g}") for value in row]
        line: dict[str, Any] = {
            "id": text.id,
            "label": self._names[label],
            "probabilities": probabilities,
        }
        if self._explainer:
            if self._stop():
                raise Interrupted
            found = self._explainer.explain(text, label)
            pairs = zip(found.tokens, found.values.tolist(), strict=True)
            line["attributions"] = [[token, float(f"{value:.6g}")] for token, value in pairs]
            if len(self.explained) < MOST:
                explained = Explained(text.id, text.text, self._names[label], row[label], found)
                self.explained.append(explained)
        return json.dumps(line, ensure_ascii=False)
