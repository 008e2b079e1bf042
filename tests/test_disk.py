"""Files that are whole or not there."""

import pytest

from trainer.disk import replace


def test_replace_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "result.json"
    replace(path, "old")
    with pytest.raises(UnicodeEncodeError):
        replace(path, "new \ud800")
    assert path.read_text() == "old"
    replace(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
