"""Records that a resumed run keeps."""

import pytest

from trainer.monitor.records import belongs, is_evaluation


@pytest.mark.parametrize(
    ("step", "evaluation", "kept"),
    [
        (19, False, True),
        (20, False, True),
        (21, False, False),
        (19, True, True),
        (20, True, False),
        (21, True, False),
    ],
)
def test_belongs_to_a_run_that_resumes_at_20(step, evaluation, kept):
    assert belongs(step, evaluation, 20) is kept


def test_is_evaluation():
    assert all(map(is_evaluation, ("validation/loss", "test/f1", "evaluation/test confusion",
                                   "attention/validation text 0", "final/test/f1")))  # fmt: skip
    assert not any(map(is_evaluation, ("train/loss", "wall_seconds", "encoder/w", "step")))
