"""What a run keeps of each example."""

import dataclasses

import numpy as np
import pytest

from trainer.errors import UserError
from trainer.monitor.tables import WrongPrediction
from trainer.scores import Kept


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


def test_reads_what_it_wrote(tmp_path):
    path = tmp_path / "scores" / "test.npz"
    kept().save(path)
    read = Kept.load(path)
    for field in dataclasses.fields(Kept):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(kept(), field.name))
    assert read.logits.dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == ["test.npz"]
    assert read.predictions.tolist() == [0, 0]
    np.testing.assert_allclose(read.probabilities(2.0)[0, 0], 1 / (1 + np.exp(-0.5)))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"no archive"])
def test_a_file_that_is_missing_or_damaged_is_one_line(tmp_path, content):
    path = tmp_path / "test.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"test\.npz") as caught:
        Kept.load(path)
    assert "\n" not in str(caught.value)
