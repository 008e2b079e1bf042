"""Strata: sets cut from train by label; and what is looked at of all rows."""

import dataclasses
import itertools
from collections import Counter

import pytest

from tests.data.conftest import opened
from trainer.data.columns import Row
from trainer.data.survey import SAMPLE, Strata, place_of, survey
from trainer.errors import UserError
from trainer.tasks.classification import Classification

SHARES = {"validation": 0.1, "test": 0.2}


def parts(rows, shares=SHARES) -> list[str]:
    made = [Row({"text": text, "label": label}, i, "t") for i, (text, label) in enumerate(rows)]
    strata = Strata(iter(made), Classification(), shares)
    return [strata.part(place_of(text)) for text, _ in rows]


def test_each_label_has_its_share_in_each_part():
    rows = [
        (f"{label} {i}", label) for label, count in (("a", 200), ("b", 30)) for i in range(count)
    ]
    found = Counter(zip(parts(rows), (label for _, label in rows), strict=True))
    assert found == {
        **{("train", "a"): 140, ("validation", "a"): 20, ("test", "a"): 40},
        **{("train", "b"): 21, ("validation", "b"): 3, ("test", "b"): 6},
    }


def test_a_text_is_never_on_two_sides_whatever_its_labels():
    rows = [(f"text {i % 50}", "ab"[i // 50]) for i in range(100)]
    found = parts(rows)
    assert found[:50] == found[50:]
    assert set(found) == {"train", "validation", "test"}


@pytest.mark.parametrize(("count", "held"), [(1, {}), (2, {}), (5, {"validation": 1, "test": 1})])
def test_a_small_label_stays_in_train_and_one_of_five_rows_is_everywhere(count, held):
    found = Counter(parts([(f"text {i}", "a") for i in range(count)]))
    assert found == {"train": count - sum(held.values()), **held}


def test_the_order_of_the_rows_does_not_matter():
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(100)]
    assert parts(rows) == parts(rows[::-1])[::-1]


def test_a_source_cuts_both_parts_from_train(make_files):
    rows = [(f"text {i}", "ab"[i % 4 == 0]) for i in range(200)]
    data = dataclasses.replace(make_files(rows), test="", test_share=0.2)
    for stratify in (True, False):
        source = opened(dataclasses.replace(data, stratify=stratify))
        assert source.names == ["train", "validation", "test"]
        assert source.cut == ["validation", "test"]
        ids = {name: [row.id for row in source.rows(name)] for name in source.names}
        assert sorted(itertools.chain(*ids.values())) == list(range(200))
        if stratify:
            assert {name: len(found) for name, found in ids.items()} == {
                **{"train": 140, "validation": 20, "test": 40}
            }
    made = [dataclasses.replace(data, stratify=stratify) for stratify in (True, False)]
    assert len({opened(each).fingerprint("test") for each in made}) == 2


def test_a_file_of_too_few_rows_says_which_part_is_empty(make_files):
    data = make_files([("one", "a"), ("two", "b")])
    source = opened(dataclasses.replace(data, test="", test_share=0.1, stratify=True))
    with pytest.raises(UserError, match=r"validation_share=0\.1 of .* leaves no example for valid"):
        list(source.rows("validation"))


@pytest.mark.parametrize("count", [3, 2 * SAMPLE, 5 * SAMPLE])
def test_a_survey_counts_and_samples_evenly(count):
    rows = (Row({"text": str(i), "label": "a"}, i, "t") for i in range(count))
    found = survey(rows, Classification())
    assert found.rows == count
    numbers = [int(text) for (text,) in found.sample]
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    assert len(steps) == 1
    assert min(count, SAMPLE) <= len(numbers) <= 2 * SAMPLE
    assert numbers[-1] + steps.pop() >= count
