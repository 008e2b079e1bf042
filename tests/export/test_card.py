"""What the card of a model says of its calibration."""

import numpy as np
import pytest
from sealing import DERIVED

from trainer.calibration import Calibration
from trainer.config import Experiment
from trainer.export.card import Card, write_card
from trainer.workdir import Workdir


@pytest.mark.parametrize("format_", ["savedmodel", "keras", "huggingface"])
def test_says_calibrated_only_where_something_was_fitted(tmp_path, format_):
    workdir = Workdir(tmp_path)
    card = Card(workdir, Experiment(), DERIVED, 9)
    said = []
    for fitted in (False, True):
        if fitted:
            Calibration.fit(9, np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], 0.9).save(
                workdir.calibration_file
            )
        write_card(card, tmp_path, format_)
        said.append((tmp_path / "README.md").read_text())
    assert "Not fitted" in said[0]
    assert " calibrated" not in said[0]
    assert " calibrated" in said[1] or "divide" in said[1]
