"""The report of runs that were written by hand."""

import dataclasses
import re

import markupsafe
import numpy as np
import pytest
from made import EVIL, run
from sealing import reseal

from trainer.errors import UserError
from trainer.reports import charts
from trainer.reports.finished import read_run, read_runs
from trainer.reports.page import compare, differing, render
from trainer.storage.disk import sha256_of
from trainer.tasks.shown import Curve

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
    assert page.count("<svg ") == 7
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


def without(folder, *splits):
    """Takes sets out of what a run was scored on."""

    def change(values):
        for split in splits:
            values.pop(split)
            values["sha256"].pop(f"scores/{split}.npz")

    def unknown(values):
        for split in splits:
            values["derived"]["data_fingerprint"].pop(split)
            values["data"][split], values["data"][f"{split}_share"] = "", 0.0

    reseal(folder / "result.json", change)
    reseal(folder / "config.json", unknown)
    return read_run(folder)


def test_a_run_without_a_test_set_reports_validation(tmp_path):
    folder = run(tmp_path / "one", RIGHT)
    (folder / "scores" / "validation.npz").write_bytes((folder / "scores/test.npz").read_bytes())
    one = without(folder, "test")
    page = render([one])
    assert "Validation accuracy" in page
    assert "On the validation split" in page
    assert "On the test split" not in page
    assert page.count("<svg ") == 7
    other = read_run(run(tmp_path / "two", RIGHT))
    with pytest.raises(UserError, match="one and two were not scored on the same validation exam"):
        compare([one, other])


def test_a_run_without_any_set_has_its_curves(tmp_path):
    folders = [run(tmp_path / name, RIGHT) for name in ("one", "two")]
    runs = [without(folder, "validation", "test") for folder in folders]
    page = render(runs[:1])
    assert page.count("<svg ") == 4
    assert "On the" not in page
    assert "chosen on validation" not in page
    with pytest.raises(UserError, match="were not scored on the same"):
        compare(runs)


def test_more_than_two_classes_with_odd_names(tmp_path):
    names = ("a<b", "$x$", "ordinary", "never")
    labels = np.arange(200) % 3
    page = render([read_run(run(tmp_path / "one", RIGHT, names, labels=labels))])
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert "Thresholds" not in page
    assert page.count("<svg ") == 7


def long_name(i: int) -> str:
    """A label of 60 to 100 characters: of words, of one word, Japanese, or HTML."""
    kinds = (
        f"Billing and payments: a customer wants a refund of a charge they do not know, case {i}",
        f"technical_problem_with_the_mobile_application_after_an_update_of_the_operating_system_{i}",
        f"配送に関するお問い合わせ：荷物が予定日を過ぎても届かない、または破損した状態で届いた場合の返金依頼、追跡番号が無効な場合も含む（その{i}）",
        f'<b>HTML</b> & "quotes" <script>alert({i})</script> $x^2$ of a page somebody has copied',
    )
    return kinds[i % len(kinds)]


def test_long_names_stand_in_full(tmp_path):
    names = [long_name(i) for i in range(30)]
    page = render([read_run(run(tmp_path / "one", np.arange(600) % 7 > 0, names))])
    for i, name in enumerate(names):
        assert 60 <= len(name) <= 100
        shown = markupsafe.escape(name)
        assert page.count(f'<div title="{shown}"><small>{i}</small>&nbsp;{shown}</div>') == 1
        assert page.count(f">{shown}</li>") == (i < 12)
    assert "The first 12 of 30 curves; TensorBoard has all of them." in page
    assert not re.search("<(b|script)[ >]", page)


def test_of_many_classes_the_most_frequent_confusions_are_shown(tmp_path):
    names, labels = [f"class {i}" for i in range(40)], np.arange(600) % 35
    page = render([read_run(run(tmp_path / "one", np.arange(600) % 7 > 0, names, labels=labels))])
    assert "Confusion, the most frequent" in page
    assert 'class="matrix' not in page
    assert (
        "No curve for 5 of 40 labels: they have no row in this set. Of the others the 30 with the"
        " most rows have one." in page
    )


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


def test_runs_differ_in_what_they_begin_with_and_in_what_has_an_effect(tmp_path):
    begun, other = (read_run(run(tmp_path / name, RIGHT)) for name in ("begun", "other"))
    begun.config.model.initial_run = "runs/words"
    other.config.tokenizer.vocab_size = 2_000
    assert differing([begun, other]) == {
        "model.initial_run": ["runs/words", ""],
        "tokenizer.vocab_size": ["", "2000"],
    }


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
    assert render([read_run(folder)]).count("<svg ") == 3


def test_curves_of_nothing_to_find_are_left_out_and_the_page_says_so():
    empty, full = (Curve(name, np.array([name == "b", False]), np.ones(2)) for name in "ab")
    assert [key.name for key in charts.curves([empty, full]).keys] == ["b"]
    assert charts.curves([empty])[1:] == ([], "No row of this set is one to find.")
