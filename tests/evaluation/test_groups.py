"""Groups of a set: their order, their table, and their entries in result.json."""

import numpy as np

from trainer.evaluation import groups
from trainer.storage.plain import to_json
from trainer.tasks.shown import LARGE
from trainer.tasks.task import Task


class Genres(Task):
    """Judges so many genres, the rarest first; a metric is not always defined."""

    group, group_metrics = "genre", ("f1",)

    def __init__(self, count: int):
        self.count = count

    def judge_groups(self, gold, scores):
        return {
            f"genre {i}": {"f1": np.float32(np.nan), "own": 3, "support": np.int64(i)}
            for i in range(self.count)
        }


def some(count: int) -> dict:
    return {f"class {i}": {"f1": i / count, "support": count - i} for i in range(count)}


def test_groups_are_by_set_and_name():
    few = some(3)
    found = groups.entries({"validation": few, "test": few})
    assert found == {"groups": {"validation": few, "test": few}}
    assert groups.entries({"test": {}}) == {}


def test_of_very_many_groups_the_most_frequent_are_kept():
    found = groups.entries({"validation": some(groups.KEPT), "test": some(10_000)})
    assert [*found["groups"]["test"]] == [f"class {i}" for i in range(groups.KEPT)]
    assert found["groups_left_out"] == {"validation": 0, "test": 10_000 - groups.KEPT}
    assert len(to_json(found)) < 2**16


def test_the_most_frequent_come_first_whatever_the_task_gives():
    task = Genres(3)
    found = groups.judged(task, {}, None)
    assert [*found] == ["genre 2", "genre 1", "genre 0"]
    (table,) = groups.tables(task, found)
    assert (table.name, table.head) == ("by genre", ("genre", "support", "f1"))
    assert [row[:2] for row in table.rows] == [("genre 2", 2), ("genre 1", 1), ("genre 0", 0)]
    assert all(type(row[1]) is int and np.isnan(row[2]) for row in table.rows)


def test_of_many_groups_the_table_has_the_most_frequent():
    task = Genres(LARGE + 1)
    (table,) = groups.tables(task, groups.judged(task, {}, None))
    assert table.name == "by genre, the 30 most frequent of 31"
    assert [row[1] for row in table.rows] == [*range(LARGE, 0, -1)]


def test_a_task_without_groups_has_no_table():
    assert groups.judged(Task(), {}, None) == {}
    assert groups.tables(Task(), {}) == []
