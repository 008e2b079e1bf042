"""The metrics that docs/use/metrics.md lists: those that the tasks give, and no others."""

import re

import numpy as np
import pytest
from programs import ROOT

from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Scores, Task

PAGE = (ROOT / "docs" / "use" / "metrics.md").read_text(encoding="utf-8")
ROWS = {"rows": np.arange(4), "lengths": np.full(4, 1, np.int32)}
LOGITS = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
LABELS = np.array([0, 1, 0, 1], np.int32)
SHARES = np.array([1.0, 2.0, 3.0, 5.0])
TAGS = {"tag": LABELS, "word": np.zeros(4, np.int32)}
KINDS = {
    "Classification, two classes": (
        Classification().bound({"labels": ["a", "b"]}),
        {"label": LABELS},
        {"logits": LOGITS[:, :2]},
    ),
    "Classification, more classes": (
        Classification().bound({"labels": ["a", "b", "c"]}),
        {"label": LABELS},
        {"logits": LOGITS},
    ),
    "Several labels": (
        Classification(multi_label=True).bound({"labels": ["a", "b", "c"]}),
        {"label": np.eye(4, 3, dtype=np.uint8)},
        {"logits": LOGITS},
    ),
    "Regression": (Regression().bound({}), {"score": SHARES}, {"score": SHARES[::-1]}),
    "Tagging": (
        Tagging().bound({"types": ["A"], "scheme": "BIO"}),
        TAGS,
        {"tag": LABELS[:, None], "probability": np.ones((4, 1))},
    ),
}


def section(title: str) -> str:
    """The text under a heading of the page."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, title
    return found[1]


def scores(answers) -> Scores:
    return Scores({"loss": np.ones(4)}, {"loss": np.ones(4)}, answers)


@pytest.mark.parametrize("title", [*KINDS])
def test_the_page_lists_what_the_task_gives(title):
    task, gold, answers = KINDS[title]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section(title), re.M)
    names = [name for name, _ in rows]
    assert names == task.metric_names()
    assert {*task.judge({**ROWS, **gold}, scores(answers))} == {*names, "examples"}
    lower = re.findall(r"`(\w+)`", re.search(r"Larger is better, but for (.+)\.", PAGE)[1])
    assert {*lower} & {*names} == {*task.lower} & {*names}
    chosen = [name for name, said in rows if "chooses the best weights" in said]
    assert chosen == [task.metric]


def test_the_page_lists_what_each_label_has():
    said = section("Of each label, or type of entity")
    for title, (task, gold, answers) in KINDS.items():
        groups = task.judge_groups({**ROWS, **gold}, scores(answers))
        assert bool(groups) is bool(task.group) is (title != "Regression")
        for values in groups.values():
            assert [*values] == [*task.group_metrics, "support"]
            assert " and ".join([", ".join(f"`{n}`" for n in task.group_metrics), "`support`"]) in (
                said
            )


def test_a_task_has_no_groups_unless_it_says_so():
    assert Task().judge_groups(ROWS, scores({})) == {}
