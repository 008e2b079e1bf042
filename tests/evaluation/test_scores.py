"""Records that a run keeps of each example."""

import dataclasses
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from trainer.errors import UserError
from trainer.evaluation import scores
from trainer.evaluation.scores import Kept, Mistake, too_large
from trainer.storage.disk import sha256_of
from trainer.tasks.classification import Classification
from trainer.tasks.task import Array, Scores

TASK = Classification().bound({"labels": ["neg", "pos"]})


def kept() -> Kept:
    return Kept(
        gold={
            "label": np.array([0, 1], np.int32),
            "rows": np.array([4, 2]),
            "lengths": np.array([5, 7], np.int32),
        },
        scores=Scores(
            losses={"loss": np.array([0.1, 2.0])},
            weights={"loss": np.array([1.0, 0.5])},
            answers={"logits": np.array([[1.0, 0.0], [3.0, 1.0]], np.float32)},
        ),
        metrics={"accuracy": 0.5, "examples": 2},
        mistakes=[Mistake(1, 2, "a\u2028 <b>", ["a"])],
    )


WRONG = {"text": "a", "row": 1, "id": 2, "tokens": ["a"]}
METRICS = {"examples": 2}


def test_reads_what_it_wrote(tmp_path):
    path = tmp_path / "scores" / "test.npz"
    digest = kept().save(path)
    assert digest == sha256_of(path)
    read = Kept.load(path, digest, TASK)
    mine = arrays()
    with np.load(path) as held:
        assert set(held) == {*mine} == {
            *("gold.label", "gold.rows", "gold.lengths", "losses.loss", "weights.loss"),
            *("answers.logits", "notes"),
        }  # fmt: skip
    assert (read.metrics, read.mistakes) == (kept().metrics, kept().mistakes)
    groups = {"gold": read.gold, **vars(read.scores)}
    found = {f"{group}.{name}": a for group, held in groups.items() for name, a in held.items()}
    assert found.keys() == mine.keys() - {"notes"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, mine[name])
        assert array.dtype == mine[name].dtype
    assert read.scores.answers["logits"].dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == ["test.npz"]
    assert TASK.correct(read.gold, read.scores).tolist() == [True, False]
    assert read.examples.rows.tolist() == [1]
    assert (list(read.examples.ids), list(read.examples.texts)) == ([2], ["a\u2028 <b>"])
    none = dataclasses.replace(read, mistakes=[]).examples
    assert (none.rows.tolist(), len(none.ids), len(none.texts)) == ([], 0, 0)


def _refused(path, digest=None, task=TASK):
    with pytest.raises(UserError, match=r"test\.npz") as caught:
        Kept.load(path, digest or sha256_of(path), task)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))
    return str(caught.value)


def test_a_file_that_is_missing_is_one_line(tmp_path):
    assert "test.npz is missing: restore" in _refused(tmp_path / "test.npz", "0")


def test_a_file_with_a_changed_bit_is_refused(tmp_path):
    path = tmp_path / "test.npz"
    digest = kept().save(path)
    content = bytearray(path.read_bytes())
    for at in range(0, len(content), 7):
        content[at] ^= 1
        path.write_bytes(content)
        assert "it is not what was written" in _refused(path, digest)
        content[at] ^= 1


def test_whatever_bit_is_changed_under_a_fitting_seal_no_traceback(tmp_path):
    """Damage that came before the seal: zlib, zipfile and NumPy each say it in their own way."""
    path = tmp_path / "test.npz"
    kept().save(path)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for at in random.choice(len(content), 400, replace=False):
        bit = 1 << random.integers(8)
        content[at] ^= bit
        path.write_bytes(content)
        try:
            Kept.load(path, sha256_of(path), TASK)
        except UserError:
            refused += 1
        content[at] ^= bit
    assert refused > 200  # a date, say, may change


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", b"PK\x05\x06" + 18 * b"\0"])
def test_a_file_that_is_no_archive_is_one_line(tmp_path, content):
    path = tmp_path / "test.npz"
    path.write_bytes(content)
    _refused(path)


def arrays() -> dict:
    made = kept()
    groups = {"gold": made.gold, **vars(made.scores)}
    held = {f"{group}.{name}": a for group, of in groups.items() for name, a in of.items()}
    notes = {"metrics": made.metrics, "mistakes": [row._asdict() for row in made.mistakes]}
    return {**held, "notes": noted(notes)}


def noted(notes: object) -> np.ndarray:
    return np.frombuffer(json.dumps(notes).encode(), np.uint8)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("gold.label", np.array([0, 2], np.int32), "a label is not one of 2 classes"),
        ("gold.label", np.array([-1, 0], np.int32), "a label is not one of 2 classes"),
        ("gold.label", np.array([0.0, 1.0]), "label is float64, not int32"),
        ("gold.label", np.array([0, 1, 0], np.int32), "label has shape (3,), of 2 rows"),
        ("gold.label", np.array([[0, 1]], np.int32), "label has shape (1, 2), of 2 rows"),
        ("gold.label", np.array([[0], [1]], np.int32), "label has shape (2, 1), of 2 rows"),
        ("gold.label", np.zeros(0, np.int32), "label is int32 of shape (0,)"),
        ("answers.logits", np.zeros((2, 3), np.float32), "logits of 2 classes are needed"),
        ("answers.logits", np.zeros((3, 2), np.float32), "logits has shape (3, 2), of 2 rows"),
        ("answers.logits", np.array([[1, 0], [np.nan, 1]]), "a number is not finite"),
        ("answers.logits", np.array([[1, 0], [np.inf, 1]]), "a number is not finite"),
        ("answers.logits", np.zeros((2, 2), np.complex64), "logits is complex64"),
        ("answers.logits", np.zeros((2, 2), ">f4"), "logits is >f4"),
        ("answers.logits", np.asfortranarray(np.eye(2)), "logits is float64 of shape (2, 2)"),
        ("answers.logits", np.zeros((1, 1, 1, 4)), "logits is float64 of shape (1, 1, 1, 4)"),
        ("losses.loss", np.array([1.0, np.nan]), "a number is not finite"),
        ("losses.loss", np.ones(3), "loss has shape (3,), of 2 rows"),
        ("losses.loss", np.ones((2, 1)), "loss has shape (2, 1), of 2 rows"),
        ("weights.loss", np.array([1.0, np.inf]), "a number is not finite"),
        ("gold.lengths", np.array([-5, 1], np.int32), "rows and lengths do not belong together"),
        ("gold.lengths", np.array([5], np.int32), "rows and lengths do not belong together"),
        ("gold.lengths", np.array([5.0, 7.0]), "lengths is float64, not int32"),
        ("gold.rows", np.array(["a", "b"]), "rows is <U1"),
        ("gold.rows", np.array([1.5, 2.0]), "rows is float64, not int64"),
        ("gold.rows", np.array([[1, 2]]), "rows and lengths do not belong together"),
        ("notes", np.array("text"), "notes is <U4"),
        ("notes", noted([]), "a JSON object is expected"),
        ("notes", noted({"metrics": METRICS}), "mistakes is missing"),
        ("notes", noted({"metrics": {}, "mistakes": []}), "examples is missing"),
        (
            "notes",
            noted({"metrics": {"examples": None}, "mistakes": []}),
            "examples must be a whol",
        ),
        ("notes", noted({"metrics": {"f1": "1"}, "mistakes": []}), "f1 must be a number"),
        ("notes", noted({"metrics": METRICS, "mistakes": [5]}), "mistake must be an object"),
        ("notes", noted({"metrics": METRICS, "mistakes": 1001 * [{}]}), "mistakes holds 1,001 val"),
        ("notes", np.frombuffer(b"[" * 99999, np.uint8), "nested deeper"),
        *(
            ("notes", noted({"metrics": METRICS, "mistakes": [{**WRONG, name: value}]}), said)
            for name, value, said in [
                ("row", 2, "row must be a whole number from 0 to 1"),
                ("row", "1", "row must be a whole number from 0 to 1"),
                ("row", -1, "row must be a whole number from 0 to 1"),
                ("text", None, "text must be a text"),
                ("id", 1.5, "id must be a whole number"),
            ]
        ),
    ],
)
def test_what_no_evaluation_gives_is_refused(tmp_path, name, value, said):
    path = tmp_path / "test.npz"
    np.savez(path, **{**arrays(), name: value})
    assert said in _refused(path)


def test_other_arrays_are_refused(tmp_path):
    path = tmp_path / "test.npz"
    said = "it must hold gold, losses, weights, answers, measures, notes and nothing else"
    for held in (
        {**arrays(), "more": np.zeros(2)},
        {**arrays(), "more.logits": np.zeros(2)},
        {**arrays(), **{f"answers.{i}": np.zeros(2) for i in range(94)}},
        {"gold.rows": np.zeros(2, int)},
        {},
    ):
        np.savez(path, **held)
        assert said in _refused(path)
    for name in ("gold.label", "gold.rows", "gold.lengths", "losses.loss", "weights.loss"):
        np.savez(path, **{k: v for k, v in arrays().items() if k != name})
        assert "gold must hold label, rows and lengths" in _refused(path)
    np.savez(path, **arrays(), **{"gold.more": np.zeros(2)})
    assert "gold must hold label, rows and lengths" in _refused(path)
    np.savez(path, **{k: v for k, v in arrays().items() if k != "answers.logits"})
    assert "logits of 2 classes are needed" in _refused(path)


class Tokens(Classification):
    """With a number for each token."""

    def arrays(self):
        return {**super().arrays(), "tags": Array("int32", "input")}


def test_arrays_of_tokens_have_as_many_numbers_as_there_are_tokens(tmp_path):
    path, task = tmp_path / "test.npz", Tokens().bound(TASK.facts)
    for count in (12, 11, 2):
        np.savez(path, **arrays(), **{"gold.tags": np.zeros(count, np.int32)})
        if count == 12:
            assert len(Kept.load(path, sha256_of(path), task).gold["tags"]) == 12
        else:
            assert f"tags has shape ({count},), of 2 rows" in _refused(path, task=task)


def test_a_pickle_is_never_opened(tmp_path):
    path, marker = tmp_path / "test.npz", tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return (marker.write_text, ("ran",))

    np.savez(path, **{**arrays(), "gold.rows": np.array([Evil(), Evil()], object)})
    assert "rows is object" in _refused(path)
    path.write_bytes(pickle.dumps(Evil()))
    _refused(path)
    assert not marker.exists()


def test_an_archive_that_claims_too_much_is_refused_before_it_is_unpacked(tmp_path):
    """A header that claims more than follows it, and a directory that claims 3 GB."""
    path = tmp_path / "test.npz"
    header = io.BytesIO()
    shape = {"descr": "<i8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(header, shape)
    np.savez(path, **{k: v for k, v in arrays().items() if k != "gold.rows"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("gold.rows.npy", header.getvalue() + bytes(16))
    assert "cannot reshape array of size 2" in _refused(path)
    np.savez(path, **{k: v for k, v in arrays().items() if k != "gold.rows"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gold.rows.npy", b"")
        archive.infolist()[-1].file_size = 3 * 2**30
        archive._didModify = True
    assert "larger than 268,435,456 bytes" in _refused(path)


def test_what_is_kept_can_be_read_again(tmp_path, monkeypatch):
    """The sizes that are asked for at the start, at the end and by the reader are one."""
    assert too_large(66_000 * 1000 * 4) == too_large(2**28) == ""
    said = "they make 1,001,400,000 bytes, at most 268,435,456 are kept"
    assert too_large(50_000 * 5000 * 4 + 1_400_000) == said
    assert too_large(66_000 * 1000 * 8)
    assert too_large(2**28 + 1)
    monkeypatch.setattr(scores, "MAX_BYTES", 10_000)
    monkeypatch.setattr(scores, "_MAX_NOTES", 2_000)
    path, read = tmp_path / "test.npz", 0
    for count in (1, 100, 277, 278, 300, 1000):
        made = Kept(
            {
                "label": np.zeros(count, np.int32),
                "rows": np.arange(count),
                "lengths": np.ones(count, np.int32),
            },
            Scores(
                {"loss": np.ones(count)},
                {"loss": np.ones(count, np.float32)},
                {"logits": np.ones((count, 2), np.float32)},
            ),
            metrics={"examples": count},
            mistakes=[],
        )
        digest = made.save(path)
        if not made.why_not:
            assert len(Kept.load(path, digest, TASK).gold["rows"]) == count
            read += 1
    assert read == 3
    with pytest.raises(UserError, match="larger than 10,000 bytes"):
        Kept.load(path, digest, TASK)


def test_what_is_not_finite_is_not_kept():
    assert kept().why_not == ""
    for group, name in (("answers", "logits"), ("losses", "loss"), ("weights", "loss")):
        odd = getattr(kept().scores, group)[name].copy()
        odd[0] = np.inf
        scored = dataclasses.replace(kept().scores, **{group: {name: odd}})
        made = dataclasses.replace(kept(), scores=scored)
        assert made.why_not == "the model's outputs are not all finite"
