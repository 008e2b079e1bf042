"""What a run keeps of each example."""

import dataclasses
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from trainer.errors import UserError
from trainer.evaluation import scores
from trainer.evaluation.scores import Kept, WrongPrediction, too_large
from trainer.storage.disk import sha256_of


def kept() -> Kept:
    return Kept(
        ids=np.array([4, 2]),
        labels=np.array([0, 1], np.int32),
        logits=np.array([[1.0, 0.0], [3.0, 1.0]], np.float32),
        losses=np.array([0.1, 2.0]),
        lengths=np.array([5, 7], np.int32),
        metrics={"accuracy": 0.5},
        wrong=[WrongPrediction("a\u2028 <b>", 1, 0, 0.9, 2)],
    )


WRONG = {"text": "a", "label": 1, "prediction": 0, "probability": 0.9, "id": 2}


def test_reads_what_it_wrote(tmp_path):
    path = tmp_path / "scores" / "test.npz"
    digest = kept().save(path)
    assert digest == sha256_of(path)
    read = Kept.load(path, digest, 2)
    for field in dataclasses.fields(Kept):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(kept(), field.name))
    assert read.logits.dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == ["test.npz"]
    assert read.predictions.tolist() == [0, 0]
    np.testing.assert_allclose(read.probabilities(2.0)[0, 0], 1 / (1 + np.exp(-0.5)))


def _refused(path, digest=None, classes=2):
    with pytest.raises(UserError, match=r"test\.npz") as caught:
        Kept.load(path, digest or sha256_of(path), classes)
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
            Kept.load(path, sha256_of(path), 2)
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
    held = {name: getattr(kept(), name) for name in ("ids", "labels", "logits", "losses")}
    notes = {"metrics": kept().metrics, "wrong": [row._asdict() for row in kept().wrong]}
    return {**held, "lengths": kept().lengths, "notes": noted(notes)}


def noted(notes: object) -> np.ndarray:
    return np.frombuffer(json.dumps(notes).encode(), np.uint8)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("labels", np.array([0, 2], np.int32), "a label is not one of 2 classes"),
        ("labels", np.array([-1, 0], np.int32), "a label is not one of 2 classes"),
        ("labels", np.array([0.0, 1.0]), "labels is float64"),
        ("labels", np.array([0, 1, 0], np.int32), "has shape"),
        ("labels", np.array([[0, 1]], np.int32), "labels is int32 of shape (1, 2)"),
        ("labels", np.zeros(0, np.int32), "labels is int32 of shape (0,)"),
        ("logits", np.zeros((2, 3), np.float32), "logits has shape (2, 3), of 2 examples"),
        ("logits", np.array([[1, 0], [np.nan, 1]]), "logits holds numbers that are not finite"),
        ("logits", np.array([[1, 0], [np.inf, 1]]), "logits holds numbers that are not finite"),
        ("logits", np.zeros((2, 2), np.complex64), "logits is complex64"),
        ("logits", np.zeros((2, 2), ">f4"), "logits is >f4"),
        ("logits", np.asfortranarray(np.eye(2)), "logits is float64 of shape (2, 2)"),
        ("losses", np.array([1.0, np.nan]), "losses holds numbers that are not finite"),
        ("lengths", np.array([-5, 1]), "a length is negative"),
        ("ids", np.array(["a", "b"]), "ids is <U1"),
        ("notes", np.array("text"), "notes is <U4"),
        ("notes", noted([]), "a JSON object is expected"),
        ("notes", noted({"metrics": {}}), "wrong is missing"),
        ("notes", noted({"metrics": {"f1": "1"}, "wrong": []}), "f1 must be a number"),
        ("notes", noted({"metrics": {}, "wrong": [5]}), "wrong must be an object"),
        ("notes", noted({"metrics": {}, "wrong": 1001 * [{}]}), "wrong holds 1,001 values"),
        ("notes", np.frombuffer(b"[" * 99999, np.uint8), "nested deeper"),
        *(
            ("notes", noted({"metrics": {}, "wrong": [{**WRONG, name: value}]}), said)
            for name, value, said in [
                ("label", 2, "label must be a whole number from 0 to 1"),
                ("prediction", "1", "prediction must be a whole number from 0 to 1"),
                ("probability", 2, "probability must be a number from 0 to 1"),
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
    for held in ({**arrays(), "more": np.zeros(2)}, {"ids": np.zeros(2, int)}, {}):
        np.savez(path, **held)
        assert "it must hold notes, ids, labels" in _refused(path)


def test_a_pickle_is_never_opened(tmp_path):
    path, marker = tmp_path / "test.npz", tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return (marker.write_text, ("ran",))

    np.savez(path, **{**arrays(), "ids": np.array([Evil(), Evil()], object)})
    assert "ids is object" in _refused(path)
    path.write_bytes(pickle.dumps(Evil()))
    _refused(path)
    assert not marker.exists()


def test_an_archive_that_claims_too_much_is_refused_before_it_is_unpacked(tmp_path):
    """A header that claims more than follows it, and a directory that claims 3 GB."""
    path = tmp_path / "test.npz"
    header = io.BytesIO()
    shape = {"descr": "<i8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(header, shape)
    np.savez(path, **{k: v for k, v in arrays().items() if k != "ids"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ids.npy", header.getvalue() + bytes(16))
    assert "cannot reshape array of size 2" in _refused(path)
    np.savez(path, **{k: v for k, v in arrays().items() if k != "ids"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ids.npy", b"")
        archive.infolist()[-1].file_size = 3 * 2**30
        archive._didModify = True
    assert "larger than 268,435,456 bytes" in _refused(path)


def test_what_is_kept_can_be_read_again(tmp_path, monkeypatch):
    """The sizes that are asked for at the start, at the end and by the reader are one."""
    assert too_large(66_000, 1000, 4) == ""
    assert "50,000 examples of 5,000 classes make 1,001,400,000 bytes" in too_large(50_000, 5000, 4)
    assert too_large(66_000, 1000, 8)
    monkeypatch.setattr(scores, "MAX_BYTES", 10_000)
    monkeypatch.setattr(scores, "_MAX_NOTES", 2_000)
    path, read = tmp_path / "test.npz", 0
    for count in (1, 100, 277, 278, 300, 1000):
        made = Kept(
            ids=np.arange(count),
            labels=np.zeros(count, np.int32),
            logits=np.ones((count, 2), np.float32),
            losses=np.ones(count),
            lengths=np.ones(count, np.int32),
            metrics={},
            wrong=[],
        )
        digest = made.save(path)
        if not made.why_not:
            assert len(Kept.load(path, digest, 2).labels) == count
            read += 1
    assert read == 3
    with pytest.raises(UserError, match="larger than 10,000 bytes"):
        Kept.load(path, digest, 2)


def test_what_is_not_finite_is_not_kept():
    assert kept().why_not == ""
    for name in ("logits", "losses"):
        odd = getattr(kept(), name).copy()
        odd[0] = np.inf
        made = dataclasses.replace(kept(), **{name: odd})
        assert made.why_not == "the model's outputs are not all finite"
