"""Parts of smoke tests that need no run: rows taken, settings, comparisons, the table."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from configs import quickstart
from thaw.smoke import Disagreement, compare, settings, slices, use
from thaw.smoke.table import Table
from trainer.config import FROM_ROWS, Phase, validate
from trainer.data.columns import Column, Row
from trainer.errors import UserError
from trainer.evaluation.scores import Kept
from trainer.prediction.predictor import Answered
from trainer.tasks.classification import Classification
from trainer.tasks.regression import Regression
from trainer.tasks.tagging import Tagging
from trainer.tasks.task import Piece, Scores

COLUMNS = [Column("text", "message", "text"), Column("label", "queue", "label")]


def rows(labels):
    return [Row({"text": f"text {i}", "label": label}, i, "rows") for i, label in enumerate(labels)]


def test_a_slice_is_spread_and_has_some_of_every_label():
    labels = ["often"] * 500 + ["seldom"] * 5 + ["often"] * 495
    some, total = slices.some_of(iter(rows(labels)), COLUMNS, 10, 100)
    assert (len(some), total) == (10, 1000)
    assert "seldom" in [row["label"] for row in some]
    ids = [row.id for row in some]
    assert ids == sorted(set(ids))
    assert min(ids) < 100
    assert max(ids) > 800


def test_many_labels_have_a_row_each_and_fill_batches_as_few_do():
    def taken(*sizes):
        labels = [f"{i}" for i in range(50)] * 200 + [f"rare {i}" for i in range(200)]
        some, _ = slices.some_of(iter(rows(labels)), COLUMNS, *sizes)
        return len(some), len({row["label"] for row in some})

    assert taken(34, None, 10) == (254, 250)
    assert taken(24, 100) == (100, 100)


def test_the_labels_of_the_slice_are_settings_in_the_order_of_the_whole_set():
    labels = tuple("cab")
    some = Classification(label="queue").for_some({"labels": list("cdab")}, rows("abc"))
    assert some.labels == labels
    assert some.learn(iter(rows("abc")), "rows", {})["labels"] == list(labels)
    several = Classification(label="queue", multi_label=True)
    given = [Row({"text": "a", "label": ["b", "d"]}, 0, "rows")]
    assert several.for_some({"labels": list("cdab")}, given).labels == ("d", "b")
    assert Tagging().for_some({"types": ["LOC"], "scheme": "IOB1"}, []).scheme == "IOB1"


def test_few_rows_are_all_taken():
    some, total = slices.some_of(iter(rows("abab")), COLUMNS, 10, 100)
    assert (len(some), total) == (4, 4)
    assert slices.some_of(iter([]), COLUMNS, 10, 100) == ([], 0)


def test_rows_are_written_under_the_names_of_their_columns(tmp_path):
    slices.write(rows(["ä"]), COLUMNS, tmp_path / "a.jsonl")
    assert json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8")) == {
        "message": "text 0",
        "queue": "ä",
    }


def test_each_phase_has_a_few_steps(tmp_path):
    config = quickstart.get_config()
    config.phases.append(Phase(name="more", epochs=FROM_ROWS, warmup_share=0.1, patience=2))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "validation", "other")}
    short = settings.shortened(config, files, 5)
    validate(short)
    assert [(phase.steps, phase.epochs, phase.warmup_steps) for phase in short.phases] == [
        (5, 0, 1),
        (5, 0, 1),
    ]
    assert short.data.test == ""
    assert short.data.more_tests == (f"other={files['other']}",)
    assert short.runtime.precision == config.runtime.precision == "mixed_bfloat16"
    assert config.phases[0].epochs == 3


def logged(folder, losses, norm=1.0, examples=9):
    folder.mkdir()
    lines = [
        json.dumps({"step": i, "train/loss": loss, "train/gradient_norm": norm, "wall_seconds": i})
        for i, loss in enumerate(losses, start=1)
    ]
    lines.append(json.dumps({"step": len(losses), "validation/examples": examples}))
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_runs_agree_up_to_rounding(tmp_path):
    one = logged(tmp_path / "one", [0.7, 0.6])
    line = compare.agree(one, logged(tmp_path / "near", [0.7, 0.6 * (1 + 1e-6)]), "float32")
    assert line == "off by at most: train/loss 1.0e-06, train/gradient_norm 0.0e+00"
    with pytest.raises(Disagreement, match=r"train/loss 1\.0e-06 at step 2 \(allowed: 1e-09\)"):
        compare.agree(one, tmp_path / "near", "float64")
    with pytest.raises(Disagreement, match=r"train/gradient_norm 9\.1e-02 at step 2 \(allowed"):
        compare.agree(one, logged(tmp_path / "norm", [0.7, 0.6], 1.1), "float32")
    with pytest.raises(Disagreement, match=r"examples 1\.0e-01 at step 2 \(allowed: 0e\+00\)"):
        compare.agree(one, logged(tmp_path / "fewer", [0.7, 0.6], examples=10), "float32")
    with pytest.raises(Disagreement, match="of step 1 is in one of the two logs only"):
        compare.agree(one, logged(tmp_path / "short", [0.7]), "float32")
    with pytest.raises(Disagreement, match="inf at step 2"):
        compare.agree(one, logged(tmp_path / "nan", [0.7, None]), "float32")
    with pytest.raises(Disagreement, match="train/loss at step 2 is not finite"):
        compare.trained(tmp_path / "nan")


def test_runs_are_equal_bit_for_bit(tmp_path):
    one, other = (logged(tmp_path / name, [0.7, None]) for name in ("one", "other"))
    for folder in (one, other):
        (folder / "best").mkdir()
        (folder / "best" / "state").write_text("weights")
    assert compare.equal(one, other) == ("5 numbers of the log and 1 files are equal, bit for bit")
    (other / "best" / "state").write_text("others")
    with pytest.raises(Disagreement, match="best/state differs"):
        compare.equal(one, other)
    with pytest.raises(Disagreement, match=r"train/loss of step 1: 0\.7 and 0\.7000"):
        compare.equal(one, logged(tmp_path / "bit", [np.nextafter(0.7, 1), None]))


@pytest.mark.parametrize(
    ("other", "apart"),
    [([1.0, 20.0], 0), ([1.5, 20.0], 0.5 / 1.5), ([1.0, 30.0], 1 / 3), ([1.0], np.inf)],
)
def test_the_difference_of_answers(other, apart):
    assert use.difference(np.array([1.0, 20.0]), np.array(other)) == pytest.approx(apart)
    assert use.difference(np.array([1.0]), np.array([np.nan])) == np.inf
    assert use.difference(np.array([1, 2]), np.array([1, 2])) == 0
    assert use.difference(np.array([1, 2]), np.array([1, 3])) == np.inf


def test_a_saved_model_must_give_every_answer():
    expected = {"ids/score": np.ones(2), "serving_default/score": np.ones(2)}
    said = use.agreement(expected, {**expected, "ids/more": np.zeros(2)})
    assert said == "savedmodel answers off by at most 0.0e+00 (token ids), 0.0e+00 (texts)"
    with pytest.raises(Disagreement, match="gives no serving_default/score"):
        use.agreement(expected, {"ids/score": np.ones(2)})
    with pytest.raises(Disagreement, match=r"answers otherwise .* 5\.0e-01 \(texts\)"):
        use.agreement(expected, expected | {"serving_default/score": np.full(2, 2.0)})


class Answering:
    """Stands for a model whose logits may depend on how many rows it is given."""

    def __init__(self, by_company, workdir):
        self._by_company, self.inside, self.predictor = by_company, self, self
        self.task, self.workdir = Regression(), workdir
        self.config = quickstart.get_config()
        self.config.runtime.precision = "float32"

    def predict(self, rows):
        return [{} for _ in rows]

    def row(self, row, number):
        return Row(row, number, "the rows")

    def run(self, given):
        scores = np.full([1], 0.5 + self._by_company * len(given), np.float32)
        tokens = SimpleNamespace(ids=np.arange(3))
        return [Answered([Piece(0, tokens, {})], {"score": scores}) for _ in given]


def scored(monkeypatch, *scores):
    """Makes a run that kept these scores of its test set's rows."""
    count = len(scores)
    gold = {"score": np.zeros(count, np.float32), "rows": np.arange(count)}
    answers = {"score": np.array(scores, np.float32)}
    kept = Kept(gold, Scores({}, {}, answers), {}, [])
    monkeypatch.setattr(use.Kept, "load", lambda path, sha256, task: kept)
    monkeypatch.setattr(use.Workdir, "result", lambda _: {"sha256": {"scores/test.npz": ""}})


def test_a_row_has_the_answers_that_it_has_alone_and_that_the_run_gave(monkeypatch, tmp_path):
    given = [{"text": "a"}, {"text": "b"}]
    scored(monkeypatch, 0.5, 0.5)
    said = use.predicted(Answering(0.0, tmp_path), given, "test")
    assert said == (
        "2 rows; alone or beside others off by at most 0.0e+00; off by at most 0.0e+00 from what"
        " the run scored"
    )
    with pytest.raises(Disagreement, match="score of row 1 is off by"):
        use.predicted(Answering(0.01, tmp_path), given, "test")
    scored(monkeypatch, 0.5, 0.6)
    with pytest.raises(Disagreement, match=r"score of row 2 of test is off by 1\.0e-01 from what"):
        use.predicted(Answering(0.0, tmp_path), given, "test")


def test_the_table_has_a_line_for_each_check_and_goes_on():
    said = []
    table = Table(said.append)

    def raises(error):
        raise error

    table.make("data", lambda: "3 rows")
    table.make("4 devices", lambda: raises(Disagreement("off by\n1e-2")))
    table.make("export", lambda: raises(KeyError("words")))
    with pytest.raises(UserError, match="no such column"):
        table.make("train", lambda: raises(UserError("no such column")), needed=True)
    assert [line.split(maxsplit=1)[0] for line in said] == ["data", "4", "export"]
    assert said[0] == "data       ok        0.0 s  3 rows"
    assert said[1] == "4 devices  FAILED    0.0 s  off by 1e-2"
    assert "KeyError: 'words' (test_smoke_parts.py, line " in said[2]
    assert (table.count, table.failed) == (3, ["4 devices", "export"])
