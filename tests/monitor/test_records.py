"""Which records a resumed run keeps."""

import pytest

from trainer.monitor.records import belongs, is_evaluation, replace


@pytest.mark.parametrize(
    ("step", "evaluation", "evaluated_at", "kept"),
    [
        (19, False, -1, True),
        (20, False, -1, True),
        (21, False, 20, False),
        (19, True, -1, True),
        (20, True, 10, False),
        (20, True, 20, True),
        (21, True, 20, False),
    ],
)
def test_belongs_to_a_run_that_resumes_at_20(step, evaluation, evaluated_at, kept):
    assert belongs(step, evaluation, 20, evaluated_at) is kept


def test_is_evaluation():
    assert all(map(is_evaluation, ("validation/loss", "test/f1", "confusion/test",
                                   "wrong predictions/validation")))  # fmt: skip
    assert not any(map(is_evaluation, ("train/loss", "wall_seconds", "encoder/w", "step")))


def test_replace_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "result.json"
    replace(path, "old")
    with pytest.raises(UnicodeEncodeError):
        replace(path, "new \ud800")
    assert path.read_text() == "old"
    replace(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
