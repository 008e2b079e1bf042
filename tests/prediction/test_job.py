"""Jobs: their output, how they go on, and when they refuse to."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from trainer.data.columns import Row
from trainer.errors import Interrupted, UserError
from trainer.prediction import job
from trainer.prediction.attribution import Attribution
from trainer.prediction.inputs import Given
from trainer.prediction.job import Job
from trainer.prediction.output import Output
from trainer.prediction.predictor import CHUNK_TEXTS, Answered
from trainer.tasks.classification import Rule

COUNT = 2 * CHUNK_TEXTS + 9
RULE = Rule()
TASK = tiny.classification(["neg", "pos"])


def given(i: int, length: int, id_: int | str | None = None) -> Given:
    return Given(i if id_ is None else id_, Row({"text": "x" * length}, i, "the file"))


TEXTS = [given(i, i % 7) for i in range(COUNT)]


class Predictor:
    """Scores a text by its length and `slope`."""

    task, at_once = TASK, CHUNK_TEXTS

    def __init__(self, slope: float = 0.1):
        self._slope, self.scored = slope, 0

    def run(self, rows: Sequence[Row]) -> list[Answered]:
        self.scored += len(rows)
        logits = [np.array([[1.0, self._slope * len(row["text"])]]) for row in rows]
        return [Answered([], {"logits": each}) for each in logits]


def run(path: Path, predictor: Predictor, texts=TEXTS, rule=RULE) -> None:
    with Output(path, resume=True, fields=TASK.line_fields) as sink:
        made = Job(predictor, rule, None, lambda: False)
        made.run(iter(texts), sink, lambda count: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("job") / "out.jsonl"
    run(path, Predictor())
    return path.read_bytes()


@pytest.mark.parametrize("done", [0, 1, CHUNK_TEXTS, CHUNK_TEXTS + 5, COUNT])
def test_goes_on_from_any_line(tmp_path, whole, done):
    path, predictor = tmp_path / "out.jsonl", Predictor()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:done]))
    run(path, predictor)
    assert path.read_bytes() == whole
    assert predictor.scored == COUNT - max(done - 1, 0) // CHUNK_TEXTS * CHUNK_TEXTS


@pytest.mark.parametrize("done", [CHUNK_TEXTS, CHUNK_TEXTS + 4, COUNT])
@pytest.mark.parametrize(
    "other",
    [
        {"predictor": Predictor(0.11)},
        {"rule": Rule(threshold=0.0)},
        {"rule": Rule(temperature=2.0)},
        {"texts": [given(i, 6) for i in range(COUNT)]},
        {"texts": [given(i, i % 7, str(i)) for i in range(COUNT)]},
    ],
    ids=["model", "threshold", "temperature", "texts", "ids"],
)
def test_refuses_to_go_on_with_another(tmp_path, whole, other, done):
    path = tmp_path / "out.jsonl"
    held = b"".join(whole.splitlines(keepends=True)[:done])
    path.write_bytes(held)
    with pytest.raises(UserError, match=f"line {done}, is not what would stand there now"):
        run(path, **{"predictor": Predictor(), **other})
    assert path.read_bytes() == held


class Timed(Predictor):
    """Takes 100 seconds for its first rows, which wait for a compilation, and two for others."""

    seconds = 0.0

    def run(self, rows: Sequence[Row]) -> list[Answered]:
        self.seconds += 2.0 if self.scored else 100.0
        return super().run(rows)


@pytest.mark.parametrize(
    ("count", "done", "expected"),
    [
        (CHUNK_TEXTS, 0, None),
        (2 * CHUNK_TEXTS, 0, CHUNK_TEXTS / 2),
        (COUNT, 0, (COUNT - CHUNK_TEXTS) / 4),
        (COUNT, CHUNK_TEXTS + 5, 9 / 2),
    ],
)
def test_the_rate_leaves_the_first_chunk_out(tmp_path, monkeypatch, whole, count, done, expected):
    path, predictor = tmp_path / "out.jsonl", Timed()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:done]))
    monkeypatch.setattr(job, "time", SimpleNamespace(monotonic=lambda: predictor.seconds))
    with Output(path, resume=True, fields=TASK.line_fields) as sink:
        made = Job(predictor, RULE, None, lambda: False)
        made.run(iter(TEXTS[:count]), sink, lambda count: None)
    assert made.rate == expected


def test_fewer_texts_are_refused(tmp_path, whole):
    path = tmp_path / "out.jsonl"
    path.write_bytes(whole)
    with pytest.raises(UserError, match=f"{COUNT} lines already, there are 9 texts"):
        run(path, Predictor(), TEXTS[:9])


def test_a_signal_loses_no_explained_line(tmp_path):
    path, asked = tmp_path / "out.jsonl", []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 3

    explained = []
    found = Attribution(["x"], [(0, 1)], np.ones(1), 1.0, 0.0)
    explainer = SimpleNamespace(
        explain=lambda text, output: explained.append((text, output)) or found
    )
    made = Job(Predictor(), RULE, explainer, stop)
    with Output(path, resume=False, fields=TASK.line_fields) as sink, pytest.raises(Interrupted):
        made.run(iter(TEXTS), sink, lambda count: None)
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [0, 1, 2]
    assert explained == [("", 0), ("x", 0), ("xx", 0)]  # of the class that is the answer
    assert [(each.id, each.text, each.name) for each in made.explained] == [
        (0, "", "neg"), (1, "x", "neg"), (2, "xx", "neg"),
    ]  # fmt: skip
