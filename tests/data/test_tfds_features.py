"""A TFDS folder from elsewhere runs no code."""

import json
import shutil
import sys

import pytest
from programs import ROOT

from trainer.config import Data
from trainer.data.sources import open_source
from trainer.errors import UserError
from trainer.tasks.classification import Classification


def test_a_feature_of_a_strangers_module_is_refused_and_not_imported(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "imdb_sample"
    shutil.copytree(ROOT / "data" / "imdb_sample", folder)
    (file,) = folder.rglob("features.json")
    (tmp_path / "odd_feature.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    settings = Data(name="imdb_sample", data_dir=str(tmp_path / "data"))
    assert open_source(settings, Classification()).facts == {"labels": ["neg", "pos"]}
    values = json.loads(file.read_text())
    values["featuresDict"]["features"]["text"]["pythonClassName"] = "odd_feature.Text"
    file.write_text(json.dumps(values))
    with pytest.raises(
        UserError, match=r"names 'odd_feature\.Text', which is no feature"
    ) as caught:
        open_source(settings, Classification())
    assert "\n" not in str(caught.value)
    assert "odd_feature" not in sys.modules
