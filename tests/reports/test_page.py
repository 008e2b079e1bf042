"""The report of runs that were written by hand."""

import dataclasses
import re

import numpy as np
import pytest
from made import EVIL, run
from sealing import reseal

from trainer.errors import UserError
from trainer.reports.finished import read_run, read_runs
from trainer.reports.page import compare, differing, render
from trainer.storage.disk import sha256_of

RIGHT = np.arange(200) % 5 > 0


def edit(folder, old, new, seals=False):
    """Changes metrics.jsonl, and its seal in result.json as a stranger can."""
    log = folder / "metrics.jsonl"
    log.write_text(log.read_text().replace(old, new, 1))
    if seals:
        digest = sha256_of(log)
        reseal(folder / "result.json", lambda v: v["sha256"].update({log.name: digest}))


def test_one_run(tmp_path):
    page = render([read_run(run(tmp_path / "one", RIGHT))])
    assert '<span id="share-1">80.00' in page
    assert page.count("<svg ") == 8
    for metric in ("loss", "precision", "recall", "f1", "auc", "calibration_error"):
        assert re.search(rf'id="{metric}-1">0\.\d{{4}}<', page), metric
    assert 'id="accuracy-1"' not in page  # it stands above already
    assert 'id="examples-1"' not in page
    assert "http://" not in re.sub(r'xmlns(:xlink)?="[^"]*"|PUBLIC "[^"]*"', "", page)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert EVIL not in page
    assert "comparison" not in page


def test_a_run_without_scores_or_calibration_is_one_line(tmp_path):
    folder = run(tmp_path / "one", RIGHT)
    reseal(folder / "result.json", lambda v: v["sha256"].pop("scores/test.npz"))
    with pytest.raises(UserError, match=r"one holds no scores of its test examples, .* over 268,4"):
        read_run(folder)
    reseal(folder / "result.json", lambda v: v.update(temperature=None))
    (folder / "calibration.json").unlink()
    with pytest.raises(UserError, match=r"outputs on validation are not all finite: there is noth"):
        read_run(folder)


def test_the_same_run_makes_the_same_page(tmp_path):
    folder = run(tmp_path / "one", RIGHT)
    assert render([read_run(folder)]) == render([read_run(folder)])


def test_more_than_two_classes_with_odd_names(tmp_path):
    names = ("a<b", "$x$", "ordinary", "never")
    labels = np.arange(200) % 3
    page = render([read_run(run(tmp_path / "one", RIGHT, names, labels=labels))])
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert "Thresholds" not in page
    assert page.count("<svg ") == 8


@pytest.mark.long
def test_several_runs_are_compared(tmp_path):
    better = RIGHT | (np.arange(200) % 10 == 0)
    folders = [
        run(tmp_path / "base", RIGHT),
        run(tmp_path / "same", RIGHT, seed=1),
        run(tmp_path / "better", better, seed=2),
    ]
    runs = [read_run(folder) for folder in folders]
    pairs = {(pair.first, pair.second): pair.found for pair in compare(runs)}
    assert pairs["base", "same"].p == 1
    assert pairs["base", "better"].sure
    assert pairs["base", "better"].p == pytest.approx(3 * 2 / 2**20)  # Holm, of 3
    assert differing(runs) == {"seed": ["0", "1", "2"]}
    page = render(runs)
    for said in ("better is better", "not told from noise", "McNemar", "Holm", "+10.00"):
        assert said in page, said
    assert page.count("<section>") == 3


def test_other_test_examples_are_refused(tmp_path):
    folders = [run(tmp_path / "one", RIGHT), run(tmp_path / "two", RIGHT[:100])]
    with pytest.raises(UserError, match="same test examples"):
        render([read_run(folder) for folder in folders])


def test_other_test_texts_of_the_same_number_are_refused(tmp_path):
    one, two, same = (read_run(run(tmp_path / name, RIGHT)) for name in ("one", "two", "same"))
    other = two._replace(derived={**two.derived, "data_fingerprint": {"test": "abd"}})
    assert len(compare([same, one])) == 1
    with pytest.raises(UserError, match="one and two were not scored on the same test examples"):
        compare([one, other])


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path):
    folders = [run(tmp_path / where / "run", RIGHT) for where in ("a/x", "b/x", "b/y")]
    assert [each.name for each in read_runs(folders)] == ["a/x/run", "b/x/run", "b/y/run"]
    assert [each.name for each in read_runs(folders[1:])] == ["x/run", "y/run"]
    assert [each.name for each in read_runs(folders[:1])] == ["run"]


def test_no_precision_is_promised_where_no_threshold_reaches_it(tmp_path):
    found = read_run(run(tmp_path / "one", RIGHT))
    only = dataclasses.replace(found.fitted, thresholds={"f1": found.fitted.thresholds["f1"]})
    assert "(the second for a precision of 0.9 there)" in render([found])
    page = render([found._replace(fitted=only)])
    assert "Thresholds on" in page
    assert "for a precision of" not in page


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "result.json").unlink(), "has not ended"),
        (lambda folder: (folder / "calibration.json").unlink(), r"calibration\.json is missing"),
        (lambda folder: (folder / "config.json").unlink(), "holds no run"),
        (lambda folder: (folder / "scores" / "test.npz").unlink(), r"test\.npz is missing"),
        (lambda folder: (folder / "metrics.jsonl").write_text("{"), r"cannot read .*metrics"),
        (lambda folder: edit(folder, '"train/loss": 0.7', '"train/loss": 0.1'), "not what was wri"),
        (lambda folder: edit(folder, '"train/loss": 0.7', '"train/loss": "0"', True), "line 1: tr"),
        (lambda folder: edit(folder, '"step": 20', '"step": -2', True), "line 3: step must be"),
        (lambda folder: edit(folder, '{"step": 20', "[" * 9000, True), "line 3: nested deeper"),
        (lambda folder: reseal(folder / "result.json", lambda v: v.update(best_step=9)), "two run"),
        (lambda folder: (folder / "metrics.jsonl").unlink(), r"cannot read .*metrics"),
    ],
)
def test_a_run_that_cannot_be_read_is_one_line(tmp_path, damage, said):
    folder = run(tmp_path / "one", RIGHT)
    damage(folder)
    with pytest.raises(UserError, match=said) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


def test_a_log_without_points_is_no_error(tmp_path):
    folder = run(tmp_path / "one", RIGHT)
    edit(folder, (folder / "metrics.jsonl").read_text(), "", True)
    assert render([read_run(folder)]).count("<svg ") == 4
