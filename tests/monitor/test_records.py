"""Which records a resumed run keeps."""

import pytest

from trainer.monitor.records import belongs, is_evaluation, replace


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
