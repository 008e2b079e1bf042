"""The curves of a run as a picture."""

import json

import numpy as np
import plot_run
import pytest
from PIL import Image

from trainer.errors import UserError


def test_a_run_becomes_a_picture(tmp_path):
    lines = [
        {"step": step, "train/loss": 1 / step, "train/phase": int(step > 20)}
        for step in range(10, 60, 10)
    ]
    lines += [{"step": s, "validation/loss": 0.4, "validation/accuracy": 0.8} for s in (20, 50)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pictures = []
    for name, count in (("all", len(lines)), ("fewer", 3)):
        plot_run.draw(plot_run.read(tmp_path)[:count], tmp_path / f"{name}.png")
        pictures.append(np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")))
    assert pictures[0].shape == (750, 1050, 3)
    blue = [(picture == (0x1F, 0x4E, 0x79)).all(-1).sum() for picture in pictures]
    assert blue[0] > 100  # the line of the accuracy
    assert blue[1] == 0


def test_lines_of_a_run_that_goes_on_or_diverged(tmp_path):
    """A half line at the end is passed over; null stands for NaN."""
    lines = '{"step": 1, "train/loss": null, "train/phase": 0}\n{"step": 2, "valid'
    (tmp_path / "metrics.jsonl").write_text(lines)
    read = plot_run.read(tmp_path)
    assert read == [{"step": 1, "train/loss": None, "train/phase": 0}]
    scored = {"step": 2, "validation/loss": None, "validation/accuracy": None}
    plot_run.draw([*read, scored, {"step": 3, "train/loss": 1.0}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()


@pytest.mark.parametrize("line", ["[1]", "[" * 100_000, '{"step": NaN}', '{"step": 1, "step": 2}'])
def test_lines_that_are_no_records(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"cannot read .*metrics.jsonl: line 1: .*: give the --w"):
        plot_run.read(tmp_path)


def test_no_run(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*metrics.jsonl: .*: give the --workdir of"):
        plot_run.read(tmp_path)
