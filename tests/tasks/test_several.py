"""Several tasks as text to text: each judged by its own metric."""

import numpy as np
import pytest
import words

from trainer.data.columns import Row
from trainer.data.encode import TextEncoder
from trainer.errors import UserError
from trainer.storage import fields
from trainer.tasks.several import SeveralTasks
from trainer.tasks.task import Scores
from trainer.tasks.text_to_text import WORDS

METRICS = ("mood=accuracy", "sense=matthews", "other=bleu")


def made(*metrics: str) -> SeveralTasks:
    given = SeveralTasks(metrics=metrics or METRICS, target_length=6)
    given.validate()
    return given.bound({}, words.TOKENIZER)


def scored(of: list[str], targets: list[str], written: list[str]):
    """Gold and scores of rows of these corpora."""
    task = made()
    rows = [(f"a {letter}", target) for letter, target in zip("abcdefgh", targets, strict=False)]
    encoder = TextEncoder(words.TOKENIZER, 12, "head")
    values = [
        task.gold(Row({"source": s, "target": t, "corpus": name}, 0, "file"), None)
        for (s, t), name in zip(rows, of, strict=True)
    ]
    ids, count = np.zeros((len(of), 6), np.int32), np.zeros(len(of), np.int32)
    for i, text in enumerate(written):
        own = [*encoder.contents([text])[0].tolist(), task.end_id]
        ids[i, : len(own)], count[i] = own, len(own)
    gold = {name: [each[name] for each in values] for name in ("source", "target")}
    gold |= {"corpus": np.array([each["corpus"] for each in values]), "rows": np.arange(len(of))}
    ones = np.ones(len(of), np.float32)
    answers = {"ids": ids, "count": count, "log_probability": -ones}
    return task, gold, Scores({WORDS: 2 * ones}, {WORDS: 4 * ones}, answers)


def test_a_set_of_one_corpus_has_its_metrics_by_their_own_names():
    task, gold, scores = scored(["mood"] * 4, ["a", "b", "a", "b"], ["a", "b", "a", "c"])
    found = task.judge(gold, scores)
    assert (found["accuracy"], found["mean"], found["examples"]) == (0.75, 0.75, 4)
    assert found["mood_accuracy"] == 0.75  # as another set has it
    assert (found["loss"], found["tokens"]) == (0.5, 16)
    assert "bleu" not in found
    task, gold, scores = scored(["sense"] * 4, ["a", "b", "a", "b"], ["a", "b", "b", "a"])
    assert task.judge(gold, scores)["matthews"] == 0


def test_a_set_of_several_has_the_metric_of_each():
    task, gold, scores = scored(
        ["mood", "other", "mood", "sense", "sense"],
        ["a", "b a b a", "b", "a", "b"],
        ["a", "b a b a", "a", "a", "b"],
    )
    found = task.judge(gold, scores)
    own = {"mood_accuracy": 0.5, "sense_matthews": 1.0, "other_bleu": pytest.approx(100)}
    assert {name: found[name] for name in own} == own
    assert found["mean"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert set(task.metric_names()) <= found.keys()
    task.check_kept(gold, scores)
    with pytest.raises(fields.Invalid):
        task.check_kept({**gold, "corpus": gold["corpus"] + 1}, scores)
    task.check(gold, "validation", "mood_accuracy")
    with pytest.raises(UserError, match="validation has no row of mood"):
        task.check({"corpus": np.array([1, 2])}, "validation", "mood_accuracy")
    said = task.summary({"validation": found, "more_tests": {"mood": found}})
    assert [title for title, _ in said] == ["Validation", "Test mood"]


def test_ratings_are_correlated_as_numbers():
    task = made("mood=pearson")
    gold = {"corpus": np.zeros(4, np.int32)}
    task._judged = lambda *args: (
        ["1.5", "0.5", "x", "inf"],
        [["3"], ["1"], ["0"], ["0"]],
        range(4),
    )
    ((count, found),) = task._of_corpora(gold, None).values()
    assert count == 4
    assert found == {"pearson": pytest.approx(1), "spearman": pytest.approx(1)}
    task._judged = lambda *args: (["1"] * 2, [["3"], ["1"]], range(2))
    assert task._of_corpora(gold, None)["mood"][1]["pearson"] == 0
    row = Row({"source": "a", "target": "good", "corpus": "mood"}, 0, "file a.tsv")
    with pytest.raises(UserError, match=r"a\.tsv, row 1: the target 'good' is no number, which"):
        task.gold(row, None)


@pytest.mark.parametrize(("metric", "value"), [("squad_f1", 0.75), ("spans_f1", 2 / 3)])
def test_answers_and_spans_have_metrics_of_their_own(metric, value):
    task = made(f"mood={metric}")
    written = ["The cat; a dog", "none"]
    wanted = [["cat; fish"], ["none"]]
    if metric == "spans_f1":
        written[0] = "cat;  x : y"
        wanted = [["x : y ; cat; fish; bird"], ["none"]]
    task._judged = lambda *args: (written, wanted, range(2))
    (found,) = task._of_corpora({"corpus": np.zeros(2, np.int32)}, None).values()
    assert found[1][metric] == pytest.approx(value)


def test_a_corpus_without_a_metric_is_refused():
    row = Row({"source": "a", "target": "b", "corpus": "x"}, 0, "file a.tsv")
    with pytest.raises(UserError, match=r"a\.tsv, row 1: config\.task\.metrics has none for 'x'"):
        made().gold(row, None)


@pytest.mark.parametrize("metrics", [("a=rank",), ("=bleu",), ("a=bleu", "a=accuracy"), ("a",)])
def test_metrics_that_cannot_be(metrics):
    with pytest.raises(UserError, match="give one to each corpus, such as 'sst2=accuracy'"):
        made(*metrics)
